/**
 * Keys with their certificates as files for a server of somebody else's: each pair in a folder of its own,
 * which is whole before it has its name and is never changed after, and `current`, a symbolic link that
 * is swapped in one step. Whoever follows the link once has a key and a chain that belong together, at any
 * moment and after any crash. Everything is durable when a call returns; folders have mode 0700, files 0600.
 */

import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import {
  createDurablySync,
  replaceDurably,
  syncDirectorySync,
  systemCode,
} from '#shared/runtime/durable-file.ts';
import { AdapterError } from '../adapter.ts';

export interface CertificatePair {
  /** PEM, PKCS#8; wiped by whoever made it. */
  readonly key: Uint8Array;
  /** PEM, the server's certificate first. */
  readonly chain: string;
}

const link = 'current';
const pairs = 'versions';
const keyFile = 'key.pem';
const chainFile = 'chain.pem';
const rootsFile = 'roots.pem';
const unfinished = '.new-';

export class CertificateFolder {
  readonly #directory: string;

  /** Makes it where it is missing, and takes away what a crash left. @throws AdapterError */
  constructor(directory: string) {
    this.#directory = directory;
    kept(directory, () => {
      mkdirSync(this.#place(pairs), { recursive: true, mode: 0o700 });
      for (const each of [directory, this.#place(pairs)]) chmodSync(each, 0o700);
      rmSync(this.#place(`.${link}`), { force: true });
      for (const name of readdirSync(this.#place(pairs))) {
        if (name.startsWith(unfinished)) this.#wipe(name);
      }
    });
  }

  /** The pair that a server finds, or undefined before the first. */
  get current(): string | undefined {
    try {
      return readlinkSync(this.#place(link)).slice(pairs.length + 1);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw failed(this.#directory, error);
    }
  }

  names(): string[] {
    return kept(this.#directory, () => readdirSync(this.#place(pairs)));
  }

  /** Writes a pair, unless it is there. @throws AdapterError */
  write(name: string, { key, chain }: CertificatePair): void {
    if (this.names().includes(name)) return;
    kept(this.#directory, () => {
      // Where an earlier try failed in the midst, its key lies there.
      this.#wipe(`${unfinished}${name}`);
      const fresh = this.#place(pairs, `${unfinished}${name}`);
      mkdirSync(fresh, { mode: 0o700 });
      createDurablySync(join(fresh, keyFile), key);
      createDurablySync(join(fresh, chainFile), Buffer.from(chain));
      renameSync(fresh, this.#place(pairs, name));
      syncDirectorySync(this.#place(pairs));
    });
  }

  /** What is read from now on. The pair is there. @throws AdapterError */
  point(name: string): void {
    kept(this.#directory, () => {
      const fresh = this.#place(`.${link}`);
      rmSync(fresh, { force: true });
      symlinkSync(`${pairs}/${name}`, fresh);
      renameSync(fresh, this.#place(link));
      syncDirectorySync(this.#directory);
    });
  }

  /** Overwrites the key where it lies, and takes the pair away. @throws AdapterError */
  remove(name: string): void {
    if (name === this.current) {
      throw new AdapterError('STATE_CONFLICT', 'a pair that is in place is not removed');
    }
    kept(this.#directory, () => this.#wipe(name));
  }

  /** Certificates that clients have to know, PEM. @throws AdapterError */
  publish(roots: string): void {
    kept(this.#directory, () => replaceDurably(this.#place(rootsFile), Buffer.from(roots)));
  }

  #wipe(name: string): void {
    const folder = this.#place(pairs, name);
    overwrite(join(folder, keyFile));
    rmSync(folder, { recursive: true, force: true });
    syncDirectorySync(this.#place(pairs));
  }

  #place(...parts: string[]): string {
    return join(this.#directory, ...parts);
  }
}

/** A file that a crash left unwritten is fine. */
function overwrite(file: string): void {
  const size = statSync(file, { throwIfNoEntry: false })?.size;
  if (size === undefined) return;
  const handle = openSync(file, 'r+');
  try {
    writeSync(handle, randomBytes(size), 0, size, 0);
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function kept<Result>(directory: string, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    throw error instanceof AdapterError ? error : failed(directory, error);
  }
}

function failed(directory: string, cause: unknown): AdapterError {
  const code = systemCode(cause) === 'ENOSPC' ? 'DISK_FULL' : 'STORE_FAILED';
  const what = `the files in ${directory} were not changed: ${systemCode(cause) ?? 'unknown'}`;
  return new AdapterError(code, what, { cause, retryable: true });
}
