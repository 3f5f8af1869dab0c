/**
 * A token whose keys go by name, on real SoftHSM2: what it wraps opens by the same key, for the same
 * purpose and in no other way; keys cannot leave it, survive the loss of its child in the midst of
 * an operation, and are gone once they are destroyed.
 */
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { openKeyToken, type KeyToken } from '#shared/runtime/token/key-token.ts';
import type { TokenKey } from '#shared/runtime/token/token.ts';

import { makeSoftHsmToken } from '../../support/softhsm.ts';
import { makeSpiedToken, removeSpy, spyLibraryPath, type SpiedToken } from './spy.ts';
import { expectCode } from './suite.ts';

const secret = Uint8Array.from({ length: 32 }, (_, index) => index);
const purpose = new TextEncoder().encode('a share');

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

  test('a key that was brought in is never used', async () => {
    await token.close();
    plant(hsm, 'kek-1');
    token = await openKeyToken(hsm.options);
    await expectCode(token.makeKey('kek-1'), 'TOKEN_FAILED');
    const planted = { name: 'kek-1', id: new Uint8Array(32) };
    await expectCode(token.wrap(planted, secret.slice(), purpose), 'TOKEN_FAILED');
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

/** A key with a value of ours, which a token can tell from one that it made. */
function plant(hsm: SpiedToken, label: string): void {
  const script = `
    const { PKCS11 } = require(${JSON.stringify(createRequire(import.meta.url).resolve('pkcs11js'))});
    const library = new PKCS11();
    library.load(${JSON.stringify(hsm.options.libraryPath)});
    library.C_Initialize({ flags: 2 });
    const slot = library.C_GetSlotList(true)
      .find((each) => library.C_GetTokenInfo(each).label.trim() === ${JSON.stringify(hsm.options.label)});
    const session = library.C_OpenSession(slot, 6);
    library.C_Login(session, 1, ${JSON.stringify(hsm.pin)});
    library.C_CreateObject(session, [
      { type: 0x0, value: 4 }, { type: 0x3, value: ${JSON.stringify(label)} },
      { type: 0x102, value: Buffer.alloc(32) }, { type: 0x100, value: 0x1f },
      { type: 0x11, value: Buffer.alloc(32, 7) }, { type: 0x1, value: true },
      { type: 0x2, value: true }, { type: 0x103, value: true }, { type: 0x162, value: false },
      { type: 0x104, value: true }, { type: 0x105, value: true },
    ]);`;
  execFileSync(process.execPath, ['-e', script], { env: { ...process.env, ...hsm.options.env } });
}
