/** What layer 5 must do on every database that it runs on. Its tests share one world, in their order. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deletions, recordNames } from './record-names.ts';
import { batchRows } from '#agents/layers/5-database/upkeep.ts';
import { capabilityOf } from '../../support/capability-desk.ts';
import { DatabaseWorld, type TestedDatabase } from './world.ts';

const signature = '5/record-signature';
const column = '5/column-key';

export function databaseSuite(name: string, open: () => Promise<TestedDatabase>): void {
  describe(`records on ${name}`, () => {
    let tested: TestedDatabase;
    let world: DatabaseWorld;

    beforeAll(async () => {
      tested = await open();
      world = await DatabaseWorld.start(tested);
    });
    afterAll(async () => {
      await world.end();
      await tested.close();
    });

    test('what is written is read, by its owner; the same again is no new entry', async () => {
      const first = await world.put('r-1', { text: 'one', note: '' }, { links: ['p-1'] });
      expect(first).toMatchObject({ body: { id: 'r-1', sequence: 1, revision: 1 } });
      expect(await world.put('r-1', { note: '', text: 'one' }, { links: ['p-1'] })).toEqual(first);
      expect(await world.get('r-1')).toMatchObject({
        body: { owner: 'ann', kind: 'note', links: ['p-1'], columns: { text: 'b25l', note: '' } },
      });
      expect(await world.put('r-1', { text: 'two' })).toMatchObject({ body: { revision: 2 } });
      expect(await world.text('r-1')).toBe('two');
      expect(await world.get('r-1', 'eve')).toMatchObject({ code: 'RECORD_UNKNOWN' });
      expect(await world.get('r-1', '')).toMatchObject({ code: 'RECORD_UNKNOWN' });
      expect(await world.put('r-1', { text: 'x' }, { revision: 2 })).toMatchObject({
        code: 'REVISION_CONFLICT',
      });
      expect(await world.put('r-1', { text: 'two' }, { revision: 2 })).toMatchObject({
        body: { revision: 2 },
      });
      for (const bad of [{ owner: '' }, { columns: { Text: 'AA' } }, { columns: { t: 'A' } }]) {
        expect(await world.put('r-9', {}, bad)).toMatchObject({ code: 'REQUEST_MALFORMED' });
      }
      expect(await world.faults(1)).toEqual([]);
    });

    test('writers of the same record at once: each write is whole, and the chain is one', async () => {
      const texts = ['a', 'b', 'c', 'd', 'e'];
      const answers = await Promise.all(texts.map((text) => world.put('r-2', { text })));
      expect(answers.map(({ status }) => status)).toEqual(texts.map(() => 'done'));
      expect(texts).toContain(await world.text('r-2'));
      expect(await world.faults()).toEqual([]);
    });

    test('with a capability one reads and writes what is his', async () => {
      expect((await world.write('cat', 'c-1', 'b25l')).status).toBe('done');
      expect(await world.read('cat', 'c-1')).toMatchObject({ body: { owner: 'cat' } });
      expect(await world.read('eve', 'c-1')).toMatchObject({ code: 'RECORD_UNKNOWN' });
      const path = '/v1/records/c-1';
      const other = { path, headers: capabilityOf('cat', 'record:write') };
      expect(await world.service.client.ask({ method: 'GET', ...other })).toMatchObject({
        code: 'SCOPE_EXCEEDED',
      });
    });

    test('the database itself keeps owners apart, and entries as they are', async () => {
      const { database } = tested;
      const count = 'SELECT count(*)::integer AS n FROM gyre.entries';
      const rows = (owner: string | undefined, text: string) =>
        database.transact(
          { role: 'gyre_rows', ...(owner === undefined ? {} : { owner, namespace: 'public' }) },
          (on) => on.rows(text),
        );
      const [all] = await tested.thief(count);
      expect(all?.['n']).toBeGreaterThan(5);
      expect(await rows(undefined, count)).toEqual([{ n: 0 }]);
      expect(await rows('nobody', count)).toEqual([{ n: 0 }]);
      expect(await rows('cat', count)).toEqual([{ n: 1 }]);
      expect(await rows(undefined, 'SELECT * FROM gyre.cells')).toEqual([]);
      const refused = [
        `UPDATE gyre.entries SET kind = 'x'`,
        'DELETE FROM gyre.entries',
        'SELECT * FROM gyre.column_keys',
        `UPDATE gyre.cells SET owner = 'cat'`,
        `INSERT INTO gyre.cells VALUES ('layer-6', 'ann', 'r-1', 'more', 1, '')`,
      ];
      for (const text of refused) {
        await expect(rows('cat', text)).rejects.toMatchObject({ code: 'STORE_FAILED' });
      }
      // The next transaction is nobody again.
      expect(await rows(undefined, count)).toEqual([{ n: 0 }]);
    });

    test('whatever is changed in the database is refused, and found by the verification', async () => {
      await world.put('t-1', { text: 'first' });
      const answer = await world.put('t-2', { text: 'true' }, { links: ['t-1'] });
      const { sequence } = (answer as { body: { sequence: number } }).body;
      await world.put('t-3', { text: 'last' });
      for (const [change, code] of changes) {
        const kept = await snapshot(tested);
        for (const text of change.split(';')) {
          await tested.thief(text.replaceAll('$n', String(sequence)));
        }
        const read = await world.get('t-2', change.includes("owner = 'eve'") ? 'eve' : 'ann');
        const isElsewhere = change.includes('namespace =');
        const isOfTheRecord = !isElsewhere && !['LINK_BROKEN', 'SEQUENCE_BROKEN'].includes(code);
        if (isOfTheRecord)
          expect([change, read]).toMatchObject([change, { code: 'RECORD_TAMPERED' }]);
        const codes = (await world.faults()).map((fault) => fault.code);
        expect([change, codes]).toEqual([change, expect.arrayContaining([code])]);
        await restore(tested, kept);
        expect(await world.faults()).toEqual([]);
      }
      const metrics = await world.adapter.measure();
      expect(metrics['refused-record-tampered']).toBeGreaterThan(5);
      expect(await world.text('t-2')).toBe('true');
    });

    test('a chain that was cut, or set back as a whole, is noticed before it is written to', async () => {
      const kept = await snapshot(tested);
      await world.put('t-4', { text: 'new' });
      const grown = await snapshot(tested);
      await restore(tested, kept);
      expect((await world.faults()).map(({ code }) => code)).toEqual(['ROLLED_BACK']);
      expect(await world.put('t-5', { text: 'x' })).toMatchObject({ code: 'CHAIN_ROLLED_BACK' });
      await world.service.stop();
      await world.service.start();
      expect(await world.put('t-5', { text: 'x' })).toMatchObject({ code: 'CHAIN_ROLLED_BACK' });
      await restore(tested, grown);
      expect((await world.put('t-5', { text: 'x' })).status).toBe('done');
      expect(await world.faults()).toEqual([]);
    });

    test('records are listed by owner and kind, in pages', async () => {
      for (const id of ['l-1', 'l-2', 'l-3']) await world.put(id, { text: id }, { owner: 'bob' });
      await world.put('l-4', { text: 'l-4' }, { owner: 'bob', kind: 'other' });
      const list = async (query: string) => {
        const path = `/internal/v1/records${query}`;
        const answer = await world.service.asPeer(6).ask({ method: 'GET', path });
        const { records } = (answer as { body: { records: { id: string }[] } }).body;
        return records.map(({ id }) => id);
      };
      expect(await list('?owner=bob&kind=note&limit=2')).toEqual(['l-1', 'l-2']);
      expect(await list('?owner=bob&kind=note&after=l-2')).toEqual(['l-3']);
      expect(await list('?owner=bob')).toEqual(['l-1', 'l-2', 'l-3', 'l-4']);
      expect(await list('')).toEqual([]);
      // What does not fit into an answer comes with the next page.
      const large = 'x'.repeat(190_000);
      const columns = { a: large, b: large, c: large };
      for (const id of ['m-1', 'm-2', 'm-3', 'm-4']) await world.put(id, columns, { owner: 'max' });
      const path = '/internal/v1/records?owner=max';
      const page = await world.service.asPeer(6).ask({ method: 'GET', path });
      expect(page).toMatchObject({ body: { next: 'm-2' } });
      expect(await list('?owner=max')).toEqual(['m-1', 'm-2']);
      expect(await list('?owner=max&after=m-2')).toEqual(['m-3', 'm-4']);
    });

    recordNames(() => ({ world, tested }));
    deletions(() => ({ world, tested }));

    test.each([
      [signature, 'entries-to-resign'],
      [column, 'cells-to-rekey'],
    ])('turning %s: nothing is unreadable at any moment', async (slot, left) => {
      const ids = Array.from({ length: batchRows + 8 }, (_, count) => `${slot.slice(2)}-${count}`);
      for (const id of ids) await world.put(id, { text: id });
      const readAll = async () => {
        for (const id of [...ids.slice(0, 6), ...ids.slice(-3)])
          expect(await world.text(id)).toBe(id);
      };
      await world.adapter.prepare(slot, 2);
      await readAll();
      await world.adapter.activate(slot, 2, new Uint8Array([1]));
      ids.push(`${slot.slice(2)}-during`);
      await world.put(ids.at(-1) ?? '', { text: ids.at(-1) ?? '' });
      const before = await rowsUnder(tested, slot, 1);
      expect(before).toBeGreaterThan(batchRows);
      expect(await world.adapter.usesLately(slot, 1)).toBeGreaterThanOrEqual(before);
      await expect(world.adapter.retire(slot, 1)).rejects.toMatchObject({ code: 'STATE_CONFLICT' });
      // Power is lost at several statements of the first batch: nothing of it has happened.
      for (const at of [0, 1, batchRows - 1]) {
        const faults = world.faulty.faults;
        world.faulty.failsAfter = at;
        await world.until(() => world.faulty.faults > faults);
        expect(await rowsUnder(tested, slot, 1)).toBe(before);
        await readAll();
      }
      await world.until(async () => (await rowsUnder(tested, slot, 1)) < before);
      await world.service.stop();
      await world.service.start();
      await readAll();
      await world.until(async () => (await world.adapter.usesLately(slot, 1)) === 0);
      await world.until(async () => (await world.adapter.measure())[left] === 0);
      expect(await world.adapter.verify(slot, 2)).toEqual({ ok: true });
      await world.adapter.retire(slot, 1);
      await world.adapter.retire(slot, 1);
      await readAll();
      await world.put(`${slot.slice(2)}-after`, { text: 'after' });
      expect(await world.faults()).toEqual([]);
    });

    test.each([signature, column])('taking %s back', async (slot) => {
      await world.put('b-1', { text: 'before' });
      await world.turn(slot, 3);
      await world.put('b-2', { text: 'during' });
      await world.adapter.rollback(slot, 2);
      await world.put('b-3', { text: 'after' });
      await world.until(async () => (await world.adapter.usesLately(slot, 3)) === 0);
      await world.adapter.retire(slot, 3);
      for (const [id, text] of [
        ['b-1', 'before'],
        ['b-2', 'during'],
        ['b-3', 'after'],
      ] as const) {
        expect(await world.text(id)).toBe(text);
      }
      await expect(world.adapter.retire(slot, 2)).rejects.toMatchObject({ code: 'STATE_CONFLICT' });
      expect(await world.text('b-1')).toBe('before');
      expect(await world.faults()).toEqual([]);
    });

    test('both keys are turned and retired under load: no request fails', async () => {
      let isOver = false;
      const failed: string[] = [];
      let requests = 0;
      const client = async (name: string): Promise<void> => {
        for (let count = 0; !isOver; count += 1) {
          const id = `${name}-${count % 5}`;
          const answers = [await world.put(id, { text: `${count}` }), await world.get(id)];
          requests += answers.length;
          for (const answer of answers) if (answer.status === 'refused') failed.push(answer.code);
        }
      };
      const clients = ['x', 'y', 'z'].map(client);
      for (const slot of [signature, column]) {
        await world.turn(slot, 4);
        await world.until(async () => (await world.adapter.usesLately(slot, 2)) === 0);
        await world.adapter.retire(slot, 2);
      }
      isOver = true;
      await Promise.all(clients);
      expect(failed).toEqual([]);
      expect(requests).toBeGreaterThan(20);
      expect(await world.faults()).toEqual([]);
    });

    test('what was changed stays under its old key, and keeps that key', async () => {
      await world.put('k-1', { text: 'changed' });
      const kept = await snapshot(tested);
      await tested.thief(
        `UPDATE gyre.cells SET sealed = sealed || '\\x00' WHERE record_id = 'k-1'`,
      );
      await world.turn(column, 5);
      await world.until(async () => (await world.adapter.measure())['rows-tampered'] === 1);
      expect(await rowsUnder(tested, column, 4)).toBe(1);
      await expect(world.adapter.retire(column, 4)).rejects.toMatchObject({
        code: 'STATE_CONFLICT',
      });
      await restoreCells(tested, kept, 'k-1');
      await world.until(async () => (await world.adapter.usesLately(column, 4)) === 0, 500);
      await world.adapter.retire(column, 4);
      expect(await world.text('k-1')).toBe('changed');
    });

    test('layer 4 may be down, and turns its own keys; without it nothing is read anew', async () => {
      await world.encryption.stop();
      await world.put('d-1', { text: 'while it is down' });
      expect(await world.text('d-1')).toBe('while it is down');
      await expect(world.adapter.prepare(column, 6)).rejects.toMatchObject({ retryable: true });
      await world.service.stop();
      await world.service.start();
      expect(await world.get('d-1')).toMatchObject({ code: 'PEER_UNAVAILABLE', retryable: true });
      await world.encryption.start();
      await world.encryptionAdapter.prepare('4/kek', 2);
      await world.encryptionAdapter.activate('4/kek', 2, new Uint8Array([1]));
      expect(await world.text('d-1')).toBe('while it is down');
      await world.until(async () => (await world.encryptionAdapter.usesLately('4/kek', 1)) === 0);
      await world.encryptionAdapter.retire('4/kek', 1);
      await world.service.stop();
      await world.service.start();
      expect(await world.text('d-1')).toBe('while it is down');
      expect((await world.adapter.prepare(column, 6)).state).toBe('prepared');
    });

    test('frozen: read, not written', async () => {
      await world.adapter.freeze(signature, true);
      expect(await world.put('f-1', { text: 'x' })).toMatchObject({ code: 'SLOT_FROZEN' });
      expect(await world.text('r-1')).toBe('two');
      await world.adapter.freeze(signature, false);
      expect((await world.put('f-1', { text: 'x' })).status).toBe('done');
    });

    test("layer 4's half of a column key is destroyed: this one is forgotten, and not made anew", async () => {
      const path = '/internal/v1/data-keys/column-key%2F5';
      await world.encryption.asPeer(5).ask({ method: 'DELETE', path });
      expect(await world.text('r-1')).toBe('two');
      await world.clock.advance(11 * 60_000);
      await world.until(async () => (await world.get('r-1')).status === 'refused');
      expect(await world.get('r-1')).toMatchObject({ code: 'COLUMN_KEY_LOST' });
      expect(await world.put('n-1', { text: 'x' })).toMatchObject({ code: 'COLUMN_KEY_LOST' });
    });
  });
}

/** A change by a thief, and what the verification calls it; `$n` is the number of the entry. */
const changes: readonly (readonly [string, string])[] = [
  [`UPDATE gyre.entries SET kind = 'other' WHERE sequence = $n`, 'CONTENT_CHANGED'],
  [`UPDATE gyre.entries SET links = '[]' WHERE sequence = $n`, 'CONTENT_CHANGED'],
  [`UPDATE gyre.entries SET commitments = '[]' WHERE sequence = $n`, 'CONTENT_CHANGED'],
  [`UPDATE gyre.entries SET commitments = 'x' WHERE sequence = $n`, 'CONTENT_CHANGED'],
  [`UPDATE gyre.entries SET written_at_ms = 1 WHERE sequence = $n`, 'CONTENT_CHANGED'],
  [`UPDATE gyre.entries SET revision = 2 WHERE sequence = $n`, 'CONTENT_CHANGED'],
  [`UPDATE gyre.entries SET owner = 'eve' WHERE sequence = $n`, 'CONTENT_CHANGED'],
  [`UPDATE gyre.entries SET namespace = 'public' WHERE sequence = $n`, 'CONTENT_CHANGED'],
  [`UPDATE gyre.entries SET is_deleted = true WHERE sequence = $n`, 'CONTENT_CHANGED'],
  [`UPDATE gyre.entries SET hash = previous WHERE sequence = $n`, 'CONTENT_CHANGED'],
  [`UPDATE gyre.entries SET previous = hash WHERE sequence = $n`, 'LINK_BROKEN'],
  [`UPDATE gyre.entries SET signature_version = 7 WHERE sequence = $n`, 'SIGNATURE_INVALID'],
  [
    `UPDATE gyre.entries SET signature = (SELECT signature FROM gyre.entries WHERE sequence = 1)
      WHERE sequence = $n`,
    'SIGNATURE_INVALID',
  ],
  [`UPDATE gyre.cells SET sealed = sealed || '\\x00' WHERE record_id = 't-2'`, 'COLUMN_CHANGED'],
  [`UPDATE gyre.cells SET name = 'other' WHERE record_id = 't-2'`, 'COLUMN_CHANGED'],
  [`UPDATE gyre.cells SET key_version = 9 WHERE record_id = 't-2'`, 'COLUMN_CHANGED'],
  [`DELETE FROM gyre.cells WHERE record_id = 't-2'`, 'COLUMN_CHANGED'],
  [
    `UPDATE gyre.cells SET sealed = (SELECT sealed FROM gyre.cells WHERE record_id = 't-1')
      WHERE record_id = 't-2'`,
    'COLUMN_CHANGED',
  ],
  [`DELETE FROM gyre.entries WHERE sequence = $n`, 'SEQUENCE_BROKEN'],
  [
    `UPDATE gyre.entries SET sequence = 999999 WHERE sequence = $n;
      UPDATE gyre.entries SET sequence = $n WHERE sequence = $n - 1;
      UPDATE gyre.entries SET sequence = $n - 1 WHERE sequence = 999999`,
    'LINK_BROKEN',
  ],
];

