import { expect, test } from 'vitest';
import { tellIfSlow, waitingLine, type Look } from '#cli/waiting.ts';

const silentSigner: Look = { hindrances: ['signer does not answer'], undecided: true };

function patience(look: () => Promise<Look>) {
  const lines: string[] = [];
  const tell = (line: string) => void lines.push(line);
  return { lines, afterMs: 10, hasTold: () => lines.length > 0, look, tell };
}

const after = <Value>(ms: number, value: Value) =>
  new Promise<Value>((resolve) => setTimeout(() => resolve(value), ms));

test('who hinders is named, and whether anybody has decided', () => {
  expect(waitingLine(silentSigner)).toBe(
    'waiting: no orchestrator has decided on the request yet; signer does not answer',
  );
  expect(waitingLine({ hindrances: [], undecided: false })).toBe(
    'waiting: it takes longer than usual; every agent that was asked answers',
  );
});

test('slow work is explained once, and its result is what comes back', async () => {
  const slow = patience(() => Promise.resolve(silentSigner));
  expect(await tellIfSlow(after(60, 'done'), slow)).toBe('done');
  expect(slow.lines).toEqual([waitingLine(silentSigner)]);
});

test('quick work, and work that tells its progress, are not', async () => {
  const quick = patience(() => Promise.resolve(silentSigner));
  expect(await tellIfSlow(Promise.resolve(1), quick)).toBe(1);
  await after(30, undefined);
  expect(quick.lines).toEqual([]);
  const telling = { ...patience(() => Promise.resolve(silentSigner)), hasTold: () => true };
  expect(await tellIfSlow(after(40, 2), telling)).toBe(2);
  expect(telling.lines).toEqual([]);
});

test('a look that outlives the work says nothing, not even that it failed', async () => {
  const late = patience(() => after(40, undefined).then(() => Promise.reject(new Error('closed'))));
  expect(await tellIfSlow(after(20, 'done'), late)).toBe('done');
  await after(50, undefined);
  expect(late.lines).toEqual([]);
});
