/**
 * A PostgreSQL server of the test's own: in a temporary folder, on a unix socket, as a user without
 * privileges where the test has them (the server refuses to run otherwise). Undefined where PostgreSQL
 * is not installed. Whoever connects by `url` owns the database and may make roles, and is no superuser.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import pg from 'pg';

export interface PostgresServer {
  /** Of its unix socket. */
  readonly folder: string;
  readonly url: string;
  /** As a superuser: what a thief of the database, or of its disk, can do. */
  readonly superuserUrl: string;
  stop(): Promise<void>;
}

const startWithinMs = 30_000;

export async function startPostgres(): Promise<PostgresServer | undefined> {
  const initdb = programNamed('initdb');
  const postgres = programNamed('postgres');
  const as = unprivileged();
  if (initdb === undefined || postgres === undefined || as === undefined) return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'gyre-pg-'));
  if ('uid' in as) chownSync(folder, as.uid, as.gid);
  const data = join(folder, 'data');
  const made = spawnSync(
    initdb,
    ['-D', data, '-U', 'super', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync'],
    { ...as, cwd: folder, stdio: 'pipe', encoding: 'utf8' },
  );
  if (made.status !== 0) throw new Error(`initdb failed: ${made.stderr}`);
  const options = ['listen_addresses=', 'fsync=off', 'max_connections=40', 'shared_buffers=16MB'];
  const server = spawn(
    postgres,
    ['-D', data, '-k', folder, ...options.flatMap((option) => ['-c', option])],
    { ...as, cwd: folder, stdio: 'ignore' },
  );
  const urlOf = (user: string, database: string) =>
    `postgresql://${user}@/${database}?host=${encodeURIComponent(folder)}`;
  await prepared(urlOf('super', 'postgres'), server);
  return {
    folder,
    url: urlOf('gyre_owner', 'gyre'),
    superuserUrl: urlOf('super', 'gyre'),
    stop: async () => {
      const over = new Promise((resolve) => server.once('exit', resolve));
      server.kill('SIGINT');
      await over;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function prepared(url: string, server: ChildProcess): Promise<void> {
  const untilMs = Date.now() + startWithinMs;
  for (;;) {
    const client = new pg.Client({ connectionString: url });
    try {
      await client.connect();
      await client.query('CREATE ROLE gyre_owner LOGIN CREATEROLE NOSUPERUSER NOBYPASSRLS');
      await client.query('CREATE DATABASE gyre OWNER gyre_owner');
      return;
    } catch (error) {
      if (server.exitCode !== null || Date.now() > untilMs) throw error;
    } finally {
      await client.end();
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Who the server runs as: nobody else than now, unless that is root. */
function unprivileged(): { uid: number; gid: number } | Record<string, never> | undefined {
  if (process.getuid?.() !== 0) return {};
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  const user = ['postgres', 'nobody'].flatMap((name) => users.filter(([known]) => known === name));
  const [first] = user;
  return first === undefined ? undefined : { uid: Number(first[2]), gid: Number(first[3]) };
}

function programNamed(name: string): string | undefined {
  const packaged = '/usr/lib/postgresql';
  const versions = existsSync(packaged) ? readdirSync(packaged) : [];
  const folders = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    ...versions.map((version) => join(packaged, version, 'bin')),
  ];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}
