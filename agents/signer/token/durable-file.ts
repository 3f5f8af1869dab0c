/**
 * Small files that appear complete and durable or not at all, and never replace one another:
 * temporary file (mode 0600), fsync, link, fsync of the folder. A rename would replace what is
 * there; `link` fails with EEXIST instead, so the file system decides who was first.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { link, mkdir, open, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Makes the folder if it is missing (mode 0700). Rejects with the system error, EEXIST included. */
export async function createDurably(path: string, bytes: Uint8Array): Promise<void> {
  const directory = dirname(path);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const temporary = join(directory, `.${randomBytes(12).toString('hex')}.tmp`);
  try {
    await writeAndSync(temporary, bytes);
    await link(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
  await syncDirectory(directory);
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

async function writeAndSync(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncDirectory(directory: string): Promise<void> {
  const folder = await open(directory, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
