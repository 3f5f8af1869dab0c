/** Attacks on the names of records, and what becomes of a record that is deleted; parts of the suite. */
import { expect, test } from 'vitest';
import { toBase64Url, utf8 } from '#shared/crypto/bytes.ts';
import type { DatabaseWorld, TestedDatabase } from './world.ts';

type Parts = () => { readonly world: DatabaseWorld; readonly tested: TestedDatabase };

const text = (content: string): string => toBase64Url(utf8(content));

export function recordNames(parts: Parts): void {
  test('nobody squats a name of layer 6, or of another owner, or sees whether there is one', async () => {
    const { world } = parts();
    // Before layer 6 has it, as the very patient, and as somebody else.
    const squatted = [await world.write('pat', 'Consent.c1', text('squat'))];
    squatted.push(await world.write('eve', 'Consent.c1', text('squat')));
    const after = await world.put('Consent.c1', { text: 'permit' }, { owner: 'pat' });
    expect(after).toMatchObject({ status: 'done', body: { revision: 1 } });
    expect(await world.text('Consent.c1', 'pat')).toBe('permit');
    // And after: what is answered tells nothing of what others have.
    await world.put('Patient.pat', { text: 'record' }, { owner: 'pat' });
    expect(await world.read('pat', 'Patient.pat')).toMatchObject({ code: 'RECORD_UNKNOWN' });
    expect(await world.remove('pat', 'Patient.pat')).toMatchObject({ code: 'RECORD_UNKNOWN' });
    squatted.push(await world.write('pat', 'Patient.pat', text('squat')));
    squatted.push(await world.write('eve', 'Patient.pat', text('squat')));
    expect(squatted).toMatchObject(squatted.map(() => ({ body: { revision: 1 } })));
    await world.remove('pat', 'Patient.pat');
    expect(await world.text('Patient.pat', 'pat')).toBe('record');
    expect(await world.read('eve', 'Patient.pat')).toMatchObject({
      body: { owner: 'eve', columns: { text: text('squat') } },
    });
    const list = { method: 'GET', path: '/internal/v1/records?owner=pat' } as const;
    const { records } = (
      (await world.service.asPeer(6).ask(list)) as { body: { records: object[] } }
    ).body;
    expect(records).toMatchObject([{ id: 'Consent.c1' }, { id: 'Patient.pat' }]);
    expect(await world.faults()).toEqual([]);
  });

  test('a column that a thief moves into another namespace does not open there', async () => {
    const { world, tested } = parts();
    await world.write('pat', 'swap', text('forged'));
    await world.put('swap', { text: 'genuine' }, { owner: 'pat' });
    const cells = await tested.thief(`SELECT * FROM gyre.cells WHERE record_id = 'swap'`);
    const of = (namespace: string) => cells.find((row) => row['namespace'] === namespace);
    const put = async (sealed: unknown) =>
      await tested.thief(
        `UPDATE gyre.cells SET sealed = $1 WHERE record_id = 'swap' AND namespace = 'layer-6'`,
        [sealed as Uint8Array],
      );
    await put(of('public')?.['sealed']);
    expect(await world.get('swap', 'pat')).toMatchObject({ code: 'RECORD_TAMPERED' });
    await put(of('layer-6')?.['sealed']);
    expect(await world.text('swap', 'pat')).toBe('genuine');
  });

  test('neither the public socket nor that of layer 2 has the routes of layer 6', async () => {
    const { world } = parts();
    for (const path of ['/internal/v1/records/r-1?owner=ann', '/internal/v1/records?owner=ann']) {
      expect(await world.service.client.ask({ method: 'GET', path })).toMatchObject({
        code: 'PATH_UNKNOWN',
      });
    }
  });

  test('the database itself keeps namespaces apart', async () => {
    const { tested } = parts();
    const count = 'SELECT count(*)::integer AS n FROM gyre.entries';
    const seen = (namespace: string | undefined) =>
      tested.database.transact(
        { role: 'gyre_rows', owner: 'pat', ...(namespace === undefined ? {} : { namespace }) },
        (on) => on.rows(count),
      );
    expect((await seen('layer-6'))[0]?.['n']).toBe(3);
    expect((await seen('public'))[0]?.['n']).toBe(4);
    expect(await seen('layer-5')).toEqual([{ n: 0 }]);
    expect(await seen(undefined)).toEqual([{ n: 0 }]);
  });
}

export function deletions(parts: Parts): void {
  test('a deletion is an entry: columns are gone, the history holds, and it may be repeated', async () => {
    const { world, tested } = parts();
    const cells = async (): Promise<number> =>
      (await tested.thief(`SELECT * FROM gyre.cells WHERE record_id = 'x-1'`)).length;
    await world.write('del', 'x-1', text('secret'));
    await world.write('eve', 'x-1', text('hers'));
    expect(await world.remove('nobody', 'x-1')).toMatchObject({ code: 'RECORD_UNKNOWN' });
    expect(await cells()).toBe(2);
    const deleted = await world.remove('del', 'x-1');
    expect(deleted).toMatchObject({ body: { id: 'x-1', revision: 2, isDeleted: true } });
    expect(await cells()).toBe(1);
    expect(await world.remove('del', 'x-1')).toEqual(deleted);
    expect(await world.read('del', 'x-1')).toMatchObject({ code: 'RECORD_UNKNOWN' });
    expect(await world.read('eve', 'x-1')).toMatchObject({ status: 'done' });
    expect(await world.faults()).toEqual([]);
    expect(await world.write('del', 'x-1', text('anew'))).toMatchObject({ body: { revision: 3 } });
    expect(await world.read('del', 'x-1')).toMatchObject({
      body: { columns: { text: text('anew') } },
    });
    const both = await Promise.all([world.remove('del', 'x-1'), world.remove('del', 'x-1')]);
    expect(both[0]).toMatchObject({ body: { revision: 4 } });
    expect(both[1]).toEqual(both[0]);
  });

  test('neither does a thief bring a deleted record back, nor delete one by himself', async () => {
    const { world, tested } = parts();
    await world.write('del', 'x-2', text('secret'));
    const [cell] = await tested.thief(`SELECT * FROM gyre.cells WHERE record_id = 'x-2'`);
    const { body } = (await world.remove('del', 'x-2')) as { body: { sequence: number } };
    const tombstone = `WHERE sequence = ${body.sequence}`;
    await tested.thief(
      `INSERT INTO gyre.cells (namespace, owner, record_id, name, key_version, sealed)
         VALUES ('public', 'del', 'x-2', 'text', $1, $2)`,
      [cell?.['key_version'] as number, cell?.['sealed'] as Uint8Array],
    );
    expect((await world.faults()).map(({ code }) => code)).toEqual(['COLUMN_CHANGED']);
    expect(await world.read('del', 'x-2')).toMatchObject({ code: 'RECORD_TAMPERED' });
    await tested.thief(`DELETE FROM gyre.cells WHERE record_id = 'x-2'`);
    await tested.thief(`UPDATE gyre.entries SET is_deleted = false ${tombstone}`);
    expect((await world.faults()).map(({ code }) => code)).toEqual(['CONTENT_CHANGED']);
    expect(await world.read('del', 'x-2')).toMatchObject({ code: 'RECORD_TAMPERED' });
    expect(await world.remove('del', 'x-2')).toMatchObject({ code: 'RECORD_TAMPERED' });
    await tested.thief(`UPDATE gyre.entries SET is_deleted = true ${tombstone}`);
    expect(await world.faults()).toEqual([]);
  });
}
