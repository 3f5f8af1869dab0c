/**
 * The disk of one simulated agent. It outlives the agent's lives; each life works on it through a face
 * with the production port, which knows where the life may end, that the disk may be full, and what is
 * lost when the power goes: everything that nobody had waited for.
 */

import type { DatabaseSync } from 'node:sqlite';
import type { Disk } from '#shared/runtime/disk.ts';
import { Access, type DurableWrite } from './disk-access.ts';
import { DatabasePool, SimulatedDatabase } from './disk-database.ts';
import { existing, SimulatedLog, SimulatedSecrets } from './disk-files.ts';
import type { CrashPoints, Draws, Life, WorldTime } from './model.ts';

export { DatabasePool } from './disk-database.ts';
export type { DurableWrite } from './disk-access.ts';

export interface SimulatedDiskOptions {
  readonly agentId: string;
  readonly time: Pick<WorldTime, 'monotonicMs' | 'after'>;
  readonly draws: Draws;
  readonly pool: DatabasePool;
  /** Called at once, before the process can die of it. */
  readonly onDurable?: (write: DurableWrite) => void;
}

export class SimulatedDisk {
  readonly agentId: string;
  /** Switched on and off by the world: no write finds room. */
  isFull = false;
  /** How many durable writes there were, by what they were: `database store.db`, `file trust.json`. */
  readonly writes = new Map<string, number>();
  readonly #options: SimulatedDiskOptions;
  readonly #databases = new Map<string, SimulatedDatabase>();
  readonly #files = new Map<string, Uint8Array>();
  readonly #logs = new Map<string, SimulatedLog>();
  readonly #secrets = new Map<string, SimulatedSecrets>();

  constructor(options: SimulatedDiskOptions) {
    this.agentId = options.agentId;
    this.#options = options;
  }

  /** The disk as one life has it; the life before is dead, or ended and let go of everything. */
  facade(life: Life, points: CrashPoints): Disk {
    const { time, draws } = this.#options;
    const access = new Access({
      life,
      points,
      time,
      draws,
      isFull: () => this.isFull,
      counted: (what) => this.writes.set(what, (this.writes.get(what) ?? 0) + 1),
      onDurable: (write) => this.#options.onDurable?.(write),
    });
    life.onDeath(() => this.#losePower(access));
    return {
      place: (name) => `${this.agentId}/${name}`,
      has: (name) => {
        access.assertAlive();
        return [this.#databases, this.#files, this.#logs, this.#secrets].some((all) =>
          all.has(name),
        );
      },
      database: (name) => {
        access.assertAlive();
        return this.#database(name).open(access);
      },
      readFile: (name) => {
        access.assertAlive();
        return this.#files.get(name)?.slice();
      },
      isPrivate: () => true,
      replaceFile: (name, content) => this.#write(access, name, content),
      createFile: (name, content) => {
        access.assertAlive();
        if (this.#files.has(name)) throw existing(name);
        this.#write(access, name, content);
      },
      logFile: (name) => access.later(() => this.#log(access, name).open(access)),
      secretFiles: (name) => access.soon(() => this.#folder(name).open(access)),
    };
  }

  /** What lies there, for those who look; undefined where it was never made. Not to be written to. */
  peekDatabase(name: string): DatabaseSync | undefined {
    return this.#databases.get(name)?.peek;
  }

  /** Commits of a database so far, and losses of some: who saw this number has nothing new to see. */
  changesOf(name: string): number {
    return this.#databases.get(name)?.changes ?? 0;
  }

  peekFile(name: string): Uint8Array | undefined {
    return this.#files.get(name);
  }

  /** What of the log is on the disk: a view, until the next change. */
  peekLog(name: string): Uint8Array | undefined {
    return this.#logs.get(name)?.durable;
  }

  /** The wrapped secrets of a folder, by `<channel> <epoch>`. */
  peekSecrets(name: string): ReadonlyMap<string, Uint8Array> {
    return this.#secrets.get(name)?.wrapped ?? new Map();
  }

  /** The world is over: its databases go on to the next one. */
  release(): void {
    for (const database of this.#databases.values()) database.release();
    for (const log of this.#logs.values()) log.release();
    this.#databases.clear();
    this.#logs.clear();
  }

  #losePower(access: Access): void {
    for (const database of this.#databases.values()) {
      if (database.lose() === 'nothing') continue;
      access.written({ kind: 'database', name: database.name, tables: 'lost' });
    }
    for (const log of this.#logs.values()) {
      const from = log.tear(this.#options.draws);
      if (from !== undefined) access.written({ kind: 'log', name: log.name, from });
    }
  }

  #write(access: Access, name: string, content: Uint8Array): void {
    access.write(`file ${name}`, () => {
      access.assertRoom();
      this.#files.set(name, content.slice());
      access.written({ kind: 'file', name });
    });
  }

  #database(name: string): SimulatedDatabase {
    const known = this.#databases.get(name);
    if (known !== undefined) return known;
    const database = new SimulatedDatabase(name, this.#options.pool);
    this.#databases.set(name, database);
    return database;
  }

  #log(access: Access, name: string): SimulatedLog {
    const known = this.#logs.get(name);
    if (known !== undefined) return known;
    const log = new SimulatedLog(name);
    access.write(`file ${name}`, () => {
      access.assertRoom();
      this.#logs.set(name, log);
    });
    return log;
  }

  #folder(name: string): SimulatedSecrets {
    const folder = this.#secrets.get(name) ?? new SimulatedSecrets(name);
    this.#secrets.set(name, folder);
    return folder;
  }
}
