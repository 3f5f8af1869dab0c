/**
 * Small files that are whole or not there, and durable once a call has ended. Those that are created
 * never replace one another: temporary file (mode 0600), fsync, link, fsync of the folder. A rename
 * would replace what is there; `link` fails with EEXIST instead, so the file system decides who was
 * first. Those that are replaced are renamed into place, so that a reader finds the old or the new.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { link, mkdir, open, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Makes the folder if it is missing (mode 0700). Rejects with the system error, EEXIST included. */
export async function createDurably(path: string, bytes: Uint8Array): Promise<void> {
  const directory = dirname(path);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const temporary = temporaryIn(directory);
  try {
    await writeAndSync(temporary, bytes);
    await link(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
  await syncDirectory(directory);
}

/** As `createDurably`, in a folder that exists. Throws the system error, EEXIST included. */
export function createDurablySync(path: string, bytes: Uint8Array): void {
  const temporary = temporaryIn(dirname(path));
  try {
    writeAndSyncSync(temporary, 'wx', bytes);
    linkSync(temporary, path);
  } finally {
    rmSync(temporary, { force: true });
  }
  syncDirectorySync(dirname(path));
}

/** Mode 0600. Throws the system error; a fault leaves the file as it was. */
export function replaceDurably(path: string, bytes: Uint8Array): void {
  const fresh = `${path}.${process.pid}.new`;
  writeAndSyncSync(fresh, 'w', bytes);
  renameSync(fresh, path);
  syncDirectorySync(dirname(path));
}

/**
 * The first `bytesMax` bytes of a file, or all of it. Throws the system error. Synchronous: for a
 * file of a hundred bytes three trips through the thread pool cost more than the reading, and it is
 * done for each signature.
 */
export function readAtMost(path: string, bytesMax: number): Uint8Array {
  const file = openSync(path, 'r');
  try {
    const buffer = new Uint8Array(bytesMax);
    return buffer.subarray(0, readSync(file, buffer, 0, bytesMax, 0));
  } finally {
    closeSync(file);
  }
}

/** The `code` of a Node system error, such as ENOENT; null for anything else. */
export function systemCode(error: unknown): string | null {
  if (!(error instanceof Error) || !('code' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}

/** Makes what was created or renamed in a folder, or taken out of it, survive a loss of power. */
export async function syncDirectory(directory: string): Promise<void> {
  const folder = await open(directory, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** As `syncDirectory`, before it returns. */
export function syncDirectorySync(directory: string): void {
  const folder = openSync(directory, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

async function writeAndSync(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

function writeAndSyncSync(path: string, flags: 'w' | 'wx', bytes: Uint8Array): void {
  const file = openSync(path, flags, 0o600);
  try {
    writeFileSync(file, bytes);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function temporaryIn(directory: string): string {
  return join(directory, `.${randomBytes(12).toString('hex')}.tmp`);
}
