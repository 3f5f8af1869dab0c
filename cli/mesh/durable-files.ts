/**
 * Files that must be whole or absent: written beside their place, synced and renamed. Folders are
 * 0700 and secrets 0600 whatever the umask says.
 */
import { chmod, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

export const directoryMode = 0o700;
export const secretMode = 0o600;

/** Makes `path` and what is missing above it, mode 0700 for `path` itself. */
export async function makeDirectory(path: string): Promise<void> {
  await makePath(path, directoryMode);
  await chmod(path, directoryMode);
}

/**
 * Makes `path` and what is missing above it, each folder tried twice at most. Node's own recursive
 * mkdir goes on for ever in a folder that exists and says ENOENT to every new name, as /proc does.
 */
export async function makePath(path: string, mode = 0o777): Promise<void> {
  try {
    await makeOne(path, mode);
  } catch (error) {
    const parent = dirname(path);
    if (systemErrorCode(error) !== 'ENOENT' || parent === path) throw error;
    await makePath(parent, mode);
    await makeOne(path, mode);
  }
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

/** A folder that is there already is as good as made; anything else of that name is not. */
async function makeOne(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    const isThere = systemErrorCode(error) === 'EEXIST' && (await stat(path)).isDirectory();
    if (!isThere) throw error;
  }
}

/** The system's code of an error (`ENOENT` …), or undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
