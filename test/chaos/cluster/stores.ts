/** Damage to the store of a server that is down: files cut short, bits flipped, everything gone. */
import { open, readdir, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { Draws } from '../../sim/model.ts';
import type { Node } from './nodes.ts';

const filesMax = 4;
const flipsMax = 8;

/** Cuts the ends off some files; says which. */
export async function truncated(node: Node, draws: Draws): Promise<string> {
  const files = await someFiles(node, draws);
  for (const { path, bytes } of files) await truncate(path, draws.between(0, bytes - 1));
  return files.map(({ path }) => path).join(' ');
}

/** Flips single bits in some files; says which. */
export async function bitFlipped(node: Node, draws: Draws): Promise<string> {
  const files = await someFiles(node, draws);
  for (const { path, bytes } of files) {
    const file = await open(path, 'r+');
    try {
      for (let flips = draws.between(1, flipsMax); flips > 0; flips -= 1) {
        const position = draws.between(0, bytes - 1);
        const byte = new Uint8Array(1);
        await file.read(byte, 0, 1, position);
        byte[0] = (byte[0] ?? 0) ^ (1 << draws.between(0, 7));
        await file.write(byte, 0, 1, position);
      }
    } finally {
      await file.close();
    }
  }
  return files.map(({ path }) => path).join(' ');
}

/** A server that comes back with nothing, as on a new disk. */
export async function emptied({ storeDirectory }: Node): Promise<string> {
  for (const name of await readdir(storeDirectory)) {
    await rm(join(storeDirectory, name), { recursive: true, force: true });
  }
  return storeDirectory;
}

interface StoreFile {
  readonly path: string;
  readonly bytes: number;
}

/** Of the messages, of the logs of the vote, of indexes and descriptions, whatever there is. */
async function someFiles({ storeDirectory }: Node, draws: Draws): Promise<StoreFile[]> {
  const entries = await readdir(storeDirectory, { recursive: true, withFileTypes: true });
  const files: StoreFile[] = [];
  for (const entry of entries.filter((each) => each.isFile())) {
    const path = join(entry.parentPath, entry.name);
    const { size: bytes } = await stat(path);
    if (bytes > 0) files.push({ path, bytes });
  }
  const inOrder = files.toSorted((left, right) => (left.path < right.path ? -1 : 1));
  // Blocks of messages are few among many small files, and they are what matters most.
  const blocks = inOrder.filter(({ path }) => path.endsWith('.blk'));
  const from = draws.chance(0.6) && blocks.length > 0 ? blocks : inOrder;
  return draws.shuffled(from).slice(0, draws.between(1, filesMax));
}
