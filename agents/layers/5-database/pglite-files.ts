/**
 * The folder of the embedded database, with what PGlite leaves out: it starts PostgreSQL with `fsync` off, over
 * a file system whose `fsync` does nothing, so that a commit is only with the operating system. Here
 * both are on, so PostgreSQL's own rules hold (its manual, 28.1 "Reliability" and 28.5 "WAL Configuration"):
 * the log is on the disk before a commit is answered, and what a checkpoint counts on before it is one.
 * `fdatasync`, which PostgreSQL would take, still does nothing there; so it is told to use `fsync`.
 */

import { closeSync, fsyncSync, openSync, readdirSync } from 'node:fs';
import path from 'node:path';
import type { PGlite } from '@electric-sql/pglite';
import type { NodeFS } from '@electric-sql/pglite/nodefs';
import { AdapterError } from '../adapter.ts';

/** Flushes a file or a folder that is open. Throws errors of the system. */
export type Sync = (descriptor: number, place: string) => void;

/** Those of PGlite, without its `-F`. */
export function durableParameters(usual: readonly string[]): string[] {
  return [
    ...usual.filter((each) => each !== '-F'),
    '-c',
    'fsync=on',
    '-c',
    'wal_sync_method=fsync',
  ];
}

/** What there is of Emscripten's NODEFS that is needed here. */
interface NodeFiles {
  realPath(node: unknown): string;
  /** Turns errors of the system into those that PostgreSQL understands. */
  tryFSOperation(work: () => void): void;
  readonly stream_ops: { fsync?: (stream: OpenFile) => void };
}

interface OpenFile {
  readonly node: unknown;
  /** Undefined for a folder. */
  readonly nfd?: number;
}

/** The file system for PGlite: as its own for folders, and `fsync` reaches the disk. */
export function syncedFiles(Base: typeof NodeFS, folder: string, sync: Sync = fsyncSync): NodeFS {
  return new (class extends Base {
    override async init(...[database, options]: Parameters<NodeFS['init']>) {
      const made = await super.init(database, options);
      const before = made.emscriptenOpts.preRun ?? [];
      const mend = (module: { readonly NODEFS: unknown }): void => mendSync(module.NODEFS, sync);
      return { emscriptenOpts: { ...made.emscriptenOpts, preRun: [...before, mend] } };
    }
  })(folder);
}

/** Whatever made the folder synced nothing of it. */
export function syncFolder(folder: string, sync: Sync = fsyncSync): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const place = path.join(folder, entry.name);
    if (entry.isDirectory()) syncFolder(place, sync);
    else if (entry.isFile()) syncPlace(place, sync);
  }
  syncPlace(folder, sync);
}

/** @throws AdapterError where PostgreSQL does not do what was asked of it */
export async function requireDurable(database: PGlite): Promise<void> {
  const { rows } = await database.query<{ name: string; setting: string }>(
    `SELECT name, setting FROM pg_settings
     WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'wal_sync_method')`,
  );
  const set = new Map(rows.map(({ name, setting }) => [name, setting]));
  const isOn = ['fsync', 'full_page_writes', 'synchronous_commit'].every(
    (name) => set.get(name) === 'on',
  );
  if (!isOn || set.get('wal_sync_method') !== 'fsync') throw notDurable();
}

function mendSync(files: unknown, sync: Sync): void {
  if (!isNodeFiles(files)) throw notDurable();
  files.stream_ops.fsync = ({ node, nfd }) => {
    files.tryFSOperation(() => {
      const place = files.realPath(node);
      if (nfd === undefined) syncPlace(place, sync);
      else sync(nfd, place);
    });
  };
}

function syncPlace(place: string, sync: Sync): void {
  const descriptor = openSync(place, 'r');
  try {
    sync(descriptor, place);
  } finally {
    closeSync(descriptor);
  }
}

function isNodeFiles(value: unknown): value is NodeFiles {
  if (typeof value !== 'object' || value === null) return false;
  if (!('realPath' in value && 'tryFSOperation' in value && 'stream_ops' in value)) return false;
  const { realPath, tryFSOperation, stream_ops: operations } = value;
  return (
    typeof realPath === 'function' &&
    typeof tryFSOperation === 'function' &&
    typeof operations === 'object' &&
    operations !== null
  );
}

function notDurable(): AdapterError {
  return new AdapterError('STORE_FAILED', 'the embedded database does not sync what it commits');
}
