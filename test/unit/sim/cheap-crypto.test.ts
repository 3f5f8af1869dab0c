/**
 * The simulated provider keeps the laws that the real ones keep: sizes, refusals, round trips, nothing
 * accepted that was changed anywhere; and it is deterministic. That it is no cryptography is its point.
 */
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { toHex, utf8 } from '#shared/crypto/bytes.ts';
import {
  hybridDecapsulate,
  hybridEncapsulate,
  hybridPublicKey,
  hybridSizes,
} from '#shared/crypto/hybrid-kem.ts';
import { kemSizes, sizes, type CryptoProvider } from '#shared/crypto/provider.ts';
import { softwareSelfTest } from '#shared/crypto/self-test.ts';
import { simulatedCrypto } from '../../sim/cheap-crypto.ts';
import { drawsFrom } from '../../sim/seed.ts';

const maker = simulatedCrypto(drawsFrom(1));
const checker = simulatedCrypto(drawsFrom(2));

const seed = (byte: number, length = 32) => new Uint8Array(length).fill(byte);
const flip = (bytes: Uint8Array, at: number, bit = 0) =>
  bytes.with(at, (bytes[at] ?? 0) ^ (1 << bit));
/** Changes each of these bits of each byte in place, and back. */
const everyBit = (bytes: Uint8Array, bits: readonly number[], check: (where: string) => void) => {
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    for (const bit of bits) {
      bytes[at] = byte ^ (1 << bit);
      check(`bit ${bit} of byte ${at}`);
    }
    bytes[at] = byte;
  }
};
const message = utf8('the message');
const context = utf8('gyre/v1/a');
const withCode = (code: string) => expect.objectContaining({ code });

test('what it makes depends on arguments and draws alone', () => {
  const made = (crypto: CryptoProvider): string => {
    const key = crypto.importSigningSeed(crypto.randomBytes(32));
    const kem = crypto.importKemSeed(crypto.randomBytes(64));
    return (
      toHex(crypto.sign(key, { message, context })) +
      toHex(crypto.encapsulate(kem.publicKey).ciphertext)
    );
  };
  expect(made(simulatedCrypto(drawsFrom(7)))).toBe(made(simulatedCrypto(drawsFrom(7))));
  expect(made(simulatedCrypto(drawsFrom(7)))).not.toBe(made(simulatedCrypto(drawsFrom(8))));
  expect(() => maker.randomBytes(0)).toThrow('invariant');
  expect(() => maker.randomBytes(65_537)).toThrow('invariant');
});

test('it fails the self-tests of providers, so that no process takes it', async () => {
  for (const algorithm of ['ML-DSA-87', 'ML-KEM-1024', 'AES-256-GCM', 'SHA3-256'] as const) {
    expect(await softwareSelfTest(maker, algorithm)).toBe(false);
  }
});

describe('ML-DSA-87', () => {
  const key = maker.importSigningSeed(seed(1));
  const verifyKey = checker.importVerifyKey(key.publicKey.raw);
  const signature = maker.sign(key, { message, context });
  const holds = { message, context, signature };

  test('has the sizes of FIPS 204, and key ids that are hashes of keys', () => {
    expect(key.publicKey.raw).toHaveLength(sizes.mlDsa87.publicKey);
    expect(signature).toHaveLength(sizes.mlDsa87.signature);
    expect(key.publicKey.keyId).toEqual(maker.sha3_256(key.publicKey.raw));
    expect(verifyKey).toEqual(key.publicKey);
    expect(checker.importSigningSeed(seed(1)).publicKey).toEqual(key.publicKey);
  });

  test('holds for its key, message and context only', async () => {
    expect(checker.verify(verifyKey, holds)).toBe(true);
    expect(await checker.verifyAsync(verifyKey, holds)).toBe(true);
    const other = maker.importSigningSeed(seed(2)).publicKey;
    expect(checker.verify(other, holds)).toBe(false);
    expect(checker.verify(verifyKey, { ...holds, context: utf8('gyre/v1/b') })).toBe(false);
    expect(checker.verify(verifyKey, { ...holds, context: new Uint8Array() })).toBe(false);
    for (let at = 0; at < message.length; at += 1) {
      expect(checker.verify(verifyKey, { ...holds, message: flip(message, at, at % 8) })).toBe(
        false,
      );
    }
    const moved = { context: utf8('gyre/v1/at'), message: utf8('he message') };
    expect(checker.verify(verifyKey, { ...moved, signature })).toBe(false);
    const raw = key.publicKey.raw;
    for (const at of [0, 1, 31, 32, 1000, raw.length - 1]) {
      expect(checker.verify(checker.importVerifyKey(flip(raw, at)), holds)).toBe(false);
    }
  });

  test('is refused after a change of any bit of it, and in every other length', () => {
    everyBit(signature, [0, 1, 2, 3, 4, 5, 6, 7], (where) => {
      if (checker.verify(verifyKey, holds)) expect.fail(where);
    });
    expect(checker.verify(verifyKey, holds)).toBe(true);
    const longer = new Uint8Array(signature.length + 1);
    longer.set(signature);
    for (const wrong of [signature.subarray(1), signature.subarray(0, -1), longer, seed(0, 0)]) {
      expect(checker.verify(verifyKey, { ...holds, signature: wrong })).toBe(false);
    }
  });

  test('is hedged, also asynchronously', async () => {
    const again = await maker.signAsync(key, { message, context });
    expect(toHex(again)).not.toBe(toHex(signature));
    expect(checker.verify(verifyKey, { ...holds, signature: again })).toBe(true);
  });

  test('refuses wrong sizes', async () => {
    expect(() => maker.importSigningSeed(seed(1, 31))).toThrow(withCode('KEY_INVALID'));
    expect(() => maker.importVerifyKey(new Uint8Array(2591))).toThrow(withCode('KEY_INVALID'));
    const input = { message, context: new Uint8Array(256) };
    expect(() => maker.sign(key, input)).toThrow('255');
    expect(() => maker.verify(verifyKey, { ...input, signature })).toThrow('255');
    await expect(maker.signAsync(key, input)).rejects.toThrow('255');
  });
});

