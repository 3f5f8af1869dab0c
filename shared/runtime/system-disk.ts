/**
 * An agent's disk as it is: a folder of the file system. Databases with a write-ahead log and
 * `synchronous = FULL`; small files written beside their place, flushed, and renamed or linked into
 * it; the positioned file under the auditor's log; a folder of secrets that are wiped where they lie.
 */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { invariant } from '#shared/crypto/errors.ts';
import type { Disk, LogFile, SecretFiles } from './disk.ts';
import { createDurablySync, replaceDurably, syncDirectory, systemCode } from './durable-file.ts';
import { SystemSecretFiles } from './system-secret-files.ts';

const busyTimeoutMs = 300;
const namePattern = /^[a-z0-9][a-z0-9.-]{0,63}$/;

/** Throws errors of the system and of SQLite as they are: whoever asks knows what they mean to him. */
export class SystemDisk implements Disk {
  readonly #folder: string;

  /** The folder exists, mode 0700. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  place(name: string): string {
    invariant(namePattern.test(name), 'a file of the state has a name of the state');
    return path.join(this.#folder, name);
  }

  has(name: string): boolean {
    return existsSync(this.place(name));
  }

  database(name: string): DatabaseSync {
    const database = new DatabaseSync(this.place(name), {
      timeout: busyTimeoutMs,
      enableForeignKeyConstraints: true,
      enableDoubleQuotedStringLiterals: false,
    });
    try {
      database.exec(
        `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;`,
      );
    } catch (error) {
      database.close();
      throw error;
    }
    return database;
  }

  readFile(name: string): Uint8Array | undefined {
    try {
      return readFileSync(this.place(name));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  isPrivate(name: string): boolean {
    return (statSync(this.place(name)).mode & 0o077) === 0;
  }

  replaceFile(name: string, content: Uint8Array): void {
    replaceDurably(this.place(name), content);
  }

  createFile(name: string, content: Uint8Array): void {
    createDurablySync(this.place(name), content);
  }

  async logFile(name: string): Promise<LogFile> {
    const handle = await openOrCreate(this.place(name));
    return {
      size: async () => (await handle.stat()).size,
      read: (position, length) => readFrom(handle, position, length),
      write: (position, bytes) => writeAt(handle, position, bytes),
      sync: () => handle.datasync(),
      truncate: (size) => handle.truncate(size),
      close: () => handle.close(),
    };
  }

  secretFiles(name: string): Promise<SecretFiles> {
    return SystemSecretFiles.open(this.place(name));
  }
}

async function readFrom(handle: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

async function writeAt(handle: FileHandle, position: number, bytes: Uint8Array): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const left = bytes.length - written;
    const { bytesWritten } = await handle.write(bytes, written, left, position + written);
    written += bytesWritten;
  }
}

async function openOrCreate(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'r+');
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
  const handle = await open(file, 'wx+', 0o600);
  await syncDirectory(path.dirname(file));
  return handle;
}
