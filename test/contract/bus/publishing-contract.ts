/** Publishing: deduplication, optimistic concurrency, the truth after lost answers, bounds. */
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { publishBytesMax } from '#shared/bus/bus.ts';
import { message, quick, report, saga } from './bus-messages.ts';
import type { Given } from './bus-messages.ts';
import { subjects } from './bus-world.ts';

export function describePublishing(given: Given): void {
  describe('publishing', () => {
    it('stores, and knows a message by its id', async () => {
      const bus = await given.get().connect('orchestrator-1');
      const first = message(saga);
      expect(await bus.publish(first)).toEqual({ status: 'stored', sequence: 1, duplicate: false });
      expect(await bus.publish(first)).toEqual({ status: 'stored', sequence: 1, duplicate: true });
      expect(await bus.publish(message(saga))).toMatchObject({ sequence: 2, duplicate: false });
      const last = await bus.lastMessage('GYRE_CONTROL', saga);
      expect(last).toMatchObject({ subject: saga, sequence: 2, deliveryCount: 1 });
      expect(Math.abs((last?.timeMs ?? 0) - Date.now())).toBeLessThan(10_000);
      const stored = await bus.getMessage('GYRE_CONTROL', 1);
      expect(stored).toMatchObject({ messageId: first.messageId, subject: saga, sequence: 1 });
      expect(stored?.data).toEqual(first.data);
      expect(await bus.getMessage('GYRE_CONTROL', 3)).toBeNull();
      expect(await bus.lastMessage('GYRE_CONTROL', subjects.sagaRotation('none'))).toBeNull();
    });

    it('keeps every byte', async () => {
      const bus = await given.get().connect('orchestrator-1');
      const data = Uint8Array.from({ length: 4096 }, (_, index) => (index * 31) & 0xff);
      await bus.publish({ subject: saga, data, messageId: 'binary' });
      expect((await bus.lastMessage('GYRE_CONTROL', saga))?.data).toEqual(data);
      const own = await given.get().connect('layer-1');
      await own.publish({ subject: report, data, messageId: 'binary-too' });
      expect((await own.lastMessage('GYRE_CONTROL', report))?.data).toEqual(data);
    });

    it('lets exactly one of two writers append', async () => {
      const one = await given.get().connect('orchestrator-1');
      const other = await given.get().connect('orchestrator-2');
      for (let round = 0, expected = 0; round < 10; round++) {
        const outcomes = await Promise.all(
          [one, other].map((bus) =>
            bus.publish({ ...message(saga), expectLastSubjectSequence: expected }),
          ),
        );
        const stored = outcomes.filter((outcome) => outcome.status === 'stored');
        const conflicts = outcomes.filter((outcome) => outcome.status === 'conflict');
        expect(stored).toHaveLength(1);
        expect(conflicts).toEqual([{ status: 'conflict', lastSequence: stored[0]?.sequence }]);
        expected = stored[0]?.sequence ?? 0;
      }
    });

    it('does not count other subjects in the expected sequence', async () => {
      const bus = await given.get().connect('orchestrator-1');
      await bus.publish(message(subjects.sagaRotation('another')));
      const outcome = await bus.publish({ ...message(saga), expectLastSubjectSequence: 0 });
      expect(outcome).toEqual({ status: 'stored', sequence: 2, duplicate: false });
    });

    it('tells the truth after a lost answer', async () => {
      const flaky = await given.get().connectFlaky('layer-1', quick);
      flaky.holdAnswers();
      const publishing = flaky.bus.publish(message(report));
      await pause(500);
      flaky.releaseAnswers();
      expect(await publishing).toEqual({ status: 'stored', sequence: 1, duplicate: true });
    });

    it('tells the truth although another writer appended behind the lost answer', async () => {
      const flaky = await given.get().connectFlaky('orchestrator-1', quick);
      const other = await given.get().connect('orchestrator-2');
      flaky.holdAnswers();
      const publishing = flaky.bus.publish({ ...message(saga), expectLastSubjectSequence: 0 });
      await vi.waitFor(
        async () =>
          expect(await other.lastMessage('GYRE_CONTROL', saga)).toMatchObject({ sequence: 1 }),
        12_000,
      );
      await other.publish({ ...message(saga), expectLastSubjectSequence: 1 });
      await pause(400);
      flaky.releaseAnswers();
      expect(await publishing).toEqual({ status: 'stored', sequence: 1, duplicate: true });
    });

    it('stores again what the bus deduplicates but no longer holds', async () => {
      const bus = await given.get().connect('layer-1');
      const other = await given.get().connect('orchestrator-1');
      const lost = message(report);
      await bus.publish(lost);
      await other.publish(message(saga));
      await given.get().truncate('GYRE_CONTROL');
      expect(await other.getMessage('GYRE_CONTROL', 1)).toBeNull();
      expect(await bus.publish(lost)).toEqual({ status: 'stored', sequence: 3, duplicate: false });
      const stored = await other.getMessage('GYRE_CONTROL', 3);
      expect(stored).toMatchObject({ messageId: lost.messageId, subject: report });
    });

    it('refuses what no stream takes', async () => {
      const bus = await given.get().connect('orchestrator-1');
      const rejected = { code: 'BUS_REJECTED' };
      await expect(bus.publish({ ...message(saga), messageId: 'a.1' })).rejects.toMatchObject(
        rejected,
      );
      const large = { ...message(saga), data: new Uint8Array(publishBytesMax) };
      await expect(bus.publish(large)).rejects.toMatchObject(rejected);
      await expect(bus.publish(message(subjects.query('layer-1')))).rejects.toMatchObject(rejected);
    });

    it('says when the stream is full', async () => {
      const bus = await given.get().connect('orchestrator-1');
      const fill = async (): Promise<void> => {
        for (let sent = 0; sent < 80; sent++) {
          await bus.publish({ ...message(saga), data: new Uint8Array(600 * 1024) });
        }
      };
      await expect(fill()).rejects.toMatchObject({ code: 'BUS_FULL' });
      const { bytes: used, bytesMax } = await bus.streamState('GYRE_CONTROL');
      expect(used).toBeLessThanOrEqual(bytesMax);
    });

    it('bounds what is under way', async () => {
      const bus = await given.get().connect('orchestrator-1', { inFlightMax: 2, waitingMax: 3 });
      const outcomes = await Promise.allSettled(
        Array.from({ length: 8 }, () => bus.publish(message(saga))),
      );
      const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
      expect(refused.map((outcome) => outcome.reason)).toEqual(
        Array.from({ length: 3 }, () => expect.objectContaining({ code: 'BUS_FULL' })),
      );
      expect(await bus.streamState('GYRE_CONTROL')).toMatchObject({ messages: 5 });
    });
  });
}