describe('SLH-DSA-SHAKE-256s', () => {
  test('holds for its key, message and context only, unchanged', async () => {
    const { secretKey, publicKey } = maker.generateSlhDsaKey();
    expect([secretKey.length, publicKey.length]).toEqual([128, 64]);
    expect(secretKey.slice(64)).toEqual(publicKey);
    const key = maker.importSlhDsaSecret(secretKey);
    expect(key.publicKey.raw).toEqual(publicKey);
    const signature = await maker.signSlhDsaAsync(key, { message, context });
    expect(signature).toHaveLength(sizes.slhDsaShake256s.signature);
    const holds = { message, context, signature };
    expect(checker.verifySlhDsa(publicKey, holds)).toBe(true);
    expect(await checker.verifySlhDsaAsync(publicKey, holds)).toBe(true);
    expect(checker.verifySlhDsa(flip(publicKey, 63), holds)).toBe(false);
    expect(checker.verifySlhDsa(publicKey, { ...holds, message: flip(message, 0) })).toBe(false);
    expect(checker.verifySlhDsa(publicKey, { ...holds, context: utf8('b') })).toBe(false);
    everyBit(signature, [0, 7], (where) => {
      if (checker.verifySlhDsa(publicKey, holds)) expect.fail(where);
    });
    expect(checker.verifySlhDsa(publicKey, { ...holds, signature: signature.slice(1) })).toBe(
      false,
    );
    expect(() => checker.verifySlhDsa(publicKey.slice(1), holds)).toThrow(withCode('KEY_INVALID'));
    expect(() => maker.importSlhDsaSecret(secretKey.slice(1))).toThrow(withCode('KEY_INVALID'));
    const thief = maker.importSlhDsaSecret(flip(secretKey, 5));
    const forged = await maker.signSlhDsaAsync(thief, { message, context });
    expect(checker.verifySlhDsa(publicKey, { ...holds, signature: forged })).toBe(false);
  });
});

describe('private keys', () => {
  test('print as [secret] and die by wipe', () => {
    const signing = maker.importSigningSeed(seed(0xab));
    const kem = maker.importKemSeed(seed(0xab, 64));
    const agreement = maker.importX25519Secret(seed(0xab));
    for (const key of [signing, kem, agreement]) {
      expect(`${inspect(key)} ${JSON.stringify(key)}`).toBe('[secret] "[secret]"');
      key.wipe();
    }
    expect(() => maker.sign(signing, { message, context })).toThrow('invariant');
    expect(() => maker.decapsulate(kem, new Uint8Array(1568))).toThrow('invariant');
    expect(() => maker.x25519(agreement, agreement.publicKey)).toThrow('invariant');
  });

  test('of one instance are good in another, and outlive what they were made of', () => {
    const raw = seed(9);
    const key = maker.importSigningSeed(raw);
    raw.fill(0);
    const signature = checker.sign(key, { message, context });
    const { publicKey } = maker.importSigningSeed(seed(9));
    expect(maker.verify(publicKey, { message, context, signature })).toBe(true);
  });
});

