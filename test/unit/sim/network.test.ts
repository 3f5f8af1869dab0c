/** The simulated network: each fault of the ways does what it says, and heals. */

import { describe, expect, it } from 'vitest';
import type { BusMessage } from '#shared/bus/bus.ts';
import {
  BusWorld,
  followed,
  numbers,
  receipts,
  saga,
  step,
  steps,
  subjects,
  textOf,
} from './simulated-bus.ts';

describe('the fair network', () => {
  it('takes 0.2 to 2 ms each way', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    for (let sent = 0; sent < 50; sent++) {
      const fromMs = world.time.monotonicMs();
      await world.until(bus.publish(world.message(saga)));
      const tookMs = world.time.monotonicMs() - fromMs;
      expect(tookMs).toBeGreaterThanOrEqual(0.4);
      expect(tookMs).toBeLessThanOrEqual(4);
    }
  });

  it('carries a question to who answers it and the answer back', async () => {
    const world = new BusWorld();
    const layer = world.connect('layer-1');
    const asker = world.connect('orchestrator-1');
    await world.until(layer.respond(subjects.query('layer-1'), (data) => Promise.resolve(data)));
    const data = new TextEncoder().encode('who?');
    const answer = await world.until(asker.request(subjects.query('layer-1'), data, 1_000));
    expect(textOf({ data: answer })).toBe('who?');
    const nobody = asker.request(subjects.query('auditor'), data, 1_000);
    await expect(world.until(nobody)).rejects.toMatchObject({ code: 'BUS_NO_RESPONDER' });
  });

  it('keeps values', async () => {
    const world = new BusWorld();
    const bucket = world.connect('orchestrator-1').bucket('gyre_trust');
    const value = Uint8Array.of(1);
    const stored = { status: 'stored', revision: 1 };
    expect(await world.until(bucket.put('a', value, 0))).toEqual(stored);
    expect(await world.until(bucket.put('a', value, 0))).toEqual({ status: 'conflict' });
    expect(await world.until(bucket.get('a'))).toEqual({ value, revision: 1 });
    expect(await world.until(bucket.keys())).toEqual(['a']);
  });

  it('asks the same of permissions as the server does', async () => {
    const world = new BusWorld();
    const layer = world.connect('layer-1');
    const denied = { code: 'BUS_DENIED' };
    await expect(world.until(layer.publish(world.message(saga)))).rejects.toMatchObject(denied);
  });
});

describe('ways that are cut', () => {
  it('from an agent: nothing of it arrives, and what waited arrives late when it is mended in time', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    const mend = world.network.cut('orchestrator-1', 'up');
    const publishing = bus.publish(world.message(saga));
    await world.pass(3_200);
    expect(world.network.broker.stream('GYRE_CONTROL').state().messages).toBe(0);
    mend();
    expect(await world.until(publishing, 1_000)).toMatchObject({ status: 'stored' });
    expect(world.network.broker.stream('GYRE_CONTROL').state().messages).toBe(1);
  });

  it('to an agent: it is stored, and the agent cannot know', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    world.network.cut('orchestrator-1', 'down');
    const publishing = bus.publish(world.message(saga));
    await expect(world.until(publishing)).rejects.toMatchObject({ code: 'BUS_TIMEOUT' });
    expect(world.network.broker.stream('GYRE_CONTROL').state().messages).toBe(1);
  });

  it('are noticed by unanswered pings, and mended by trying again', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    const states: string[] = [];
    bus.onState((state) => states.push(state));
    const mend = world.network.cut('orchestrator-1');
    await world.pass(3_900);
    expect(states).toEqual(['connected']);
    await world.pass(2_200);
    expect(states).toEqual(['connected', 'disconnected']);
    const publishing = bus.publish(world.message(saga));
    const unreachable = { code: 'BUS_UNREACHABLE' };
    await expect(world.until(publishing)).rejects.toMatchObject(unreachable);
    mend();
    await world.pass(200);
    expect(states).toEqual(['connected', 'disconnected', 'connected']);
    const again = bus.publish(world.message(saga));
    expect(await world.until(again)).toMatchObject({ status: 'stored', sequence: 1 });
  });

  it('leave neither gap nor repetition in what is followed', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    const seen = await followed(world, world.connect('auditor'));
    let mend = (): void => undefined;
    for (const text of numbers(60)) {
      if (text === '10') mend = world.network.cut('auditor', 'down');
      if (text === '40') mend();
      await world.until(bus.publish(world.message(saga, text)));
      await world.pass(300);
    }
    await world.pass(10_000);
    expect(seen).toEqual(numbers(60));
  });

  it('end nothing where they are short', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    const seen = await followed(world, world.connect('auditor'));
    const mend = world.network.cut('auditor');
    await world.until(bus.publish(world.message(saga, '0')));
    await world.pass(1_000);
    expect(seen).toEqual([]);
    mend();
    await world.pass(10);
    expect(seen).toEqual(['0']);
    expect(world.trace.last().some((line) => line.includes('disconnected'))).toBe(false);
  });
});

