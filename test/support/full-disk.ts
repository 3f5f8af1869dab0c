/** A disk on which a service's databases have no room for some of their statements, while a test wants it. */
import type { Disk } from '#shared/runtime/disk.ts';

/** `what`: the beginning of the statements that there is no room for while it is full. */
export function fillable(disk: Disk, what: string, isFull: () => boolean): Disk {
  return bound(disk, {
    database: (name: string) => {
      const database = disk.database(name);
      return bound(database, {
        prepare: (sql: string) => {
          if (!isFull() || !sql.startsWith(what)) return database.prepare(sql);
          throw Object.assign(new Error('database or disk is full'), { errcode: 13 });
        },
      });
    },
  });
}

/** An object with some of its methods replaced. */
function bound<Whole extends object>(whole: Whole, others: Partial<Whole>): Whole {
  return new Proxy(whole, {
    get: (target, name) => {
      const value: unknown = Reflect.get(others, name) ?? Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
