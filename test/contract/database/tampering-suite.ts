/**
 * Attacks on what layer 5 keeps by somebody who can change anything in the database, and has older copies
 * of it: what a read notices, what the pass in the background finds, and how layer 7 hears of it.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { nothingWatched, stepWatch, type Finding } from '#shared/core/anomaly/watch.ts';
import { isHealable } from '#shared/core/healing.ts';
import { restore, restoreCells, snapshot } from './database-suite.ts';
import { DatabaseWorld, type TestedDatabase } from './world.ts';

const passEveryMs = 10 * 60_000;
const reportMs = 10_000;

export function tamperingSuite(name: string, open: () => Promise<TestedDatabase>): void {
  describe(`somebody in the database, ${name}`, () => {
    let tested: TestedDatabase;
    let world: DatabaseWorld;

    beforeAll(async () => {
      tested = await open();
      world = await DatabaseWorld.start(tested);
      for (const text of ['one', 'two']) await world.put('r-1', { text });
      await world.put('r-2', { text: 'only' });
    });
    afterAll(async () => {
      await world.end();
      await tested.close();
    });

    const measured = async (metric: string) => (await world.adapter.measure())[metric] ?? 0;
    const faultsStand = (count: number) =>
      world.until(async () => (await measured('chain-faults')) === count);
    const nextPass = async (): Promise<void> => {
      await world.clock.advance(passEveryMs);
      await world.until(async () => (await measured('chain-pass-age-ms')) < passEveryMs);
    };
    const isTampered = { code: 'RECORD_TAMPERED' };
    const list = (owner: string) =>
      world.service.asPeer(6).ask({ method: 'GET', path: `/internal/v1/records?owner=${owner}` });

    test.each([
      ['taken-out', 'DELETE FROM gyre.entries WHERE', 'ROLLED_BACK'],
      ['hidden', `UPDATE gyre.entries SET record_id = 'b' WHERE`, 'ROLLED_BACK'],
      ['given-away', `UPDATE gyre.entries SET owner = 'eve' WHERE`, 'CONTENT_CHANGED'],
    ])('an older revision is not served where the newer one is %s', async (id, change, code) => {
      await world.put(id, { text: 'not infected' });
      const cell = `record_id = '${id}'`;
      const older = await snapshot(tested);
      await world.put(id, { text: 'infected' });
      await world.put('after', { text: id });
      const kept = await snapshot(tested);
      await tested.thief(`${change} record_id = '${id}' AND revision = 2`);
      await restoreCells(tested, older, id);
      // Everything that is left of it is signed, and opens.
      expect(await world.get(id)).toMatchObject(isTampered);
      expect(await world.put(id, { text: 'anew' })).toMatchObject(isTampered);
      expect(await list('ann')).toMatchObject(isTampered);
      expect(await world.text('r-1')).toBe('two');
      await world.service.stop();
      await world.service.start();
      expect(await world.get(id)).toMatchObject(isTampered);
      expect((await world.faults()).map((fault) => fault.code)).toContain(code);
      await restore(tested, kept);
      expect(await world.text(id)).toBe('infected');
      await tested.thief(`DELETE FROM gyre.entries WHERE ${cell}`);
      await tested.thief(`DELETE FROM gyre.cells WHERE ${cell}`);
      // Nothing is left, and that is no answer either.
      expect(await world.get(id)).toMatchObject(isTampered);
      expect(await world.get(id, 'eve')).toMatchObject({ code: 'RECORD_UNKNOWN' });
      await restore(tested, kept);
    });

    test('a deleted record does not come back by taking its deletion out', async () => {
      await world.write('zoe', 'gone', 'b25l');
      const before = await snapshot(tested);
      await world.remove('zoe', 'gone');
      const kept = await snapshot(tested);
      await tested.thief('DELETE FROM gyre.entries WHERE is_deleted');
      const cells = `SELECT * FROM ${before.schema}.cells WHERE owner = 'zoe'`;
      await tested.thief(`INSERT INTO gyre.cells ${cells}`);
      expect(await world.read('zoe', 'gone')).toMatchObject(isTampered);
      expect(await world.remove('zoe', 'gone')).toMatchObject(isTampered);
      await restore(tested, kept);
      expect(await world.read('zoe', 'gone')).toMatchObject({ code: 'RECORD_UNKNOWN' });
    });

    test.each([
      ['altered', `UPDATE gyre.entries SET kind = 'x' WHERE record_id = 'r-1' AND revision = 1`],
      ['removed', `DELETE FROM gyre.entries WHERE record_id = 'r-1' AND revision = 1`],
      ['altered in a cell', `UPDATE gyre.cells SET sealed = '\\x00' WHERE record_id = 'r-2'`],
      [
        'cut at the end',
        `WITH gone AS (DELETE FROM gyre.entries WHERE sequence =
           (SELECT max(sequence) FROM gyre.entries) RETURNING sequence, previous)
         UPDATE gyre.chain SET sequence = gone.sequence - 1, hash = gone.previous FROM gone`,
      ],
    ])(
      'what is %s is found by the next pass, stands, and is over when mended',
      async (_, change) => {
        await world.put('end', { text: `before ${change}` });
        await faultsStand(0);
        const kept = await snapshot(tested);
        await tested.thief(change);
        await nextPass();
        await world.until(async () => (await measured('chain-faults')) > 0);
        const found = await measured('integrity-faults');
        await world.until(async () => (await measured('integrity-faults')) > found + 1, 1_000);
        await restore(tested, kept);
        await world.until(async () => (await measured('chain-faults')) === 0, 1_000);
        expect(await world.faults()).toEqual([]);
      },
    );

    test('a refusal has its code, is counted, and its log has no secrets', async () => {
      await world.put('secret-name', { text: 'secret content' }, { owner: 'secret-owner' });
      const kept = await snapshot(tested);
      await tested.thief(`UPDATE gyre.cells SET sealed = '\\x00' WHERE owner = 'secret-owner'`);
      const counted = await measured('refused-record-tampered');
      world.lines.length = 0;
      expect(await world.get('secret-name', 'secret-owner')).toMatchObject(isTampered);
      expect(await measured('refused-record-tampered')).toBe(counted + 1);
      expect(world.lines.filter((line) => line.includes('RECORD_TAMPERED'))).toEqual([
        expect.stringContaining('/internal/v1/records/:id'),
      ]);
      await nextPass();
      await world.until(async () => (await measured('chain-faults')) > 0);
      expect(world.lines.join()).toContain('COLUMN_CHANGED');
      expect(world.lines.filter((line) => line.includes('secret'))).toEqual([]);
      await restore(tested, kept);
      await world.until(async () => (await measured('chain-faults')) === 0, 1_000);
    });

    test('numbers and texts that nothing ever wrote are faults, and hold up no pass', async () => {
      await world.put('p-1', { text: 'x' });
      await world.put('p-2', { text: 'y' });
      const kept = await snapshot(tested);
      const long = `'["' || repeat('x', 70000) || '"]'`;
      for (const change of [
        'written_at_ms = 9223372036854775807',
        'written_at_ms = -1',
        'revision = 9223372036854775807',
        'sequence = 9223372036854775807',
        `links = ${long}`,
        `commitments = ${long}`,
        `hash = '\\x'`,
      ]) {
        await tested.thief(`UPDATE gyre.entries SET ${change} WHERE record_id = 'p-1'`);
        expect([change, await world.get('p-1')]).toMatchObject([change, isTampered]);
        expect([change, (await world.faults()).length]).not.toEqual([change, 0]);
        await restore(tested, kept);
      }
      await tested.thief('UPDATE gyre.chain SET sequence = 9223372036854775807');
      expect((await world.faults()).map(({ code }) => code)).toContain('END_CHANGED');
      await restore(tested, kept);
      expect(await world.faults()).toEqual([]);
    });

    test('a pass goes on where the service was stopped, and begins anew after its time', async () => {
      for (let count = 0; count < 70; count += 1) await world.put(`s-${count}`, { text: 'x' });
      await nextPass();
      const stateFile = join(world.service.folder, 'layer-5', 'chain-pass.json');
      await world.until(async () => (await measured('chain-checked')) === 32);
      await world.service.stop();
      const stood: unknown = JSON.parse(readFileSync(stateFile, 'utf8'));
      expect(stood).toMatchObject({ isOver: false, last: { sequence: 32 } });
      const kept = await snapshot(tested);
      await tested.thief('UPDATE gyre.entries SET written_at_ms = 7 WHERE sequence IN (5, 60)');
      await world.service.start();
      const length = await measured('chain-length');
      await world.until(async () => (await measured('chain-checked')) === length);
      // What lies before the place where it stood is for the next one.
      expect(await measured('chain-faults')).toBe(1);
      await nextPass();
      await faultsStand(2);
      await restore(tested, kept);
      await world.until(async () => (await measured('chain-faults')) === 0, 1_000);
    });

    test('a service that lost what it knew of records learns it by the pass', async () => {
      await world.put('h-1', { text: 'old' });
      const before = await snapshot(tested);
      await world.put('h-1', { text: 'new' });
      await world.service.stop();
      for (const file of ['record-heads.db', 'record-heads.db-wal', 'chain-pass.json']) {
        const path = join(world.service.folder, 'layer-5', file);
        if (existsSync(path)) rmSync(path);
      }
      await world.service.start();
      const length = await measured('chain-length');
      await world.until(async () => (await measured('chain-checked')) === length);
      const kept = await snapshot(tested);
      await tested.thief(`DELETE FROM gyre.entries WHERE record_id = 'h-1' AND revision = 2`);
      await restoreCells(tested, before, 'h-1');
      expect(await world.get('h-1')).toMatchObject(isTampered);
      await restore(tested, kept);
      expect(await world.text('h-1')).toBe('new');
    });

    const stateFileOf = (file: string) => join(world.service.folder, 'layer-5', file);
    const isBroken = { code: 'CHAIN_BROKEN', retryable: false };

    test('nothing is signed onto an end that nobody wrote, and writing goes on once it is mended', async () => {
      await world.put('e-1', { text: 'true' });
      const kept = await snapshot(tested);
      const length = await measured('chain-length');
      const far = `sequence = 9007199254740990, hash = decode(repeat('ab', 48), 'hex')`;
      const copied = `INSERT INTO gyre.entries
        SELECT 9007199254740990, namespace, owner, 'e-2', revision, is_deleted, kind, links, commitments,
          written_at_ms, previous, decode(repeat('ab', 48), 'hex'), signature, signature_version
        FROM gyre.entries WHERE record_id = 'e-1'`;
      const next = `UPDATE gyre.chain SET sequence = sequence + 1`;
      for (const change of [
        `UPDATE gyre.chain SET ${far}`,
        `UPDATE gyre.chain SET ${far}; ${copied}`,
        next,
      ]) {
        for (const text of change.split(';')) await tested.thief(text);
        for (const id of ['e-3', 'e-1']) {
          expect([change, await world.put(id, { text: 'x' })]).toMatchObject([change, isBroken]);
        }
        expect(await measured('chain-length')).toBe(length);
        await world.service.stop();
        await world.service.start();
        expect([change, await world.put('e-3', { text: 'x' })]).toMatchObject([change, isBroken]);
        await restore(tested, kept);
        expect((await world.put('e-1', { text: 'true' })).status).toBe('done');
      }
      const answer = await world.put('e-3', { text: 'x' });
      expect(answer).toMatchObject({ body: { sequence: length + 1 } });
      expect(await world.faults()).toEqual([]);
    });

    test('what was committed beyond the anchor is verified before anything is signed onto it', async () => {
      const file = stateFileOf('chain-anchor.json');
      await world.service.stop();
      const before = readFileSync(file);
      await world.service.start();
      for (let count = 0; count < 70; count += 1) await world.put(`v-${count}`, { text: 'x' });
      const kept = await snapshot(tested);
      for (const change of [
        `kind = 'other' WHERE record_id = 'v-3'`,
        `signature = (SELECT signature FROM gyre.entries WHERE sequence = 1) WHERE record_id = 'v-68'`,
      ]) {
        await world.service.stop();
        writeFileSync(file, before);
        await world.service.start();
        await tested.thief(`UPDATE gyre.entries SET ${change}`);
        expect([change, await world.put('v-x', { text: 'x' })]).toMatchObject([change, isBroken]);
        await restore(tested, kept);
      }
      await world.service.stop();
      writeFileSync(file, before);
      await world.service.start();
      expect((await world.put('v-70', { text: 'x' })).status).toBe('done');
      expect(await world.faults()).toEqual([]);
    });

    test.each([
      [
        'a cell without an entry',
        `INSERT INTO gyre.cells VALUES ('layer-6', 'ann', 'ghost', 'text', 1, '\\x00')`,
        `DELETE FROM gyre.cells WHERE record_id = 'ghost'`,
      ],
      [
        'an end that is said to be elsewhere',
        `UPDATE gyre.chain SET hash = decode(repeat('ab', 48), 'hex')`,
        '',
      ],
    ])(
      '%s stands whatever is written meanwhile, and after a restart',
      async (what, change, mend) => {
        await faultsStand(0);
        const kept = await snapshot(tested);
        await tested.thief(change);
        await nextPass();
        await faultsStand(1);
        if (mend !== '') {
          expect((await world.put('w-1', { text: what })).status).toBe('done');
        }
        await world.service.stop();
        await world.service.start();
        const found = await measured('integrity-faults');
        await world.until(async () => (await measured('integrity-faults')) > found + 2, 1_000);
        expect(await measured('chain-faults')).toBe(1);
        if (mend === '') await restore(tested, kept);
        else await tested.thief(mend);
        await world.until(async () => (await measured('chain-faults')) === 0, 1_000);
        expect(await world.faults()).toEqual([]);
      },
    );

    test('layer 7 finds it: nothing in passes over a sound chain, an action for what was altered', async () => {
      await faultsStand(0);
      let state = nothingWatched;
      const findings: Finding[] = [];
      const report = async (stepMs: number): Promise<void> => {
        for (let step = 0; step < 10; step += 1) {
          await world.clock.advance(reportMs / 10);
          await new Promise((resolve) => setTimeout(resolve, stepMs));
        }
        const atMs = world.clock.nowMs();
        for (const [metric, value] of Object.entries(await world.adapter.measure())) {
          const event = { kind: 'measurement', atMs, metric, value } as const;
          const heard = { agentId: 'database-a', layer: 5, event, atMs } as const;
          const step = stepWatch(state, { kind: 'telemetry', ...heard });
          state = step.state;
          findings.push(...step.findings.filter(isHealable));
        }
      };
      // Two passes are among them.
      for (let count = 0; count < 70; count += 1) await report(3);
      expect(findings).toEqual([]);
      const kept = await snapshot(tested);
      await tested.thief(
        'UPDATE gyre.entries SET written_at_ms = 7 WHERE sequence BETWEEN 10 AND 30',
      );
      await nextPass();
      await world.until(async () => (await measured('chain-faults')) >= 21);
      for (let count = 0; count < 20 && findings.length === 0; count += 1) await report(60);
      expect(findings[0]).toMatchObject({ metric: 'integrity-faults', rule: 'rate' });
      await restore(tested, kept);
    });

    test('what is under a key that was destroyed stays, and keeps no other key', async () => {
      const column = '5/column-key';
      const path = '/internal/v1/data-keys/column-key%2F1';
      await world.encryption.asPeer(5).ask({ method: 'DELETE', path });
      await world.clock.advance(11 * 60_000);
      await world.until(async () => (await world.get('r-1')).status === 'refused');
      expect(await world.get('r-1')).toMatchObject({ code: 'COLUMN_KEY_LOST' });
      await world.turn(column, 2);
      for (const id of ['a-first', 'z-last']) await world.put(id, { text: id });
      await world.turn(column, 3);
      await world.until(async () => (await world.adapter.usesLately(column, 2)) === 0, 100);
      await world.adapter.retire(column, 2);
      for (const id of ['a-first', 'z-last']) expect(await world.text(id)).toBe(id);
      await expect(world.adapter.retire(column, 1)).rejects.toMatchObject({
        code: 'STATE_CONFLICT',
      });
      await nextPass();
      await world.until(async () => (await measured('chain-faults')) > 0);
      // Nobody changed anything: it is no anomaly.
      const found = await measured('integrity-faults');
      await world.clock.advance(passEveryMs);
      expect(await measured('integrity-faults')).toBe(found);
    });
  });
}