describe('disturbed ways', () => {
  it('lose what is published: it is sent again under its id, and stored once', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    world.network.disturb('orchestrator-1', 'up', { loss: { publish: 1 } });
    const publishing = bus.publish(world.message(saga));
    await world.pass(4_000);
    expect(world.network.broker.stream('GYRE_CONTROL').state().messages).toBe(0);
    world.network.calm();
    expect(await world.until(publishing)).toMatchObject({ status: 'stored', duplicate: false });
  });

  it('lose the acknowledgement: the sender finds out that it was stored', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    world.network.disturb('orchestrator-1', 'down', { loss: { publish: 1 } });
    const publishing = bus.publish(world.message(saga, 'x', 0));
    await world.pass(4_000);
    expect(world.network.broker.stream('GYRE_CONTROL').state().messages).toBe(1);
    world.network.calm();
    const outcome = { status: 'stored', sequence: 1, duplicate: true };
    expect(await world.until(publishing)).toEqual(outcome);
  });

  it('lose deliveries: they come again after the wait', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    const counts: number[] = [];
    await world.until(
      world.connect('layer-1').consume(steps, ({ deliveryCount }) => {
        counts.push(deliveryCount);
        return Promise.resolve('ack');
      }),
    );
    world.network.disturb('layer-1', 'down', { loss: { delivery: 1 } });
    await world.until(bus.publish(world.message(step)));
    await world.pass(4_000);
    expect(counts).toEqual([]);
    world.network.calm();
    await world.pass(6_000);
    expect(counts).toEqual([2]);
  });

  it('repeat deliveries, and settle once', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    const seen: string[] = [];
    await world.until(
      world.connect('layer-1').consume(steps, (message) => {
        seen.push(textOf(message));
        return Promise.resolve('ack');
      }),
    );
    world.network.disturb('layer-1', 'down', { repetition: 1 });
    await world.until(bus.publish(world.message(step, 'once')));
    await world.pass(20_000);
    expect(seen).toEqual(['once', 'once']);
    world.network.calm();
    await world.until(bus.publish(world.message(step, 'more')));
    await world.pass(20_000);
    expect(seen).toEqual(['once', 'once', 'more']);
  });

  it('deliver in another order where several may be under way, and never where one may', async () => {
    const world = new BusWorld();
    const layer = world.connect('layer-1');
    const seen = { steps: [] as string[], receipts: [] as string[] };
    const into = (list: string[]) => (message: BusMessage) => {
      list.push(textOf(message));
      return Promise.resolve('ack' as const);
    };
    await world.until(layer.consume(steps, into(seen.steps)));
    await world.until(layer.consume(receipts, into(seen.receipts)));
    const delayMs = { least: 0.2, most: 30 };
    world.network.disturb('layer-1', 'down', { isReordered: true, delayMs });
    const auditor = world.connect('auditor');
    const bus = world.connect('orchestrator-1');
    for (const text of numbers(20)) {
      await world.until(auditor.publish(world.message(subjects.auditReceipt(), text)));
      await world.until(bus.publish(world.message(step, text)));
    }
    await world.pass(30_000);
    expect(seen.steps).toEqual(numbers(20));
    expect(seen.receipts).not.toEqual(numbers(20));
    expect(seen.receipts.toSorted()).toEqual(numbers(20).toSorted());
  });

  it('follow in stream order whatever they do', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    const seen = await followed(world, world.connect('auditor'));
    const delayMs = { least: 0.2, most: 50 };
    const spike = { chance: 0.1, mostMs: 3_000 };
    const disturbed = { delayMs, spike, loss: 0.2, repetition: 0.2, isReordered: true };
    world.network.disturb('auditor', 'both', disturbed);
    for (const text of numbers(100)) await world.until(bus.publish(world.message(saga, text)));
    await world.pass(60_000);
    world.network.calm();
    await world.pass(30_000);
    expect(seen).toEqual(numbers(100));
  });

  it('are slow by spikes', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    const spike = { chance: 1, mostMs: 1_000 };
    world.network.disturb('orchestrator-1', 'up', { spike });
    const fromMs = world.time.monotonicMs();
    await world.until(bus.publish(world.message(saga)));
    expect(world.time.monotonicMs() - fromMs).toBeGreaterThan(4);
  });
});
