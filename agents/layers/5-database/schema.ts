/**
 * The tables of layer 5 and who may do what with them. Row security is forced, so that it binds the
 * tables' owner too; requests run as `gyre_rows`, which sees the rows of the namespace and the owner that
 * its transaction names, adds entries and never changes one; upkeep runs as `gyre_keeper`, which sees all rows and may
 * change signatures and cells, nothing else. So a query without either sees nothing, whatever the
 * service's code forgets. Whoever connects may take on both roles, and would inherit their policies; so
 * the policies ask who is acting, not only who may.
 */

import { AdapterError } from '../adapter.ts';
import { numberOf, textOf, type Database, type Scripts } from './database.ts';

interface Migration {
  readonly version: number;
  readonly script: string;
}

/** What a request may see and write. */
const own = `current_user = 'gyre_rows' AND owner = current_setting('gyre.owner', true)
  AND namespace = current_setting('gyre.namespace', true)`;

const second = `
  DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gyre_rows') THEN
      CREATE ROLE gyre_rows NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gyre_keeper') THEN
      CREATE ROLE gyre_keeper NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
    IF NOT pg_has_role(current_user, 'gyre_rows', 'MEMBER') THEN
      EXECUTE format('GRANT gyre_rows TO %I', current_user);
    END IF;
    IF NOT pg_has_role(current_user, 'gyre_keeper', 'MEMBER') THEN
      EXECUTE format('GRANT gyre_keeper TO %I', current_user);
    END IF;
  END $$;
  CREATE TABLE gyre.chain (
    one integer PRIMARY KEY CHECK (one = 1),
    sequence bigint NOT NULL CHECK (sequence >= 0),
    hash bytea NOT NULL CHECK (octet_length(hash) = 48)
  );
  INSERT INTO gyre.chain VALUES (1, 0, decode(repeat('00', 48), 'hex'));
  CREATE TABLE gyre.entries (
    sequence bigint PRIMARY KEY CHECK (sequence >= 1),
    namespace text NOT NULL CHECK (namespace <> ''),
    owner text NOT NULL CHECK (owner <> ''),
    record_id text NOT NULL,
    revision bigint NOT NULL CHECK (revision >= 1),
    is_deleted boolean NOT NULL,
    kind text NOT NULL,
    links text NOT NULL,
    commitments text NOT NULL,
    written_at_ms bigint NOT NULL,
    previous bytea NOT NULL,
    hash bytea NOT NULL,
    signature bytea NOT NULL,
    signature_version integer NOT NULL,
    UNIQUE (namespace, owner, record_id, revision)
  );
  CREATE INDEX entries_by_signature ON gyre.entries (signature_version, sequence);
  CREATE TABLE gyre.cells (
    namespace text NOT NULL CHECK (namespace <> ''),
    owner text NOT NULL CHECK (owner <> ''),
    record_id text NOT NULL,
    name text NOT NULL,
    key_version integer NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (namespace, owner, record_id, name)
  );
  CREATE INDEX cells_by_key ON gyre.cells (key_version, namespace, owner, record_id, name);
  CREATE TABLE gyre.column_keys (
    version integer PRIMARY KEY,
    commitment bytea NOT NULL
  );
  ALTER TABLE gyre.entries ENABLE ROW LEVEL SECURITY;
  ALTER TABLE gyre.entries FORCE ROW LEVEL SECURITY;
  ALTER TABLE gyre.cells ENABLE ROW LEVEL SECURITY;
  ALTER TABLE gyre.cells FORCE ROW LEVEL SECURITY;
  CREATE POLICY own_entries ON gyre.entries TO gyre_rows
    USING (${own}) WITH CHECK (${own});
  CREATE POLICY own_cells ON gyre.cells TO gyre_rows
    USING (${own}) WITH CHECK (${own});
  CREATE POLICY all_entries ON gyre.entries TO gyre_keeper
    USING (current_user = 'gyre_keeper') WITH CHECK (current_user = 'gyre_keeper');
  CREATE POLICY all_cells ON gyre.cells TO gyre_keeper
    USING (current_user = 'gyre_keeper') WITH CHECK (current_user = 'gyre_keeper');
  REVOKE ALL ON SCHEMA gyre FROM PUBLIC;
  GRANT USAGE ON SCHEMA gyre TO gyre_rows, gyre_keeper;
  GRANT SELECT ON gyre.chain TO gyre_rows, gyre_keeper;
  GRANT UPDATE (sequence, hash) ON gyre.chain TO gyre_rows;
  GRANT SELECT, INSERT ON gyre.entries TO gyre_rows;
  GRANT SELECT, INSERT, DELETE ON gyre.cells TO gyre_rows;
  GRANT SELECT, UPDATE (signature, signature_version) ON gyre.entries TO gyre_keeper;
  GRANT SELECT, UPDATE (sealed, key_version) ON gyre.cells TO gyre_keeper;
  GRANT SELECT, INSERT, DELETE ON gyre.column_keys TO gyre_keeper;
`;

