/**
 * Layer 5 on the embedded database after a loss of power: of the database there is what was synced, nothing
 * else, and of the service's state everything that was written.
 */
import {
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { expect, test } from 'vitest';
import type { Database } from '#agents/layers/5-database/database.ts';
import { PgliteDatabase } from '#agents/layers/5-database/pglite.ts';
import { DatabaseWorld } from './world.ts';

test('what was answered is in what was synced, and no file of the state is ahead of it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gyre-power-'));
  const data = join(folder, 'data');
  const synced: string[] = [];
  /** Of each file what it had when it was synced; undefined for a folder. */
  const disk = new Map<string, Uint8Array | undefined>();
  const sync = (descriptor: number, place: string): void => {
    fsyncSync(descriptor);
    const name = relative(data, place);
    synced.push(name);
    disk.set(name, statSync(place).isFile() ? readFileSync(place) : undefined);
  };
  let real = await PgliteDatabase.start(data, sync);
  const database: Database = {
    kind: 'pglite',
    transact: (actor, work) => real.transact(actor, work),
    transactAsOwner: (work) => real.transactAsOwner(work),
    close: async () => {},
  };
  const world = await DatabaseWorld.start({
    database,
    thief: async () => [],
    close: async () => {},
  });
  const anchor = (): unknown =>
    JSON.parse(readFileSync(join(world.service.folder, 'layer-5', 'chain-anchor.json'), 'utf8'));
  const ids = Array.from({ length: 4 }, (_, count) => `r-${count}`);
  for (const [index, id] of ids.entries()) {
    synced.length = 0;
    expect((await world.put(id, { text: id.repeat(1_000) })).status).toBe('done');
    // It was in the log on the disk before it was answered, and the anchor comes later.
    expect(synced.filter((name) => name.includes('pg_wal'))).not.toEqual([]);
    if (index > 0) expect(anchor()).toMatchObject({ sequence: index });
    await world.clock.advance(201);
    expect(anchor()).toMatchObject({ sequence: index + 1 });
  }
  const found = await world.faults();
  await world.service.stop();
  const left = real;
  const after = join(folder, 'after');
  for (const [name, content] of disk) {
    if (content === undefined) mkdirSync(join(after, name), { recursive: true });
  }
  for (const [name, content] of disk) {
    if (content !== undefined) writeFileSync(join(after, name), content);
  }
  real = await PgliteDatabase.start(after);
  await world.service.start();
  for (const id of ids) expect(await world.text(id)).toBe(id.repeat(1_000));
  expect((await world.put('r-0', { text: 'after' })).status).toBe('done');
  expect([found, await world.faults()]).toEqual([[], []]);
  await world.end();
  for (const each of [real, left]) await each.close();
  rmSync(folder, { recursive: true, force: true });
});
