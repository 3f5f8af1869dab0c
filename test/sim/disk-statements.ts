/** What a statement is, by its text: each is looked at once. */

export type Kind = 'begin' | 'commit' | 'rollback' | 'pragma' | 'schema' | 'write' | 'read';

/** What writes to one table. */
const tableWrite = /^\s*(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM)\s+(\w+)/;
const tableChange = /^\s*(?:CREATE|ALTER|DROP)\b/;
const several = /;\s*\S/;

const kinds = new Map<string, Kind>();
const kindOfWord: Readonly<Record<string, Kind>> = {
  BEGIN: 'begin',
  COMMIT: 'commit',
  END: 'commit',
  ROLLBACK: 'rollback',
  PRAGMA: 'pragma',
  SELECT: 'read',
};

export function kindOf(sql: string): Kind {
  const known = kinds.get(sql);
  if (known !== undefined) return known;
  const [word = ''] = /[A-Za-z]+/.exec(sql) ?? [];
  const isSchema = /^\s*CREATE TABLE IF NOT EXISTS\b/.test(sql);
  const kind = isSchema ? 'schema' : (kindOfWord[word.toUpperCase()] ?? 'write');
  kinds.set(sql, kind);
  return kind;
}

const tables = new Map<string, string | undefined>();

/** Of which it changes rows; undefined where it changes tables themselves. */
export function tableOf(sql: string): string | undefined {
  if (tables.has(sql)) return tables.get(sql);
  const [, table] = tableWrite.exec(sql) ?? [];
  if (table === undefined ? !tableChange.test(sql) : several.test(sql)) {
    throw new Error(`no such simulation: ${sql}`);
  }
  tables.set(sql, table);
  return table;
}
