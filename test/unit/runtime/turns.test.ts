/** Work in turns: one at a time for each name, in order, whatever became of the one before. */
import { setImmediate as moment } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Turns } from '#shared/runtime/turns.ts';

test('one piece of a name runs at a time, in order; other names do not wait', async () => {
  const turns = new Turns();
  const told: string[] = [];
  const gates = new Map<string, () => void>();
  const work = (what: string, fault?: string) => async () => {
    told.push(`${what} begins`);
    await new Promise<void>((resolve) => gates.set(what, resolve));
    told.push(`${what} ends`);
    if (fault !== undefined) throw new Error(fault);
    return what;
  };
  const first = turns.take('a', work('a1', 'a1 failed'));
  const second = turns.take('a', work('a2'));
  const other = turns.take('b', work('b1'));
  const ended = turns.ended('a').then(() => told.push('a is over'));
  await turns.ended('nothing');
  await moment();
  expect(told).toEqual(['a1 begins', 'b1 begins']);
  gates.get('a1')?.();
  // The fault is its own caller's; the next one runs all the same.
  await expect(first).rejects.toThrow('a1 failed');
  await moment();
  expect(told.slice(2)).toEqual(['a1 ends', 'a2 begins']);
  gates.get('a2')?.();
  expect(await second).toBe('a2');
  await ended;
  expect(told.slice(4)).toEqual(['a2 ends', 'a is over']);
  gates.get('b1')?.();
  expect(await other).toBe('b1');
});
