/** PINs: from a file or a function, bounded, UTF-8, and wiped when they are refused. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, expect, test } from 'vitest';

import { readPin } from '#shared/runtime/token/pin.ts';

const dir = mkdtempSync(join(tmpdir(), 'gyre-pin-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function pinFile(content: string | Uint8Array): { path: string } {
  const path = join(dir, 'pin');
  writeFileSync(path, content);
  return { path };
}

test.each([
  ['1234', '1234'],
  ['1234\n', '1234'],
  ['1234\r\n', '1234'],
  ['12 34\n\n', '12 34\n'],
  ['x'.repeat(255), 'x'.repeat(255)],
  [`${'x'.repeat(255)}\r\n`, 'x'.repeat(255)],
  ['pässwört', 'pässwört'],
])('reads %j from a file', async (content, pin) => {
  expect(Buffer.from(await readPin(pinFile(content))).toString()).toBe(pin);
});

test.each([[''], ['\n'], ['x'.repeat(256)], ['x'.repeat(5000)], [Buffer.from([0xff, 0xfe])]])(
  'refuses %j',
  async (content) => {
    await expect(readPin(pinFile(content))).rejects.toMatchObject({ code: 'TOKEN_FAILED' });
  },
);

test('a missing file is named, with its cause', async () => {
  const path = join(dir, 'nothing');
  const reading = readPin({ path });
  await expect(reading).rejects.toMatchObject({ code: 'TOKEN_FAILED', cause: { code: 'ENOENT' } });
});

test('takes the bytes of a function, and wipes them when they are no PIN', async () => {
  expect(await readPin(async () => Buffer.from('1234'))).toEqual(Buffer.from('1234'));
  const bad = Buffer.from([0xff, 0xfe]);
  await expect(readPin(() => bad)).rejects.toMatchObject({ code: 'TOKEN_FAILED' });
  expect([...bad]).toEqual([0, 0]);
});
