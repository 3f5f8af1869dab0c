/** Working off a durable consumer: order, redelivery, its bound, dead letters. */
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import type { Bus, BusMessage, Disposition } from '#shared/bus/bus.ts';
import { decodeDeadLetter } from '#shared/bus/dead-letter.ts';
import { durableName } from '#shared/bus/subjects.ts';
import { bytes, message, step, text } from './bus-messages.ts';
import type { Given } from './bus-messages.ts';
import { ackWaitMs, attemptsMax, subjects } from './bus-world.ts';

export function describeConsuming(given: Given): void {
  const steps = { stream: 'GYRE_CONTROL', consumer: durableName('layer-1', 'steps') } as const;

  const publishSteps = async (bus: Bus, contents: readonly string[]): Promise<void> => {
    for (const content of contents) await bus.publish(message(step, content));
  };

  describe('consuming', () => {
    it('delivers in order, to its own consumer only', async () => {
      const world = given.get();
      const bus = await world.connect('orchestrator-1');
      const layer = await world.connect('layer-1');
      const contents = Array.from({ length: 40 }, (_, index) => `step ${index}`);
      await publishSteps(bus, contents.slice(0, 20));
      await bus.publish(message(subjects.step(2, 'layer-2')));
      const seen: BusMessage[] = [];
      await layer.consume({ ...steps, inFlightMax: 1 }, (delivered) => {
        seen.push(delivered);
        return Promise.resolve('ack');
      });
      await publishSteps(bus, contents.slice(20));
      await vi.waitFor(() => expect(seen).toHaveLength(40), { timeout: 12_000 });
      expect(seen.map(({ data }) => text(data))).toEqual(contents);
      expect(seen.every((one) => one.subject === step && one.deliveryCount === 1)).toBe(true);
      expect(seen.map(({ sequence }) => sequence)).toEqual(
        seen.map(({ sequence }) => sequence).toSorted((one, other) => one - other),
      );
    });

    it('redelivers before it goes on, and forgets what was acknowledged', async () => {
      const world = given.get();
      const bus = await world.connect('orchestrator-1');
      const first = await world.connect('layer-1');
      await publishSteps(bus, ['one', 'two', 'three']);
      const seen: string[] = [];
      const handler = (delivered: BusMessage): Promise<Disposition> => {
        seen.push(`${text(delivered.data)} ${delivered.deliveryCount}`);
        const again = text(delivered.data) === 'two' && delivered.deliveryCount === 1;
        return Promise.resolve(again ? { retryAfterMs: 50 } : 'ack');
      };
      const subscription = await first.consume({ ...steps, inFlightMax: 1 }, handler);
      await vi.waitFor(() => expect(seen).toEqual(['one 1', 'two 1', 'two 2', 'three 1']), 12_000);
      await subscription.stop();
      await subscription.ended;
      await publishSteps(bus, ['four']);
      await pause(100);
      expect(seen).toHaveLength(4);
      await first.consume({ ...steps, inFlightMax: 1 }, handler);
      await vi.waitFor(() => expect(seen.slice(4)).toEqual(['four 1']), 12_000);
    });

    it('gives up after its attempts, with a dead letter, and goes on', async () => {
      const world = given.get();
      const bus = await world.connect('orchestrator-1');
      const layer = await world.connect('layer-1');
      const auditor = await world.connect('auditor');
      await publishSteps(bus, ['hopeless', 'refused', 'fine']);
      const seen: string[] = [];
      await layer.consume({ ...steps, inFlightMax: 1 }, ({ data, deliveryCount }) => {
        seen.push(`${text(data)} ${deliveryCount}`);
        if (text(data) === 'hopeless') return Promise.resolve({ retryAfterMs: 20 });
        return Promise.resolve(text(data) === 'fine' ? 'ack' : { deadLetter: 'FRAME_MALFORMED' });
      });
      await vi.waitFor(() => expect(seen.at(-1)).toBe('fine 1'), 12_000);
      expect(seen).toEqual(['hopeless 1', 'hopeless 2', 'hopeless 3', 'refused 1', 'fine 1']);
      expect(attemptsMax).toBe(3);
      const letters = await Promise.all([1, 2].map((at) => auditor.getMessage('GYRE_DEAD', at)));
      expect(letters.map((letter) => letter?.subject)).toEqual(
        Array(2).fill(subjects.dead('layer-1')),
      );
      const decoded = letters.map((letter) => decodeDeadLetter(letter?.data ?? new Uint8Array()));
      expect(decoded[0]).toMatchObject({
        subject: step,
        stream: 'GYRE_CONTROL',
        sequence: 1,
        deliveries: 3,
        reason: 'ATTEMPTS_EXHAUSTED',
        data: bytes('hopeless'),
      });
      expect(decoded[1]).toMatchObject({ sequence: 2, deliveries: 1, reason: 'FRAME_MALFORMED' });
    });

    it('delivers again what a dead consumer left, and counts its deliveries', async () => {
      const world = given.get();
      const bus = await world.connect('orchestrator-1');
      const crashing = await world.connect('layer-1');
      await publishSteps(bus, ['only']);
      const broken = await crashing.consume({ ...steps, inFlightMax: 1 }, () => {
        throw new Error('an invariant broke');
      });
      await expect(broken.ended).rejects.toThrow('an invariant broke');
      const next = await world.connect('layer-1');
      const counts: number[] = [];
      await next.consume({ ...steps, inFlightMax: 1 }, ({ deliveryCount }) => {
        counts.push(deliveryCount);
        return Promise.resolve('ack');
      });
      await vi.waitFor(() => expect(counts).toEqual([2]), { timeout: 12_000 });
    });

    it('holds a message for as long as its handler runs', async () => {
      const world = given.get();
      const bus = await world.connect('orchestrator-1');
      const layer = await world.connect('layer-1');
      await publishSteps(bus, ['slow']);
      const counts: number[] = [];
      await layer.consume({ ...steps, inFlightMax: 1 }, async ({ deliveryCount }) => {
        counts.push(deliveryCount);
        await pause(3 * ackWaitMs);
        return 'ack';
      });
      await pause(5 * ackWaitMs);
      expect(counts).toEqual([1]);
    });

    it('runs no more handlers at once than it was told', async () => {
      const world = given.get();
      const layer = await world.connect('layer-1');
      const auditor = await world.connect('auditor');
      const receipt = subjects.auditReceipt();
      for (let sent = 0; sent < 30; sent++) await auditor.publish(message(receipt, String(sent)));
      let running = 0;
      let most = 0;
      const started: string[] = [];
      const consumer = durableName('layer-1', 'receipts');
      const options = { stream: 'GYRE_AUDIT', consumer, inFlightMax: 4 } as const;
      await layer.consume(options, async ({ data }) => {
        started.push(text(data));
        most = Math.max(most, (running += 1));
        await pause(10);
        running -= 1;
        return 'ack';
      });
      await vi.waitFor(() => expect(started).toHaveLength(30), { timeout: 12_000 });
      expect(most).toBe(4);
      expect(started).toEqual(Array.from({ length: 30 }, (_, index) => String(index)));
    });

    it('refuses a consumer that was not provisioned', async () => {
      const bus = await given.get().connect('layer-1');
      const options = { ...steps, consumer: 'layer-1_other', inFlightMax: 1 };
      const consuming = bus.consume(options, () => Promise.resolve('ack'));
      await expect(consuming).rejects.toMatchObject({ code: 'BUS_DENIED' });
    });
  });
}
