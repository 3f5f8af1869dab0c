/**
 * SLH-DSA-SHAKE-256s in both providers: each checks what the other made, and the event loop keeps
 * turning while either signs.
 */
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { utf8 } from '#shared/crypto/bytes.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';

const native = createNativeProvider();
const noble = createNobleProvider();
const both = [native, noble] as const;
const message = utf8('the root of trust');
const context = utf8('gyre/v1/document/root');

const flip = (bytes: Uint8Array, at: number) => bytes.with(at, (bytes[at] ?? 0) ^ 1);

/** How often a timer of the event loop came before `work` was done, without keeping a core busy. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let turns = 0;
  let isDone = false;
  const turn = (): void => {
    turns += 1;
    if (!isDone) setTimeout(turn, 1);
  };
  setTimeout(turn, 1);
  try {
    await work;
  } finally {
    isDone = true;
  }
  return turns;
}

describe.each([
  { maker: native, checker: noble, timeoutMs: 60_000 },
  { maker: noble, checker: native, timeoutMs: 180_000 },
])('$maker.name signs, $checker.name checks', ({ maker, checker, timeoutMs }) => {
  test('with the event loop turning meanwhile', { timeout: timeoutMs }, async () => {
    const { secretKey, publicKey } = maker.generateSlhDsaKey();
    expect([secretKey.length, publicKey.length]).toEqual([128, 64]);
    const key = maker.importSlhDsaSecret(secretKey);
    expect(key.publicKey.raw).toEqual(publicKey);
    expect(checker.importSlhDsaSecret(secretKey).publicKey).toMatchObject({
      algorithm: 'SLH-DSA-SHAKE-256s',
      keyIdHex: key.publicKey.keyIdHex,
    });

    const signing = maker.signSlhDsaAsync(key, { message, context });
    // More than a second of work: a loop that stands still comes round once or twice.
    expect(await turnsDuring(signing)).toBeGreaterThan(20);
    const signature = await signing;
    expect(signature).toHaveLength(29_792);

    const holds = { message, context, signature };
    for (const crypto of [checker, maker]) {
      expect(crypto.verifySlhDsa(publicKey, holds)).toBe(true);
      expect(await crypto.verifySlhDsaAsync(publicKey, holds)).toBe(true);
      const changes = [
        { message: flip(message, 0) },
        { context: new Uint8Array() },
        { signature: flip(signature, 0) },
        { signature: flip(signature, 29_791) },
        { signature: signature.subarray(1) },
        { signature: new Uint8Array() },
      ];
      for (const change of changes) {
        expect(crypto.verifySlhDsa(publicKey, { ...holds, ...change })).toBe(false);
        expect(await crypto.verifySlhDsaAsync(publicKey, { ...holds, ...change })).toBe(false);
      }
      expect(crypto.verifySlhDsa(flip(publicKey, 63), holds)).toBe(false);
    }
  });
});

describe.each(both)('$name', (crypto: CryptoProvider) => {
  const raw = new Uint8Array(128).fill(0xab);
  const refused = expect.objectContaining({ code: 'KEY_INVALID' });

  test('takes keys and contexts of the right size only', async () => {
    expect(() => crypto.importSlhDsaSecret(raw.subarray(1))).toThrow(refused);
    const input = { message, context, signature: new Uint8Array(29_792) };
    expect(() => crypto.verifySlhDsa(raw, input)).toThrow(refused);
    await expect(crypto.verifySlhDsaAsync(raw, input)).rejects.toThrow(refused);
    const long = { ...input, context: new Uint8Array(256) };
    const publicKey = raw.subarray(0, 64);
    expect(() => crypto.verifySlhDsa(publicKey, long)).toThrow('255');
    await expect(crypto.signSlhDsaAsync(crypto.importSlhDsaSecret(raw), long)).rejects.toThrow(
      '255',
    );
  });

  test('a key prints as [secret], belongs to its provider and dies by wipe', async () => {
    const key = crypto.importSlhDsaSecret(raw);
    expect(JSON.stringify({ key })).toBe('{"key":"[secret]"}');
    expect(inspect({ key }, { depth: 9, showHidden: true })).not.toContain('171');
    const other = both.find((provider) => provider !== crypto);
    const input = { message, context };
    await expect(other?.signSlhDsaAsync(key, input)).rejects.toThrow('invariant');
    key.wipe();
    await expect(crypto.signSlhDsaAsync(key, input)).rejects.toThrow('invariant');
  });
});
