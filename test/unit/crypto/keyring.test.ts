/** Keyrings: fixed ones, and those whose epochs come into use, are superseded and are wiped. */
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import { StaticKeyring, noticesSecret } from '#shared/crypto/keyring.ts';
import type { ChannelSecret } from '#shared/crypto/keyring.ts';
import { SenderChain } from '#shared/crypto/sender-chain.ts';
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

describe('EpochKeyring', () => {
  const held = (epoch: number, standing: 'announced' | 'active' | 'superseded' = 'announced') => ({
    channel: 'saga',
    epoch,
    standing,
    secret: filled(epoch),
  });

  test('always holds the notices, which anyone can derive', () => {
    const keyring = new EpochKeyring(crypto, 'test');
    const { secret } = noticesSecret(crypto, 'test');
    expect(keyring.secretOf({ channel: 'notices', epoch: 0 })).toEqual(secret);
    expect(keyring.secretOf({ channel: 'notices', epoch: 1 })).toBeUndefined();
    expect(keyring.currentEpoch('notices')).toBe(0);
    keyring.wipe();
    expect(keyring.secretOf({ channel: 'notices', epoch: 0 })).toEqual(secret);
  });

  test('seals under an epoch once it is in use, and never goes back', () => {
    const keyring = new EpochKeyring(crypto, 'test');
    expect(keyring.hold(held(1))).toBe(true);
    expect(keyring.currentEpoch('saga')).toBeUndefined();
    expect(keyring.secretOf({ channel: 'saga', epoch: 1 })).toEqual(filled(1));
    expect(keyring.activate('saga', 1)).toBe(true);
    keyring.hold(held(2, 'active'));
    expect(keyring.currentEpoch('saga')).toBe(2);
    expect(keyring.activate('saga', 1)).toBe(false);
    expect(keyring.activate('saga', 3)).toBe(false);
    expect(keyring.currentEpoch('saga')).toBe(2);
    expect(keyring.held().map(({ epoch, standing }) => [epoch, standing])).toEqual([
      [2, 'active'],
      [1, 'superseded'],
    ]);
  });

  test('overwrites what is closed, with all before it, and takes nothing of it again', () => {
    const keyring = new EpochKeyring(crypto, 'test');
    keyring.hold(held(1, 'superseded'));
    keyring.hold(held(2, 'superseded'));
    keyring.hold(held(3, 'active'));
    const secrets = [1, 2].map((epoch) => keyring.secretOf({ channel: 'saga', epoch }));
    keyring.close('saga', 2);
    expect(secrets).toEqual([filled(0), filled(0)]);
    expect(keyring.hold(held(1))).toBe(false);
    expect(keyring.knows({ channel: 'saga', epoch: 2 })).toBe('over');
    expect(keyring.knows({ channel: 'saga', epoch: 3 })).toBe('held');
    expect(keyring.knows({ channel: 'saga', epoch: 4 })).toBe('unknown');
  });

  test('forgets an abandoned epoch, and keeps the one in use', () => {
    const keyring = new EpochKeyring(crypto, 'test');
    keyring.hold(held(1, 'active'));
    keyring.hold(held(2));
    keyring.abandon('saga', 2);
    expect(keyring.hold(held(2))).toBe(false);
    expect(keyring.currentEpoch('saga')).toBe(1);
    expect(keyring.knows({ channel: 'saga', epoch: 3 })).toBe('unknown');
  });

  test('has one secret per epoch', () => {
    const keyring = new EpochKeyring(crypto, 'test');
    expect(keyring.hold(held(1))).toBe(true);
    expect(keyring.hold(held(1))).toBe(true);
    expect(keyring.hold({ ...held(1), secret: filled(9) })).toBe(false);
    expect(keyring.secretOf({ channel: 'saga', epoch: 1 })).toEqual(filled(1));
  });

  test('keeps counters rising in a chain across epochs: no nonce repeats', () => {
    const keyring = new EpochKeyring(crypto, 'test');
    keyring.hold(held(1, 'active'));
    const signingKey = crypto.importSigningSeed(filled(7));
    const chain = new SenderChain({ crypto, sender: 'auditor', signingKey, keyring });
    const header = {
      lane: 'control' as const,
      audience: 'saga',
      subject: 'gyre.v1.test.saga.slots',
      channel: 'saga',
      registryVersion: 1,
      registryDigest: filled(1),
      policyVersion: 1,
      policyDigest: filled(2),
      type: 'saga-entry',
      schemaVersion: 1,
      timeMs: 1,
      expiresMs: 2,
      eventId: 'one',
      body: {},
    };
    const first = chain.seal(header);
    first.accepted();
    keyring.hold(held(2, 'active'));
    const second = chain.seal(header);
    expect([first.header.epoch, first.header.counter]).toEqual([1, 1]);
    expect([second.header.epoch, second.header.counter]).toEqual([2, 2]);
    expect(second.header.previous).toEqual(first.statementHash);
    expect(second.header.incarnation).toEqual(first.header.incarnation);
  });
});
