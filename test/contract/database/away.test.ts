/** Layer 5's keys are turned and turned back while its database is away: nothing of it is needed for that. */
import { expect, test } from 'vitest';
import type { Database } from '#agents/layers/5-database/database.ts';
import { PgliteDatabase } from '#agents/layers/5-database/pglite.ts';
import { countMax } from '#agents/layers/5-database/upkeep.ts';
import { AdapterError } from '#agents/layers/adapter.ts';
import { DatabaseWorld } from './world.ts';

test('a key is turned and turned back while the database is away; the rows follow once it is back', async () => {
  const real = await PgliteDatabase.startInMemory();
  let isAway = false;
  const gone = new AdapterError('SYSTEM_UNREACHABLE', 'gone', { retryable: true });
  const database: Database = {
    kind: 'postgresql',
    transact: async (actor, work) => {
      if (isAway) throw gone;
      return await real.transact(actor, work);
    },
    transactAsOwner: (work) => real.transactAsOwner(work),
    close: () => real.close(),
  };
  const world = await DatabaseWorld.start({
    database,
    thief: async () => [],
    close: async () => {},
  });
  await world.put('r-1', { text: 'one' });
  const states = async (slot: string) => {
    const found = (await world.adapter.inspect()).find((each) => each.slot === slot);
    return found?.versions.map(({ version, state }) => `${version} ${state}`);
  };
  for (const slot of ['5/record-signature', '5/column-key']) {
    await world.adapter.prepare(slot, 2);
    isAway = true;
    await world.adapter.activate(slot, 2, new Uint8Array([1]));
    expect(await states(slot)).toContain('2 primary');
    await world.adapter.rollback(slot, 1);
    expect(await states(slot)).toContain('1 primary');
    isAway = false;
    await world.turn(slot, 3);
    await world.until(async () => (await world.adapter.usesLately(slot, 1)) === 0, 100);
  }
  expect(await world.text('r-1')).toBe('one');
  // However many rows there are, counting them ends.
  await real.transactAsOwner((on) =>
    on.rows(
      `INSERT INTO gyre.cells SELECT 'public', 'ann', 'r-' || n, 'text', 1, '\\x00'
         FROM generate_series(2, $1::integer) AS n`,
      [countMax + 9],
    ),
  );
  expect(await world.adapter.usesLately('5/column-key', 1)).toBe(countMax);
  await world.end();
  await real.close();
});
