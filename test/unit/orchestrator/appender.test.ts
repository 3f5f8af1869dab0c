/** What an appender makes of the bus's word about a saga's last message. */

import { expect, it, onTestFinished } from 'vitest';
import { Appender } from '#agents/orchestrator/appender.ts';
import { SagaLog } from '#agents/orchestrator/saga-log.ts';
import type { SagaEntry } from '#schemas/saga.ts';
import type { Bus, BusMessage } from '#shared/bus/bus.ts';
import type { ReceivedEvent } from '#shared/runtime/exchange.ts';
import { ManualClock } from '../runtime/manual-clock.ts';

/** Longer than an entry waits for its receipt before the bus is asked. */
const patienceMs = 3_000;

function delivered(hash: string, sequence: number): ReceivedEvent<'saga-entry'> {
  const body = { saga: 'slots', index: sequence } as unknown as SagaEntry;
  return { hash, body, sequence } as unknown as ReceivedEvent<'saga-entry'>;
}

/** An appender that waits for the receipt of `first`, and a bus whose answer the test gives. */
async function waiting(there: ReadonlySet<number> = new Set([5, 6])) {
  const clock = new ManualClock();
  const answer = Promise.withResolvers<BusMessage | null>();
  const log = new SagaLog<unknown, unknown>('slots', 'a.subject', () => ({
    state: 'anything',
    commands: [],
  }));
  log.saw(5);
  log.deliver(delivered('first', 5));
  const quiet = () => undefined;
  const appender = new Appender(
    {
      bus: {
        lastMessage: () => answer.promise,
        getMessage: async (_stream: string, sequence: number) =>
          there.has(sequence) ? { sequence, subject: 'a.subject' } : null,
      } as unknown as Bus,
      trust: { agents: () => [] } as never,
      exchange: {} as never,
      clock,
      log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    },
    log,
    'slots',
  );
  onTestFinished(() => appender.stop());
  const event = { type: 'slots-released', sagaId: 'rot-1', sagaIndex: 1, slots: ['1/a'] } as const;
  void appender.propose({ event: event as never, consumed: [] });
  await clock.advance(patienceMs);
  const says = async (sequence: number): Promise<void> => {
    answer.resolve({ sequence } as BusMessage);
    await clock.advance(1);
  };
  return { log, says };
}

it('takes back what the bus turned out not to hold', async () => {
  const { log, says } = await waiting();
  await says(4);
  expect(log.pending()).toEqual([]);
  expect(log.lastSequence).toBe(4);
});

it('makes nothing of an answer that was overtaken by what came meanwhile', async () => {
  const { log, says } = await waiting();
  log.saw(6);
  log.deliver(delivered('second', 6));
  await says(5);
  expect(log.pending()).toEqual(['first', 'second']);
  expect(log.lastSequence).toBe(6);
});

it('takes back an entry that the bus forgot, though it was given others since', async () => {
  const { log, says } = await waiting(new Set([7]));
  log.saw(7);
  log.deliver(delivered('third', 7));
  await says(7);
  expect(log.pending()).toEqual(['third']);
  expect(log.lastSequence).toBe(7);
});
