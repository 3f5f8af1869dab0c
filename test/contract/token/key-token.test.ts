/**
 * A token whose keys go by name, on real SoftHSM2: what it wraps opens by the same key, for the same
 * purpose and in no other way; keys cannot leave it, survive the loss of its child in the midst of
 * an operation, and are gone once they are destroyed.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { openKeyToken, type KeyToken } from '#shared/runtime/token/key-token.ts';
import type { TokenKey } from '#shared/runtime/token/token.ts';

import { makeSoftHsmToken } from '../../support/softhsm.ts';
import type { PlantedKey } from './planter.ts';
import { makeSpiedToken, removeSpy, spyLibraryPath, type SpiedToken } from './spy.ts';
import { expectCode } from './suite.ts';

const secret = Uint8Array.from({ length: 32 }, (_, index) => index);
const purpose = new TextEncoder().encode('a share');

/** What a planted key has of its own, and by which attribute that is noticed. */
const deviations: readonly [string, ...PlantedKey['changed']][] = [
  ['CKA_KEY_TYPE', [0x100, 0x10]],
  ['CKA_VALUE_LEN', [0x161, 16]],
  ['CKA_TOKEN', [0x1, false]],
  ['CKA_PRIVATE', [0x2, false]],
  ['CKA_SENSITIVE', [0x103, false]],
  ['CKA_EXTRACTABLE', [0x162, true]],
  ['CKA_ENCRYPT', [0x104, false]],
  ['CKA_DECRYPT', [0x105, false]],
  ['CKA_WRAP', [0x106, true]],
  ['CKA_UNWRAP', [0x107, true]],
  ['CKA_SIGN', [0x108, true]],
  ['CKA_DERIVE', [0x10c, true]],
  ['CKA_MODIFIABLE', [0x170, true]],
];

afterAll(removeSpy);

describe.runIf(spyLibraryPath !== null)('a token whose keys go by name', () => {
  let hsm: SpiedToken;
  let token: KeyToken;

  beforeEach(async () => {
    hsm = await makeSpiedToken();
    token = await openKeyToken(hsm.options);
  });

  afterEach(async () => {
    await token.close();
    await hsm.remove();
  });

  async function key(name: string): Promise<TokenKey> {
    return { name, id: await token.makeKey(name) };
  }

  test('a key is made once, and found again by whoever asks later', async () => {
    const made = await key('kek-1');
    expect(await key('kek-1')).toEqual(made);
    expect((await key('kek-2')).id).not.toEqual(made.id);
    expect(token.describe()).toMatchObject({
      isHsm: false,
      notice: 'software token (SoftHSM2): not an HSM',
    });
  });

  test('what is wrapped opens by that key for that purpose, unchanged, and in no other way', async () => {
    const first = await key('kek-1');
    const second = await key('kek-2');
    const wrapped = await token.wrap(first, secret.slice(), purpose);
    expect(wrapped).not.toEqual(await token.wrap(first, secret.slice(), purpose));
    expect(await token.unwrap(first, wrapped, purpose)).toEqual(secret);
    await expectCode(token.unwrap(second, wrapped, purpose), 'WRAPPING_INVALID');
    await expectCode(token.unwrap(first, wrapped, secret), 'WRAPPING_INVALID');
    for (const place of [0, 12, 30, wrapped.length - 1]) {
      const changed = Uint8Array.from(wrapped);
      changed[place] = (changed[place] ?? 0) ^ 1;
      await expectCode(token.unwrap(first, changed, purpose), 'WRAPPING_INVALID');
    }
    await expectCode(token.wrap({ ...first, id: second.id }, secret, purpose), 'KEY_UNKNOWN');
  });

  test('a destroyed key is gone, also where it was destroyed before', async () => {
    const first = await key('kek-1');
    const other = await key('kek-2');
    const wrapped = await token.wrap(first, secret.slice(), purpose);
    await token.destroyKey('kek-1');
    await token.destroyKey('kek-1');
    await expectCode(token.unwrap(first, wrapped, purpose), 'KEY_UNKNOWN');
    // One of the same name is another key.
    await expectCode(token.unwrap(await key('kek-1'), wrapped, purpose), 'WRAPPING_INVALID');
    expect((await token.wrap(other, secret.slice(), purpose)).length).toBe(72);
  });

  test('killed in the midst of an operation, it is done in the next child', async () => {
    const first = await key('kek-1');
    const wrapped = await token.wrap(first, secret.slice(), purpose);
    const pid = token.childPid() ?? 0;
    hsm.plan('hang');
    const unwrapping = token.unwrap(first, wrapped, purpose);
    await vi.waitUntil(() => hsm.calls().at(-1) === 'decrypt hangs', 20_000);
    process.kill(pid, 'SIGKILL');
    expect(await unwrapping).toEqual(secret);
    hsm.plan('session-lost');
    expect(await token.unwrap(first, wrapped, purpose)).toEqual(secret);
    const making = token.makeKey('kek-2');
    process.kill(token.childPid() ?? 0, 'SIGKILL');
    expect(await making).toEqual(await token.makeKey('kek-2'));
  });

  test('a key that was brought in, or is another than ours are, is never used', async () => {
    await token.close();
    const short = [0x161, 16] as const;
    plant(hsm, [
      { label: 'kek-1', changed: [], isImported: true },
      { label: 'kek-2', changed: [short] },
    ]);
    token = await openKeyToken(hsm.options);
    for (const name of ['kek-1', 'kek-2']) {
      await expectCode(token.makeKey(name), 'TOKEN_FAILED');
      const planted = { name, id: new Uint8Array(32) };
      await expectCode(token.wrap(planted, secret.slice(), purpose), 'TOKEN_FAILED');
    }
  });

  test('every attribute of a key is looked at', () => {
    const keys = deviations.map(([, ...changed]) => ({ label: 'kek-1', changed }));
    const good = { label: 'kek-1', changed: [] };
    const said = plant(hsm, [good, ...keys, { ...good, isImported: true }]);
    const refusals = [...deviations.map(([name]) => name), 'CKA_LOCAL'];
    expect(said).toEqual([
      'good',
      ...refusals.map((name) => expect.stringMatching(`^TOKEN_FAILED .*: ${name} is not `)),
    ]);
  });
});

describe.runIf(spyLibraryPath !== null)('opening it', () => {
  test('says what is wrong', async () => {
    const hsm = await makeSoftHsmToken({ label: 'keys' });
    try {
      const pin = () => Buffer.from('not-the-pin');
      await expectCode(openKeyToken({ ...hsm.options, pin }), 'TOKEN_PIN_WRONG');
      await expectCode(openKeyToken({ ...hsm.options, label: 'other' }), 'TOKEN_NOT_FOUND');
    } finally {
      await hsm.remove();
    }
  });
});

/** Keys that somebody else put into the token, and what was said of each. */
function plant(hsm: SpiedToken, keys: readonly PlantedKey[]): unknown {
  const { libraryPath, label } = hsm.options;
  const asked = JSON.stringify({ libraryPath, label, pin: hsm.pin, keys });
  const script = fileURLToPath(new URL('./planter.ts', import.meta.url));
  const env = { ...process.env, ...hsm.options.env };
  return JSON.parse(execFileSync(process.execPath, [script, asked], { env, encoding: 'utf8' }));
}
