/**
 * An agent's disk as a port: databases, small files that are replaced as a whole, the positioned file
 * under the auditor's log, and secrets that are wiped where they lie. Everything that an agent keeps goes
 * through it, so that a simulated world can lose power at every one of its writes.
 *
 * Names are those of files in the agent's own folder: lower-case letters, digits, `-` and `.`.
 */

import type { DatabaseSync } from 'node:sqlite';

/** Positioned reads and writes, a barrier, a cut. */
export interface LogFile {
  /** Bytes that the file has. */
  size(): Promise<number>;
  /** At most `length` bytes from `position`; fewer only at the end of the file. */
  read(position: number, length: number): Promise<Uint8Array>;
  /** All of `bytes` at `position`, or an error; how much was written is then unknown. */
  write(position: number, bytes: Uint8Array): Promise<void>;
  /** Resolves when everything written is on the disk. */
  sync(): Promise<void>;
  /** Cuts the file to `size` bytes. */
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

export interface SecretName {
  readonly channel: string;
  readonly epoch: number;
}

/** A folder of secrets, one small file each, wrapped before they come here. */
export interface SecretFiles {
  names(): Promise<readonly SecretName[]>;
  /** Null where there is none. */
  read(name: SecretName): Promise<Uint8Array | null>;
  /** Durable once it resolves. Rejects with EEXIST where there is one: nothing is written over. */
  write(name: SecretName, wrapped: Uint8Array): Promise<void>;
  /** Overwritten, unlinked and gone once it resolves; there being none is fine. */
  wipe(name: SecretName): Promise<void>;
}

/** Faults are those of the system: errors with `code` (ENOSPC, EACCES) or SQLite's `errcode`. */
export interface Disk {
  /** Where a file of this name lies, for people to find it. */
  place(name: string): string;
  /** Whether there is a file or database of this name. */
  has(name: string): boolean;
  /**
   * Opens a database, making it at first. Every commit is on the disk before it is answered, deleted
   * content is overwritten, and a lock is waited for 300 ms at the most.
   */
  database(name: string): DatabaseSync;
  /** The content of a small file, or undefined where there is none. */
  readFile(name: string): Uint8Array | undefined;
  /** Whether nobody but its owner can read the file. It exists. */
  isPrivate(name: string): boolean;
  /** Old content or new, never a part of either; durable once it returns. Mode 0600. */
  replaceFile(name: string, content: Uint8Array): void;
  /** All of it or nothing; durable once it returns. Mode 0600. EEXIST where the name is taken. */
  createFile(name: string, content: Uint8Array): void;
  /** Opens the file, or makes it (mode 0600) and its entry in the folder durable. */
  logFile(name: string): Promise<LogFile>;
  /** Opens a folder of secrets (mode 0700), and wipes what a crash left half written. */
  secretFiles(name: string): Promise<SecretFiles>;
}
