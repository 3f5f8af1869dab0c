/** Keyrings: the newest epoch is current; a wrapped keyring opens for its recipient only. */
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import {
  keyringEntriesMax,
  StaticKeyring,
  unwrapKeyring,
  wrapKeyring,
} from '#shared/crypto/keyring.ts';
import type { ChannelSecret } from '#shared/crypto/keyring.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import { crypto, filled } from './fixtures.ts';

const entries: ChannelSecret[] = [
  { channel: 'saga', epoch: 2, secret: filled(0xb2) },
  { channel: 'saga', epoch: 1, secret: filled(0xb1) },
  { channel: 'mesh', epoch: 9, secret: filled(0xb9) },
];

describe('StaticKeyring', () => {
  test('gives secrets by channel and epoch, the highest epoch as the current one', () => {
    const keyring = new StaticKeyring(entries);
    expect(keyring.secretOf({ channel: 'saga', epoch: 1 })).toEqual(filled(0xb1));
    expect(keyring.secretOf({ channel: 'saga', epoch: 3 })).toBeUndefined();
    expect(keyring.secretOf({ channel: 'layer-1', epoch: 1 })).toBeUndefined();
    expect([keyring.currentEpoch('saga'), keyring.currentEpoch('layer-1')]).toEqual([2, undefined]);
    expect(keyring.channels()).toEqual(['mesh', 'saga']);
  });

  test('holds copies, prints nothing, and is empty after wipe', () => {
    const secret = filled(0xb1);
    const keyring = new StaticKeyring([{ channel: 'saga', epoch: 1, secret }]);
    secret.fill(0);
    const held = keyring.secretOf({ channel: 'saga', epoch: 1 });
    expect(held).toEqual(filled(0xb1));
    expect(
      JSON.stringify(keyring) + inspect(keyring, { depth: 9, showHidden: true }),
    ).not.toContain('177');
    keyring.wipe();
    expect(held).toEqual(filled(0));
    expect([keyring.channels(), keyring.currentEpoch('saga')]).toEqual([[], undefined]);
  });

  test('asserts one secret of 32 bytes per channel and epoch', () => {
    const [first] = entries;
    expect(() => new StaticKeyring([...entries, { ...first!, secret: filled(1) }])).toThrow(
      'invariant',
    );
    expect(() => new StaticKeyring([{ ...first!, secret: filled(1, 31) }])).toThrow('invariant');
  });
});

describe('a wrapped keyring', () => {
  const key = crypto.importKemSeed(filled(0x71, 64));
  const other = crypto.importKemSeed(filled(0x72, 64));
  const recipient = 'layer-1-identity';
  const wrapped = wrapKeyring(crypto, { entries, recipient, recipientKey: key.publicKey });
  const unwrap = (value: unknown, recipientKey = key, name = recipient) => {
    const result = unwrapKeyring(crypto, { wrapped: value, recipient: name, recipientKey });
    return result.ok ? 'ok' : result.code;
  };

  test('opens for its recipient, with either provider on either side', () => {
    const providers = [crypto, createNobleProvider()];
    for (const wrapper of providers) {
      for (const opener of providers) {
        const recipientKey = opener.importKemSeed(filled(0x71, 64));
        const result = unwrapKeyring(opener, {
          wrapped: wrapKeyring(wrapper, {
            entries,
            recipient,
            recipientKey: wrapper.importKemPublicKey(recipientKey.publicKey.raw),
          }),
          recipient,
          recipientKey,
        });
        if (!result.ok) throw new Error(result.code);
        for (const { secret, ...name } of entries) {
          expect(result.keyring.secretOf(name)).toEqual(secret);
        }
      }
    }
  });

  test('does not open for another key or under another name', () => {
    expect(unwrap(wrapped)).toBe('ok');
    expect(unwrap(wrapped, other)).toBe('UNWRAP_FAILED');
    expect(unwrap(wrapped, key, 'layer-2-authorization')).toBe('UNWRAP_FAILED');
  });

  test('every changed byte is refused', () => {
    for (const part of ['kemCiphertext', 'ciphertext'] as const) {
      const bytes = wrapped[part];
      for (let at = 0; at < bytes.length; at += 1) {
        const changed = { ...wrapped, [part]: bytes.with(at, (bytes[at] ?? 0) ^ 1) };
        expect(unwrap(changed), `${part} at ${at}`).toBe('UNWRAP_FAILED');
      }
    }
  });

  test('other shapes are malformed', () => {
    for (const value of [
      null,
      {},
      { ...wrapped, extra: 1 },
      { ...wrapped, kemCiphertext: filled(0) },
    ]) {
      expect(unwrap(value)).toBe('KEYRING_MALFORMED');
    }
    expect(unwrap({ ...wrapped, ciphertext: filled(0, 64 * 1024 + 1) })).toBe('KEYRING_MALFORMED');
    expect(unwrap({ ...wrapped, ciphertext: new Uint8Array() })).toBe('UNWRAP_FAILED');
  });

  test('the largest one fits its bounds, a larger one is asserted', () => {
    const many = Array.from({ length: keyringEntriesMax + 1 }, (_, epoch) => ({
      channel: 'a'.repeat(63),
      epoch: Number.MAX_SAFE_INTEGER - epoch,
      secret: filled(1),
    }));
    const wrap = (list: ChannelSecret[]) =>
      wrapKeyring(crypto, { entries: list, recipient, recipientKey: key.publicKey });
    expect(unwrap(wrap(many.slice(1)))).toBe('ok');
    expect(() => wrap(many)).toThrow('invariant');
  });
});
