/** A saga's log in memory: what takes effect, what never happened, and what stops the saga alone. */

import { expect, it } from 'vitest';
import { SagaLog, type Verdict } from '#agents/orchestrator/saga-log.ts';
import type { Disclosure } from '#schemas/frame.ts';
import type { SagaEntry } from '#schemas/saga.ts';
import type { ReceivedEvent } from '#shared/runtime/exchange.ts';

const accepted: Verdict = { verdict: 'accepted', receipt: null };
const refused: Verdict = { verdict: 'refused', receipt: null };

/** Counts entries, and takes no release. */
function counting() {
  return new SagaLog<number, never>('slots', 'a.subject', (state, entry) =>
    entry.event.type === 'slots-released'
      ? { rejected: 'NO_RELEASE', reason: 'this fold takes none' }
      : { state: (state ?? 0) + 1, commands: [] },
  );
}

/** As the receiver hands it over, as far as the log looks at it. */
function delivered(hash: string, index: number, type: 'slots-reserved' | 'slots-released') {
  const event = { type, sagaId: 'rot-1', sagaIndex: 1, slots: ['1/a'], atMs: 1 };
  const body = { saga: 'slots', sagaId: 'slots', index, previous: '', consumed: [], event };
  const received = { hash, body: body as unknown as SagaEntry, sequence: index + 1 };
  return {
    ...received,
    header: { sender: 'orchestrator-a', timeMs: 1 },
  } as unknown as ReceivedEvent<'saga-entry'>;
}

it('applies accepted entries in order of their index, whatever the order of delivery', () => {
  const log = counting();
  log.deliver(delivered('b', 1, 'slots-reserved'));
  const verdicts = new Map([
    ['a', accepted],
    ['b', accepted],
  ]);
  expect(log.settle(verdicts)).toEqual([]);
  log.deliver(delivered('a', 0, 'slots-reserved'));
  expect(log.settle(verdicts).map(({ applied }) => applied.hash)).toEqual(['a', 'b']);
  expect(log.state).toBe(2);
  expect(log.next()).toEqual({ index: 2, previous: 'b' });
});

it('forgets a refused entry: its index is free', () => {
  const log = counting();
  log.deliver(delivered('a', 0, 'slots-reserved'));
  expect(log.settle(new Map([['a', refused]]))).toEqual([]);
  expect(log.isRefused('a')).toBe(true);
  expect(log.hasPending).toBe(false);
  expect(log.next().index).toBe(0);
});

it('stands still, and throws nothing, when an accepted entry does not follow', () => {
  const log = counting();
  log.deliver(delivered('a', 0, 'slots-released'));
  expect(log.settle(new Map([['a', accepted]]))).toEqual([]);
  expect(log.broken).toContain('NO_RELEASE');
  const probe = log.probe(delivered('b', 0, 'slots-reserved').body);
  expect(probe).toMatchObject({ rejected: 'SAGA_BROKEN' });
  log.deliver(delivered('b', 0, 'slots-reserved'));
  expect(log.settle(new Map([['b', accepted]]))).toEqual([]);
  expect(log.state).toBeNull();
});

it('takes the receipt that comes after an entry took effect by the record of the auditor', () => {
  const log = counting();
  log.deliver(delivered('a', 0, 'slots-reserved'));
  log.settle(new Map([['a', accepted]]));
  expect(log.last?.receipt).toBeNull();
  const receipt = { salt: new Uint8Array(32) } as unknown as Disclosure;
  log.vouchedFor('b', receipt);
  expect(log.last?.receipt).toBeNull();
  log.vouchedFor('a', receipt);
  expect(log.last).toMatchObject({ hash: 'a', receipt });
  log.vouchedFor('a', { ...receipt });
  expect(log.last?.receipt).toBe(receipt);
});