describe.each(['ML-KEM-1024', 'ML-KEM-768'] as const)('%s', (algorithm) => {
  const bytes = kemSizes[algorithm];
  const key = checker.importKemSeed(seed(5, 64), algorithm);
  const publicKey = maker.importKemPublicKey(key.publicKey.raw, algorithm);

  test('both ends agree; a changed ciphertext leads to another secret, always the same', () => {
    const { ciphertext, sharedSecret } = maker.encapsulate(publicKey);
    expect([ciphertext.length, sharedSecret.length]).toEqual([bytes.ciphertext, 32]);
    expect(checker.decapsulate(key, ciphertext)).toEqual(sharedSecret);
    const secrets = new Set([toHex(sharedSecret)]);
    for (let at = 0; at < ciphertext.length; at += 1) {
      const changed = flip(ciphertext, at, at % 8);
      const rejected = toHex(checker.decapsulate(key, changed));
      expect(toHex(maker.decapsulate(key, changed))).toBe(rejected);
      secrets.add(rejected);
    }
    expect(secrets.size).toBe(ciphertext.length + 1);
    expect(toHex(maker.encapsulate(publicKey).sharedSecret)).not.toBe(toHex(sharedSecret));
    const other = checker.importKemSeed(seed(6, 64), algorithm);
    expect(checker.decapsulate(other, ciphertext)).not.toEqual(sharedSecret);
  });

  test('every changed bit of a public key is refused or leads to another secret', () => {
    const { raw } = key.publicKey;
    let refused = 0;
    for (let at = 0; at < raw.length; at += 1) {
      try {
        const changed = maker.importKemPublicKey(flip(raw, at, 7), algorithm);
        const { ciphertext, sharedSecret } = maker.encapsulate(changed);
        expect(checker.decapsulate(key, ciphertext)).not.toEqual(sharedSecret);
      } catch (fault) {
        expect(fault).toMatchObject({ code: 'KEY_INVALID' });
        refused += 1;
      }
    }
    expect(refused > 0 && refused < raw.length).toBe(true);
  });

  test('any seed makes a valid key of its own', () => {
    const ids = new Set<string>();
    for (let count = 0; count < 200; count += 1) {
      const { publicKey: made } = maker.importKemSeed(maker.randomBytes(64), algorithm);
      expect(made.raw).toHaveLength(bytes.publicKey);
      ids.add(maker.importKemPublicKey(made.raw, algorithm).keyIdHex);
    }
    expect(ids.size).toBe(200);
  });

  test('refuses what is no key or ciphertext', () => {
    expect(() => maker.importKemSeed(seed(5, 63), algorithm)).toThrow(withCode('KEY_INVALID'));
    for (const raw of [new Uint8Array(bytes.publicKey - 1), seed(0xff, bytes.publicKey)]) {
      expect(() => maker.importKemPublicKey(raw, algorithm)).toThrow(withCode('KEY_INVALID'));
    }
    const short = new Uint8Array(bytes.ciphertext - 1);
    expect(() => maker.decapsulate(key, short)).toThrow(withCode('CIPHERTEXT_INVALID'));
  });
});

describe('X25519 and the hybrid', () => {
  test('both ends agree, a third does not, and a point of zeros is refused', () => {
    const key = (byte: number) => maker.importX25519Secret(seed(byte));
    const [left, right, third] = [key(3), key(4), key(5)];
    const { publicKey } = right;
    const agreed = maker.x25519(left, checker.importX25519PublicKey(publicKey.raw));
    expect(agreed).toHaveLength(32);
    expect(checker.x25519(right, left.publicKey)).toEqual(agreed);
    expect(maker.x25519(third, left.publicKey)).not.toEqual(agreed);
    expect(maker.x25519(third, publicKey)).not.toEqual(agreed);
    const zero = maker.importX25519PublicKey(new Uint8Array(32));
    expect(() => maker.x25519(left, zero)).toThrow(withCode('KEY_AGREEMENT_FAILED'));
    expect(() => maker.importX25519Secret(seed(3, 31))).toThrow(withCode('KEY_INVALID'));
  });

  test('X25519MLKEM1024 works over them', () => {
    const secret = maker.randomBytes(hybridSizes.secret);
    const publicKey = hybridPublicKey(maker, secret);
    const { ciphertext, sharedSecret } = hybridEncapsulate(checker, publicKey);
    expect(hybridDecapsulate(maker, secret, ciphertext)).toEqual(sharedSecret);
    for (const at of [0, 1567, 1568, 1599]) {
      expect(hybridDecapsulate(maker, secret, flip(ciphertext, at))).not.toEqual(sharedSecret);
    }
  });
});