async function rowsUnder({ thief }: TestedDatabase, slot: string, version: number) {
  const [row] = await thief(
    slot === signature
      ? 'SELECT count(*)::integer AS n FROM gyre.entries WHERE signature_version = $1'
      : 'SELECT count(*)::integer AS n FROM gyre.cells WHERE key_version = $1',
    [version],
  );
  return Number(row?.['n']);
}

/** A copy of everything, inside of the database. */
export interface Snapshot {
  readonly schema: string;
}

const tables = ['entries', 'cells', 'chain'] as const;
let snapshots = 0;

export async function snapshot({ thief }: TestedDatabase): Promise<Snapshot> {
  snapshots += 1;
  const schema = `kept_${snapshots}`;
  await thief(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
  await thief(`CREATE SCHEMA ${schema}`);
  for (const table of tables) {
    await thief(`CREATE TABLE ${schema}.${table} AS TABLE gyre.${table}`);
  }
  return { schema };
}

export async function restore({ thief }: TestedDatabase, { schema }: Snapshot): Promise<void> {
  for (const table of tables) {
    await thief(`DELETE FROM gyre.${table}`);
    await thief(`INSERT INTO gyre.${table} SELECT * FROM ${schema}.${table}`);
  }
}

/** Puts the cells of one record back. */
export async function restoreCells(
  { thief }: TestedDatabase,
  { schema }: Snapshot,
  id: string,
): Promise<void> {
  await thief(
    `UPDATE gyre.cells SET sealed = kept.sealed FROM ${schema}.cells AS kept
       WHERE cells.record_id = $1 AND kept.record_id = $1 AND kept.name = cells.name`,
    [id],
  );
}
