/**
 * What every token must do, run against each back end. Signatures are judged here by node:crypto
 * from the raw public key, never by the token's own code. Opening a token is slow on purpose (a PIN is
 * stretched, a child is started), so tests that leave it open share one, each with a key of its own.
 */
import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { readFile, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import type { Token, TokenErrorCode } from '#shared/runtime/token/token.ts';

export interface TokenBackend {
  /** Opens the token, with its own PIN or with the one given. */
  open(pin?: string): Promise<Token>;
  /** Where its wrapped seeds are. */
  seedDirectory: string;
  /** An unrelated token of the same label. */
  another(): Promise<TokenBackend>;
  remove(): Promise<void>;
}

export const context = Buffer.from('gyre/v1/test');
const purpose = Buffer.from('epoch saga 7');
const secret = new Uint8Array(32).fill(7);
export const message = Buffer.from('a statement to be signed');

/** Whether ML-DSA-87 verification outside the token accepts the signature. */
export function verifies(
  publicKey: Uint8Array,
  signature: Uint8Array,
  over: { message?: Uint8Array; context?: Uint8Array } = {},
): boolean {
  const jwk = { kty: 'AKP', alg: 'ML-DSA-87', pub: Buffer.from(publicKey).toString('base64url') };
  const key = createPublicKey({ key: jwk, format: 'jwk' });
  return verify(
    null,
    over.message ?? message,
    { key, context: over.context ?? context },
    signature,
  );
}

/** Expects a `TokenError` of that code. */
export async function expectCode(promise: Promise<unknown>, code: TokenErrorCode): Promise<void> {
  await expect(promise).rejects.toMatchObject({ name: 'TokenError', code });
}

export function tokenContract(make: () => Promise<TokenBackend>): void {
  describe('that is open', () => {
    openContract(make);
  });
  describe('that is closed', () => {
    closedContract(make);
  });
}

function openContract(make: () => Promise<TokenBackend>): void {
  let backend: TokenBackend;
  let token: Token;
  let other: TokenBackend;
  let otherToken: Token;
  /** Of a key that no other test makes. */
  let name: string;
  let tests = 0;

  beforeAll(async () => {
    backend = await make();
    token = await backend.open();
    other = await backend.another();
    otherToken = await other.open();
  });

  beforeEach(() => {
    tests += 1;
    name = `audit-${tests}`;
  });

  afterAll(async () => {
    for (const each of [token, otherToken]) await each.close();
    for (const each of [backend, other]) await each.remove();
  });

  test('signs what verifies outside the token', async () => {
    const { publicKey } = await token.generateKey(name);
    expect(publicKey.length).toBe(2592);
    const signature = await token.sign(name, message, context);
    expect(signature.length).toBe(4627);
    expect(verifies(publicKey, signature)).toBe(true);
    expect(verifies(publicKey, signature, { message: Buffer.from('another') })).toBe(false);
    expect(await token.publicKey(name)).toEqual(publicKey);
  });

  test('binds the context string, the empty and the longest one too', async () => {
    const { publicKey } = await token.generateKey(name);
    const signature = await token.sign(name, message, context);
    expect(verifies(publicKey, signature, { context: Buffer.from('gyre/v1/other') })).toBe(false);
    expect(verifies(publicKey, signature, { context: Buffer.alloc(0) })).toBe(false);
    for (const other of [Buffer.alloc(0), Buffer.alloc(255, 7)]) {
      const bound = await token.sign(name, message, other);
      expect(verifies(publicKey, bound, { context: other })).toBe(true);
      expect(verifies(publicKey, bound)).toBe(false);
    }
  });

  test('signs messages of any size up to the bound, and asserts on arguments beyond it', async () => {
    const { publicKey } = await token.generateKey(name);
    for (const long of [new Uint8Array(0), new Uint8Array(1_048_576).fill(3)]) {
      const signature = await token.sign(name, long, context);
      expect(verifies(publicKey, signature, { message: long })).toBe(true);
    }
    const assertion = { code: 'ERR_ASSERTION' };
    await expect(token.sign(name, message, Buffer.alloc(256))).rejects.toMatchObject(assertion);
    await expect(token.sign(name, new Uint8Array(1_048_577), context)).rejects.toMatchObject(
      assertion,
    );
    await expect(token.generateKey('../audit')).rejects.toMatchObject(assertion);
  });

  test('does not know a key that was not made, whatever its name', async () => {
    for (const unknown of ['enrolment', '../audit', '', 'x'.repeat(1000), 'A']) {
      await expectCode(token.sign(unknown, message, context), 'KEY_UNKNOWN');
      await expectCode(token.publicKey(unknown), 'KEY_UNKNOWN');
    }
  });

  test('refuses to replace a key and keeps the one that is there', async () => {
    const { publicKey } = await token.generateKey(name);
    await expectCode(token.generateKey(name), 'KEY_EXISTS');
    expect(await token.publicKey(name)).toEqual(publicKey);
  });

  test('lets one of two simultaneous makers of a name win', async () => {
    const second = await backend.open();
    const results = await Promise.allSettled([token.generateKey(name), second.generateKey(name)]);
    const made = results.filter((result) => result.status === 'fulfilled');
    const refused = results.filter((result) => result.status === 'rejected');
    expect(made).toHaveLength(1);
    expect(refused[0]?.reason).toMatchObject({ code: 'KEY_EXISTS' });
    expect(await second.publicKey(name)).toEqual(made[0]?.value.publicKey);
    await second.close();
  });

  test('passes its canary', async () => {
    expect(await token.canary()).toMatchObject({ ok: true });
    expect(await token.canary()).toMatchObject({ ok: true });
  });

  test('makes 20 signatures at once', async () => {
    const { publicKey } = await token.generateKey(name);
    const messages = Array.from({ length: 20 }, (_, index) => Buffer.from(`statement ${index}`));
    const signatures = await Promise.all(messages.map((m) => token.sign(name, m, context)));
    const checks = signatures.map((s, i) =>
      verifies(publicKey, s, { message: messages[i] ?? message }),
    );
    expect(checks).toEqual(checks.map(() => true));
  });

  test('refuses a wrapped seed with any byte changed, cut short or made longer', async () => {
    const { publicKey } = await token.generateKey(name);
    const path = join(backend.seedDirectory, `${name}.seed`);
    const blob = await readFile(path);
    for (let position = 0; position < blob.length; position += 1) {
      const changed = Buffer.from(blob);
      changed.writeUInt8(changed.readUInt8(position) ^ 0x01, position);
      await writeFile(path, changed);
      await expectCode(token.sign(name, message, context), 'TOKEN_FAILED');
    }
    for (const changed of [blob.subarray(1), Buffer.concat([blob, blob]), Buffer.alloc(0)]) {
      await writeFile(path, changed);
      await expectCode(token.publicKey(name), 'TOKEN_FAILED');
    }
    await writeFile(path, blob);
    expect(await token.publicKey(name)).toEqual(publicKey);
  });

  test('refuses the wrapped seed of another key name', async () => {
    await token.generateKey(name);
    await rename(
      join(backend.seedDirectory, `${name}.seed`),
      join(backend.seedDirectory, `${name}-too.seed`),
    );
    await expectCode(token.sign(`${name}-too`, message, context), 'TOKEN_FAILED');
    await expectCode(token.sign(name, message, context), 'KEY_UNKNOWN');
  });

  test('refuses the wrapped seed of another token', async () => {
    await token.generateKey(name);
    await otherToken.generateKey(name);
    const theirs = await readFile(join(other.seedDirectory, `${name}.seed`));
    await writeFile(join(backend.seedDirectory, `${name}.seed`), theirs);
    await expectCode(token.sign(name, message, context), 'TOKEN_FAILED');
  });

  test('refuses a wrong PIN, and is not harmed by it', async () => {
    await token.generateKey(name);
    await expectCode(backend.open('not-the-pin'), 'TOKEN_PIN_WRONG');
    expect(await token.canary()).toMatchObject({ ok: true });
    const again = await backend.open();
    expect(await again.publicKey(name)).toEqual(await token.publicKey(name));
    await again.close();
  });

  test('unwraps what it wrapped for the same purpose, from one byte to 64 KiB', async () => {
    for (const bytes of [1, 32, 65_536].map((length) => randomBytes(length))) {
      const wrapped = await token.wrap(new Uint8Array(bytes), purpose);
      expect(wrapped.length).toBe(bytes.length + 40);
      expect(bytes.length < 32 || !Buffer.from(wrapped).includes(bytes)).toBe(true);
      expect(Buffer.from(await token.unwrap(wrapped, purpose)).equals(bytes)).toBe(true);
    }
    const again = [await token.wrap(secret, purpose), await token.wrap(secret, purpose)];
    expect(again[0]).not.toEqual(again[1]);
  });

  test('asserts on nothing to wrap, on more than 64 KiB, or more than 512 bytes of purpose', async () => {
    const assertion = { code: 'ERR_ASSERTION' };
    for (const length of [0, 65_537]) {
      await expect(token.wrap(new Uint8Array(length), purpose)).rejects.toMatchObject(assertion);
    }
    await expect(token.wrap(secret, new Uint8Array(513))).rejects.toMatchObject(assertion);
  });

  test('refuses a wrapping with any byte changed, cut short or made longer', async () => {
    const wrapped = await token.wrap(secret, purpose);
    for (let position = 0; position < wrapped.length; position += 1) {
      const changed = new Uint8Array(wrapped);
      changed[position] = (changed[position] ?? 0) ^ 0x01;
      await expectCode(token.unwrap(changed, purpose), 'WRAPPING_INVALID');
    }
    const long = new Uint8Array(Buffer.concat([wrapped, wrapped]));
    const wrong = [wrapped.subarray(1), wrapped.subarray(0, 40), long, new Uint8Array(0)];
    for (const changed of [...wrong, new Uint8Array(100_000)]) {
      await expectCode(token.unwrap(changed, purpose), 'WRAPPING_INVALID');
    }
    expect(await token.unwrap(wrapped, purpose)).toEqual(secret);
  });

  test('refuses a wrapping for another purpose, or of another token', async () => {
    const wrapped = await token.wrap(secret, purpose);
    for (const other of ['epoch saga 8', 'epoch saga ', '']) {
      await expectCode(token.unwrap(wrapped, Buffer.from(other)), 'WRAPPING_INVALID');
    }
    await expectCode(otherToken.unwrap(wrapped, purpose), 'WRAPPING_INVALID');
  });

  test('never unwraps the seed of a key', async () => {
    await token.generateKey('audit');
    const blob = await readFile(join(backend.seedDirectory, 'audit.seed'));
    const disguised = Buffer.concat([Buffer.from('gyre-wrap\0'), blob.subarray(10)]);
    const aad = Buffer.from('gyre/v1/token-seed\0\x09ML-DSA-87\x09gyre-test\x05audit', 'latin1');
    for (const as of [purpose, aad, aad.subarray(19), Buffer.from('audit')]) {
      await expectCode(token.unwrap(new Uint8Array(disguised), as), 'WRAPPING_INVALID');
    }
    expect(await token.canary()).toMatchObject({ ok: true });
  });

  test('leaves only its own files, readable by their owner alone', async () => {
    await token.generateKey(name);
    const names = await readdir(backend.seedDirectory);
    expect(names.filter((name) => name.endsWith('.tmp'))).toEqual([]);
    expect(names).toContain(`${name}.seed`);
    for (const name of names) {
      const { mode } = await stat(join(backend.seedDirectory, name));
      expect(mode & 0o777).toBe(0o600);
    }
  });

  test('says that it is not an HSM', () => {
    const description = token.describe();
    expect(description.isHsm).toBe(false);
    expect(description.notice).toContain('not an HSM');
  });
}

function closedContract(make: () => Promise<TokenBackend>): void {
  let backend: TokenBackend;
  let token: Token;

  beforeEach(async () => {
    backend = await make();
    token = await backend.open();
  });

  afterEach(async () => {
    await token.close();
    await backend.remove();
  });

  test('has the same keys when it is opened again', async () => {
    const { publicKey } = await token.generateKey('audit');
    await token.close();
    token = await backend.open();
    expect(await token.publicKey('audit')).toEqual(publicKey);
    expect(verifies(publicKey, await token.sign('audit', message, context))).toBe(true);
    await expectCode(token.generateKey('audit'), 'KEY_EXISTS');
  });

  test('unwraps still when it is opened again', async () => {
    const wrapped = await token.wrap(secret, purpose);
    await token.close();
    token = await backend.open();
    expect(await token.unwrap(wrapped, purpose)).toEqual(secret);
  });

  test('answers nothing after it was closed, and closing twice is fine', async () => {
    await token.generateKey('audit');
    await token.close();
    await token.close();
    await expectCode(token.sign('audit', message, context), 'TOKEN_UNREACHABLE');
    await expectCode(token.wrap(secret, purpose), 'TOKEN_UNREACHABLE');
  });
}
