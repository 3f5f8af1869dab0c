/** The key schedule: fixed bytes, and no nonce twice under one key. */
import { hkdfSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { chainMessagesMax } from '#schemas/frame.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { deriveChannelKeys, messageNonce } from '#shared/crypto/key-schedule.ts';
import type { KeyScope } from '#shared/crypto/key-schedule.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import { channelSecret, crypto, filled } from './fixtures.ts';

const scope: KeyScope = {
  channel: 'layer-1',
  epoch: 7,
  sender: 'orchestrator-1',
  incarnation: filled(0x66),
  audience: 'layer-1-identity',
  lane: 'control',
};

describe('deriveChannelKeys', () => {
  test('is HKDF-SHA256 over the length-prefixed scope, byte for byte', () => {
    const text = (value: string) => [0, value.length, ...Buffer.from(value)];
    const epoch = [0, 8, 0, 0, 0, 0, 0, 0, 0, 7];
    const incarnation = [0, 32, ...filled(0x66)];
    const info = Uint8Array.from([
      ...text('layer-1'),
      ...epoch,
      ...text('orchestrator-1'),
      ...incarnation,
      ...text('layer-1-identity'),
      ...text('control'),
    ]);
    const output = Buffer.from(hkdfSync('sha256', channelSecret, 'gyre/v1/channel', info, 76));
    for (const provider of [crypto, createNobleProvider()]) {
      const keys = deriveChannelKeys(provider, channelSecret, scope);
      expect(toHex(keys.key)).toBe(output.toString('hex', 0, 32));
      expect(toHex(keys.baseNonce)).toBe(output.toString('hex', 32, 44));
      expect(toHex(keys.commitment)).toBe(output.toString('hex', 44));
    }
  });

  test('gives other keys for every other scope, secret or split of names', () => {
    const others: Partial<KeyScope>[] = [
      {},
      { channel: 'layer-2' },
      { epoch: 8 },
      { sender: 'orchestrator-2' },
      { incarnation: filled(0x67) },
      { audience: 'layer-1' },
      { lane: 'query' },
      { sender: 'orchestrator-1l', audience: 'ayer-1-identity' },
    ];
    const keys = others.map((change) =>
      deriveChannelKeys(crypto, channelSecret, { ...scope, ...change }),
    );
    keys.push(deriveChannelKeys(crypto, filled(0x12), scope));
    for (const part of ['key', 'baseNonce', 'commitment'] as const) {
      expect(new Set(keys.map((each) => toHex(each[part]))).size).toBe(keys.length);
    }
  });

  test('wipe overwrites key and nonce, and leaves the public commitment', () => {
    const keys = deriveChannelKeys(crypto, channelSecret, scope);
    const commitment = toHex(keys.commitment);
    keys.wipe();
    expect([keys.key, keys.baseNonce]).toEqual([filled(0), filled(0, 12)]);
    expect(toHex(keys.commitment)).toBe(commitment);
  });

  test('asserts the length of the secret', () => {
    expect(() => deriveChannelKeys(crypto, filled(1, 31), scope)).toThrow('invariant');
  });
});

describe('messageNonce', () => {
  test('is the base nonce XOR the counter, big-endian at the right', () => {
    expect(toHex(messageNonce(filled(0xff, 12), 1))).toBe('fffffffffffffffffffffffe');
    expect(toHex(messageNonce(filled(0, 12), chainMessagesMax))).toBe('000000000000000000100000');
  });

  test('never repeats over a whole chain', () => {
    const base = crypto.randomBytes(12);
    const tails = new Set<number>();
    for (let counter = 1; counter <= chainMessagesMax; counter += 1) {
      tails.add(new DataView(messageNonce(base, counter).buffer).getUint32(8));
    }
    expect(tails.size).toBe(chainMessagesMax);
  });

  test('asserts its bounds', () => {
    for (const counter of [0, -1, 1.5, chainMessagesMax + 1]) {
      expect(() => messageNonce(filled(0, 12), counter)).toThrow('invariant');
    }
  });
});
