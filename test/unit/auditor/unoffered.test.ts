/** What an auditor does where what is in force and what its log offers are not the same. */

import { expect, it, onTestFinished } from 'vitest';
import { Unoffered, type UnofferedPorts } from '#agents/auditor/unoffered.ts';
import { BusError } from '#shared/bus/bus.ts';
import type { OutgoingEvent } from '#shared/runtime/exchange.ts';
import { ManualClock } from '../runtime/manual-clock.ts';

/** An auditor whose view learns of a revocation only by looking among the documents that are kept. */
function stage() {
  const clock = new ManualClock();
  const offered: OutgoingEvent[] = [];
  let looked = 0;
  const document = { body: { kind: 'revocation' }, signatures: [] };
  const ports = {
    clock,
    exchange: {
      agentId: 'auditor',
      catchUp: async () => {
        looked += 1;
      },
      publish: async (event: OutgoingEvent) => {
        offered.push(event);
      },
    },
    bus: { streamState: async () => ({ lastSequence: 5 }) },
    intake: { lastSequence: 5 },
    book: {
      unofferedOf: () => (looked > 0 && offered.length === 0 ? [document] : []),
      untakenBy: () => [],
    },
    trust: {},
    subjects: { trust: (agentId: string) => `trust.${agentId}` },
    log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
  };
  const unoffered = new Unoffered(ports as unknown as UnofferedPorts);
  onTestFinished(() => unoffered.stop());
  unoffered.start();
  return { unoffered, clock, offered, looks: () => looked };
}

it('looks for it and offers it itself, once an event rests on it', async () => {
  const { unoffered, clock, offered, looks } = stage();
  for (let second = 0; second < 3; second += 1) await clock.advance(1_000);
  expect([looks(), offered]).toEqual([0, []]);
  unoffered.documentMissing();
  for (let second = 0; second < 4; second += 1) await clock.advance(1_000);
  expect(looks()).toBe(1);
  expect(offered).toMatchObject([{ type: 'document-offered', subject: 'trust.auditor' }]);
});

it('offers what it took from its log until the bus has it, and tries seldom what it cannot take', async () => {
  const { ports, clock, offered } = logStage();
  const unoffered = new Unoffered(ports as unknown as UnofferedPorts);
  onTestFinished(() => unoffered.stop());
  unoffered.start();
  const after = async (seconds: number): Promise<[number, number]> => {
    for (let second = 0; second < seconds; second += 1) await clock.advance(1_000);
    return [ports.learned, offered.length];
  };
  expect(await after(1)).toEqual([0, 0]);
  expect(await after(13)).toEqual([1, 0]);
  expect(await after(15)).toEqual([2, 0]);
  ports.isTakable = true;
  ports.isBusUp = false;
  expect(await after(15)).toEqual([3, 0]);
  ports.isBusUp = true;
  expect(await after(2)).toEqual([3, 1]);
  expect(await after(30)).toEqual([3, 1]);
});

/** An auditor whose log accepted a policy that it has not in force. */
function logStage() {
  const clock = new ManualClock();
  const offered: OutgoingEvent[] = [];
  const policy = { body: { kind: 'policy', version: 2 }, signatures: [] };
  const one = { version: 1 };
  const isTaken = (): boolean => ports.isTaken;
  const ports = {
    clock,
    learned: 0,
    isTakable: false,
    isTaken: false,
    isBusUp: true,
    exchange: {
      agentId: 'auditor',
      publish: async (event: OutgoingEvent) => {
        if (!ports.isBusUp) throw new BusError('BUS_TIMEOUT', 'away');
        offered.push(event);
      },
    },
    bus: { streamState: async () => ({ lastSequence: 5 }) },
    intake: { lastSequence: 5 },
    book: { unofferedOf: () => [], untakenBy: () => (isTaken() ? [] : [policy]) },
    trust: {
      agents: () => [],
      highest: () => ({ root: one, registry: one, policy: isTaken() ? { version: 2 } : one }),
      documentsSince: () => (isTaken() ? [policy] : []),
    },
    trustDesk: {
      learn: async () => {
        ports.learned += 1;
        ports.isTaken = ports.isTakable;
        return ports.isTakable ? undefined : { code: 'ORCH-8011', refusal: 'ISSUED_IN_FUTURE' };
      },
    },
    subjects: { trust: (agentId: string) => `trust.${agentId}` },
    log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
  };
  return { ports, clock, offered };
}
