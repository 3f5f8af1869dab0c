/** What an auditor does about a revocation that others live by, and that its log does not offer. */

import { expect, it, onTestFinished } from 'vitest';
import { Unoffered, type UnofferedPorts } from '#agents/auditor/unoffered.ts';
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
