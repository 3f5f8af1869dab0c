/** Nonces that are ours, for what they were made for, under keys that there are. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Nonces, nonceSlot } from '#agents/layers/2-authorization/nonces.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import type { StoredVersion } from '#agents/layers/embedded/key-store.ts';
import { capabilityClaimsCheck } from '#schemas/authorization.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { crypto } from '../../support/world.ts';
import { ManualClock } from '../runtime/manual-clock.ts';

const folder = mkdtempSync(join(tmpdir(), 'gyre-nonces-'));
const said = { sub: 'nora', aud: 'database', scope: 'record:read', exp: 1_700_000_060 } as const;
let keys: EmbeddedAdapter;
let nonces: Nonces;

beforeAll(() => {
  keys = EmbeddedAdapter.open({
    layer: 2,
    disk: new SystemDisk(folder),
    crypto,
    clock: new ManualClock(),
    usageWindowMs: 0,
  });
  nonces = new Nonces(keys, crypto);
});
afterAll(() => {
  keys.close();
  rmSync(folder, { recursive: true });
});

function primary(): StoredVersion {
  const stored = keys.store.primary(nonceSlot);
  if (stored === undefined) throw new Error('there is a primary key');
  return stored;
}

test('a nonce is of its form and fits what it was made for alone', () => {
  const nonce = nonces.make(primary(), 5, said);
  const times = { iat: 1, nbf: 1, iss: 'authorization' };
  expect(capabilityClaimsCheck.check({ ...said, ...times, jti: nonce })).toBe(true);
  expect(nonces.check(nonce, said)).toMatchObject({ status: 'ours', version: 1, generation: 5 });
  const others = [
    { ...said, sub: 'norb' },
    { ...said, aud: 'phi' as const },
    { ...said, scope: 'record:write' },
    { ...said, exp: said.exp + 1 },
  ];
  const refused = { status: 'refused', code: 'CAPABILITY_INVALID' };
  for (const other of others) expect(nonces.check(nonce, other)).toEqual(refused);
  const [version = '', generation = '', random = '', mac = ''] = nonce.split('.');
  const own = Buffer.alloc(16).toString('base64url');
  expect(nonces.check([version, generation, own, mac].join('.'), said)).toEqual(refused);
  expect(nonces.check([version, '6', random, mac].join('.'), said)).toEqual(refused);
  expect(nonces.check([version, generation, random, 'A'.repeat(64)].join('.'), said)).toEqual(
    refused,
  );
});

test('a nonce is taken under its own key, until that is gone', async () => {
  const before = nonces.make(primary(), 5, said);
  await keys.prepare(nonceSlot, 2);
  const early = keys.store.version(nonceSlot, 2);
  if (early === undefined) throw new Error('there is a prepared key');
  const unknown = { status: 'refused', code: 'CAPABILITY_KEY_UNKNOWN' };
  expect(nonces.check(nonces.make(early, 5, said), said)).toEqual(unknown);
  await keys.activate(nonceSlot, 2, utf8('challenge'));
  const after = nonces.make(primary(), 5, said);
  expect(nonces.check(before, said)).toMatchObject({ status: 'ours', version: 1 });
  expect(nonces.check(after, said)).toMatchObject({ status: 'ours', version: 2 });
  // The version that a nonce names is under its MAC.
  expect(nonces.check(after.replace(/^2/, '1'), said)).toMatchObject({ status: 'refused' });
  await keys.retire(nonceSlot, 1);
  expect(nonces.check(before, said)).toEqual(unknown);
});
