/** The trace of a world: one hash over every line, the last lines for a report. */
import { expect, test } from 'vitest';
import { SimulatedTime } from '../../sim/time.ts';
import { WorldTrace } from '../../sim/trace.ts';

const time = new SimulatedTime();

test('the same lines give the same hash, and every difference another', () => {
  const digestOf = (fill: (trace: WorldTrace) => void): string => {
    const trace = new WorldTrace({ time });
    fill(trace);
    return trace.digest();
  };
  const digests = [
    digestOf((trace) => trace.note('send', { to: 'a', bytes: 5, isLate: false })),
    digestOf((trace) => trace.note('send', { to: 'a', bytes: 6, isLate: false })),
    digestOf((trace) => trace.note('send', { to: 'a bytes=5 isLate=false' })),
    digestOf((trace) => trace.note('send', { to: 'a\n        0 send' })),
    digestOf((trace) => {
      trace.note('send', { to: 'a' });
      trace.note('send', {});
    }),
    digestOf(() => undefined),
  ];
  expect(new Set(digests).size).toBe(digests.length);
  expect(digestOf((trace) => trace.note('send', { to: 'a', bytes: 5, isLate: false }))).toBe(
    digests[0],
  );
});

test('the hash may be asked for on the way, and covers more than a batch', () => {
  const [asked, unasked] = [new WorldTrace({ time }), new WorldTrace({ time })];
  const midway = new Set<string>();
  for (let line = 0; line < 5000; line += 1) {
    asked.note('event', { line, text: 'some text with "quotes"' });
    unasked.note('event', { line, text: 'some text with "quotes"' });
    if (line % 1000 === 0) midway.add(asked.digest());
  }
  expect(midway.size).toBe(5);
  expect(asked.digest()).toBe(unasked.digest());
  unasked.note('one more', {});
  expect(unasked.digest()).not.toBe(asked.digest());
});

test('time is in every line; lines are printed, and the last are kept', async () => {
  const clock = new SimulatedTime();
  const printed: string[] = [];
  const trace = new WorldTrace({
    time: clock,
    print: (line) => printed.push(line),
    linesKeptMax: 3,
  });
  expect(trace.last()).toEqual([]);
  for (const line of [1, 2, 3, 4, 5]) {
    await clock.run(line * 10.5);
    trace.note('line', { line, name: 'a b' });
    if (line === 2) expect(trace.last()).toEqual(printed);
  }
  expect(printed[4]).toBe('     52.5 line line=5 name="a b"');
  expect(printed).toHaveLength(5);
  expect(trace.last()).toEqual(printed.slice(2));
  expect(trace.last(1)).toEqual(printed.slice(4));
  expect(trace.lines).toBe(5);
});