/** What version 1 signed does not say in which namespace it is: such a database is not read. */
const migrations: readonly Migration[] = [{ version: 2, script: second }];

/** Any number that nobody else takes: "gyre" in ASCII. */
const lockId = 0x67797265;

/** Brings the schema to this version, and refuses a database that would not guard its rows. */
export async function prepareSchema(database: Pick<Database, 'transactAsOwner'>): Promise<void> {
  await database.transactAsOwner(async (on) => {
    await on.rows('SELECT pg_advisory_xact_lock($1)', [lockId]);
    await on.script(`
      CREATE SCHEMA IF NOT EXISTS gyre;
      CREATE TABLE IF NOT EXISTS gyre.migrations (version integer PRIMARY KEY);
    `);
    const rows = await on.rows('SELECT version FROM gyre.migrations');
    const done = new Set(rows.map((row) => numberOf(row, 'version')));
    const newest = migrations.at(-1)?.version ?? 0;
    if (Math.max(0, ...done) > newest) {
      throw new AdapterError('STORE_FAILED', 'the database is of a newer version than this');
    }
    if ([...done].some((version) => !migrations.some((known) => known.version === version))) {
      const what = 'the database is of an earlier version, and is not read: name an empty one';
      throw new AdapterError('STORE_FAILED', what);
    }
    for (const { version, script } of migrations) {
      if (done.has(version)) continue;
      await on.script(script);
      await on.rows('INSERT INTO gyre.migrations VALUES ($1)', [version]);
    }
    await requireRowSecurity(on);
  });
}

/** @throws AdapterError STORE_FAILED where somebody has loosened what guards the rows */
async function requireRowSecurity(on: Scripts): Promise<void> {
  const tables = await on.rows(`
    SELECT relname FROM pg_class
    WHERE relnamespace = 'gyre'::regnamespace AND relname IN ('entries', 'cells')
      AND relrowsecurity AND relforcerowsecurity
      AND pg_get_userbyid(relowner) NOT IN ('gyre_rows', 'gyre_keeper')`);
  const roles = await on.rows(`
    SELECT rolname FROM pg_roles
    WHERE rolname IN ('gyre_rows', 'gyre_keeper') AND NOT rolsuper AND NOT rolbypassrls`);
  const policies = await on.rows(`
    SELECT tablename || ' ' || roles[1] AS policy FROM pg_policies
    WHERE schemaname = 'gyre' AND cmd = 'ALL' ORDER BY 1`);
  const guarded = policies.map((row) => textOf(row, 'policy')).join(', ');
  const expected = 'cells gyre_keeper, cells gyre_rows, entries gyre_keeper, entries gyre_rows';
  if (tables.length === 2 && roles.length === 2 && guarded === expected) return;
  throw new AdapterError('STORE_FAILED', 'row security of the database is not what it was');
}
