/**
 * Files that must be whole or absent: written beside their place, synced and renamed. Folders are
 * 0700 and secrets 0600 whatever the umask says.
 */
import { chmod, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

export const directoryMode = 0o700;
export const secretMode = 0o600;

/** Makes `path` and what is missing above it, mode 0700 for `path` itself. */
export async function makeDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: directoryMode });
  await chmod(path, directoryMode);
}

/** Writes a new file, 0600, and syncs it. Fails with EEXIST where it is there already. */
export async function createFile(path: string, content: Uint8Array | string): Promise<void> {
  const file = await open(path, 'wx', secretMode);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Puts `content` in place of whatever `path` holds, in one step, 0600. */
export async function replaceFile(path: string, content: Uint8Array | string): Promise<void> {
  const temporary = `${path}.${process.pid}.new`;
  await rm(temporary, { force: true });
  await createFile(temporary, content);
  await rename(temporary, path);
  await syncDirectory(dirname(path));
}

/** Makes what was created or renamed in a folder survive a crash of the machine. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** A folder beside `path` to build in. */
export function buildingPath(path: string, name: string): string {
  return join(dirname(path), `.${name}.building-${process.pid}`);
}

/** The system's code of an error (`ENOENT` …), or undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
