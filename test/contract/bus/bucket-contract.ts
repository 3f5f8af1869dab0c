/** What a bucket keeps, for whom, and against whom. */
import { describe, expect, it } from 'vitest';
import { bucketValueBytesMax } from '#shared/bus/bus.ts';
import { bucketSubjects, jetstreamSubjects } from '#shared/bus/subjects.ts';
import { bytes, quick } from './bus-messages.ts';
import type { Given } from './bus-messages.ts';

export function describeBuckets(given: Given): void {
  describe('buckets', () => {
    it('keep the last value of a key, for whoever may read', async () => {
      const world = given.get();
      const writer = (await world.connect('orchestrator-1', quick)).bucket('gyre_trust');
      expect(await writer.get('policy.2')).toBeNull();
      expect(await writer.keys()).toEqual([]);
      const first = await writer.put('policy.2', bytes('one'), 0);
      expect(first).toMatchObject({ status: 'stored' });
      for (const id of ['layer-1', 'signer', 'auditor', 'orchestrator-2']) {
        const reader = (await world.connect(id, quick)).bucket('gyre_trust');
        const kept = await reader.get('policy.2');
        expect([id, kept?.value]).toEqual([id, bytes('one')]);
        expect(await reader.keys()).toEqual(['policy.2']);
      }
    });

    it('take a write only over the revision that it names', async () => {
      const bucket = (await given.get().connect('orchestrator-1', quick)).bucket('gyre_trust');
      const first = await bucket.put('root.2', bytes('one'), 0);
      if (first.status !== 'stored') throw new Error('the first write is stored');
      expect(await bucket.put('root.2', bytes('two'), 0)).toEqual({ status: 'conflict' });
      const second = await bucket.put('root.2', bytes('two'), first.revision);
      expect(second).toMatchObject({ status: 'stored' });
      const other = await bucket.put('registry.2', bytes('three'), 0);
      if (other.status !== 'stored' || second.status !== 'stored') throw new Error('both stored');
      expect(other.revision).toBeGreaterThan(second.revision);
      expect((await bucket.get('root.2'))?.value).toEqual(bytes('two'));
      expect(await bucket.keys()).toEqual(['registry.2', 'root.2']);
    });

    it('let nobody but orchestrators write, and operators not even read', async () => {
      const world = given.get();
      for (const id of ['layer-1', 'signer', 'auditor']) {
        const bucket = (await world.connect(id, quick)).bucket('gyre_trust');
        await expect(bucket.put('root.2', bytes('mine'), 0)).rejects.toMatchObject({
          code: 'BUS_DENIED',
        });
      }
      const operator = (await world.connect('op-1', quick)).bucket('gyre_trust');
      await expect(operator.get('root.2')).rejects.toMatchObject({ code: 'BUS_DENIED' });
      const stream = bucketSubjects.stream('gyre_trust');
      for (const id of ['layer-1', 'orchestrator-1', 'auditor', 'signer', 'op-1']) {
        for (const subject of [
          jetstreamSubjects.streamUpdate(stream),
          jetstreamSubjects.streamPurge(stream),
          jetstreamSubjects.streamDelete(stream),
          jetstreamSubjects.messageDelete(stream),
          jetstreamSubjects.consumerCreate(stream, 'any'),
        ]) {
          expect([id, subject, await world.mayPublish(id, subject)]).toEqual([id, subject, false]);
        }
      }
    });

    it('refuse keys and values that do not fit', async () => {
      const bucket = (await given.get().connect('orchestrator-1', quick)).bucket('gyre_trust');
      for (const key of ['', 'a b', '>', 'a.*', 'a..b', '.a', 'x'.repeat(201)]) {
        await expect(bucket.put(key, bytes('x'), 0)).rejects.toMatchObject({
          code: 'BUS_REJECTED',
        });
      }
      const large = new Uint8Array(bucketValueBytesMax + 1);
      await expect(bucket.put('root.2', large, 0)).rejects.toMatchObject({ code: 'BUS_REJECTED' });
    });

    it('survive the server', async () => {
      const world = given.get();
      const bucket = (await world.connect('orchestrator-1', quick)).bucket('gyre_trust');
      await bucket.put('root.2', bytes('kept'), 0);
      await world.down();
      await world.up();
      expect((await bucket.get('root.2'))?.value).toEqual(bytes('kept'));
    });
  });
}
