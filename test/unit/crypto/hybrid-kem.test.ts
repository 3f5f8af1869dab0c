/**
 * The universal combiner of X25519MLKEM1024: both shared secrets, both ciphertexts, both public keys
 * and the label are bound. Whatever bit changes, the secret is another one or there is none.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex, utf8 } from '#shared/crypto/bytes.ts';
import { CryptoError } from '#shared/crypto/errors.ts';
import {
  hybridDecapsulate,
  hybridEncapsulate,
  hybridPublicKey,
  hybridSizes,
} from '#shared/crypto/hybrid-kem.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';

const native = createNativeProvider();
const noble = createNobleProvider();
const secret = Uint8Array.from({ length: hybridSizes.secret }, (_, index) => index);
const publicKey = hybridPublicKey(native, secret);
const sent = hybridEncapsulate(native, publicKey);
const anyBit = (bytes: number) => fc.nat({ max: bytes * 8 - 1 });

function flipBit(bytes: Uint8Array, bit: number): Uint8Array {
  const at = Math.floor(bit / 8);
  return bytes.with(at, (bytes[at] ?? 0) ^ (1 << (bit % 8)));
}

/** In hexadecimal; undefined where there is none. */
function secretOf(work: () => Uint8Array): string | undefined {
  try {
    return toHex(work());
  } catch (fault) {
    if (fault instanceof CryptoError) return undefined;
    throw fault;
  }
}

test('sizes are those of the two parts together', () => {
  expect(hybridSizes).toEqual({ secret: 96, publicKey: 1600, ciphertext: 1600, sharedSecret: 32 });
  expect([publicKey.length, sent.ciphertext.length, sent.sharedSecret.length]).toEqual([
    1600, 1600, 32,
  ]);
});

describe.each([native, noble])('$name', (crypto) => {
  test('any bit of the ciphertext changes the secret', () => {
    const whole = toHex(sent.sharedSecret);
    expect(secretOf(() => hybridDecapsulate(crypto, secret, sent.ciphertext))).toBe(whole);
    fc.assert(
      fc.property(anyBit(hybridSizes.ciphertext), (bit) => {
        const changed = flipBit(sent.ciphertext, bit);
        expect(secretOf(() => hybridDecapsulate(crypto, secret, changed))).not.toBe(whole);
      }),
      // The top bit of the X25519 half means nothing to X25519 itself: only the combiner binds it.
      { numRuns: 40, examples: [[0], [1568 * 8 - 1], [1568 * 8], [1600 * 8 - 1]] },
    );
  });

  test('any bit of the public key changes the secret', () => {
    fc.assert(
      fc.property(anyBit(hybridSizes.publicKey), (bit) => {
        const changed = flipBit(publicKey, bit);
        const made = encapsulated(crypto, changed);
        if (made === undefined) return;
        const opened = secretOf(() => hybridDecapsulate(crypto, secret, made.ciphertext));
        expect(opened).not.toBe(toHex(made.sharedSecret));
      }),
      { numRuns: 40, examples: [[1568 * 8], [1600 * 8 - 1]] },
    );
  });

  test('any bit of the secret changes what is opened', () => {
    // Five bits of an X25519 secret are fixed by clamping (RFC 7748 section 5), and z, the second
    // half of the ML-KEM seed, speaks only where a ciphertext is rejected (FIPS 203 algorithm 18).
    const clamped = new Set([0, 1, 2, 254, 255].map((bit) => 64 * 8 + bit));
    const isSilent = (bit: number) => clamped.has(bit) || (bit >= 32 * 8 && bit < 64 * 8);
    fc.assert(
      fc.property(
        anyBit(hybridSizes.secret).filter((bit) => !isSilent(bit)),
        (bit) => {
          const other = flipBit(secret, bit);
          const opened = secretOf(() => hybridDecapsulate(crypto, other, sent.ciphertext));
          expect(opened).not.toBe(toHex(sent.sharedSecret));
        },
      ),
      { numRuns: 30 },
    );
  });

  test('refuses wrong sizes, and a peer of low order on either side', () => {
    const key = expect.objectContaining({ code: 'KEY_INVALID' });
    const ciphertext = expect.objectContaining({ code: 'CIPHERTEXT_INVALID' });
    const agreement = expect.objectContaining({ code: 'KEY_AGREEMENT_FAILED' });
    expect(() => hybridPublicKey(crypto, secret.subarray(1))).toThrow(key);
    expect(() => hybridEncapsulate(crypto, publicKey.subarray(1))).toThrow(key);
    expect(() => hybridDecapsulate(crypto, secret, sent.ciphertext.subarray(1))).toThrow(
      ciphertext,
    );
    const low = (bytes: Uint8Array) => bytes.slice().fill(0, 1568);
    expect(() => hybridEncapsulate(crypto, low(publicKey))).toThrow(agreement);
    expect(() => hybridDecapsulate(crypto, secret, low(sent.ciphertext))).toThrow(agreement);
  });

  test('puts all that took part into the hash, and wipes it', () => {
    const hashed: Uint8Array[] = [];
    const inputs: Uint8Array[] = [];
    const watched: CryptoProvider = {
      ...crypto,
      sha3_384: (message) => {
        inputs.push(message);
        hashed.push(message.slice());
        return crypto.sha3_384(message);
      },
    };
    hybridDecapsulate(watched, secret, sent.ciphertext);
    const [message] = hashed;
    const label = utf8('gyre/v1/X25519MLKEM1024');
    expect(message).toHaveLength(32 + 32 + 1600 + 1600 + label.length);
    expect(message?.subarray(64, 1664)).toEqual(sent.ciphertext);
    expect(message?.subarray(1664, 3264)).toEqual(publicKey);
    expect(message?.subarray(3264)).toEqual(label);
    expect(inputs[0]?.every((byte) => byte === 0)).toBe(true);
  });
});

function encapsulated(crypto: CryptoProvider, key: Uint8Array) {
  try {
    return hybridEncapsulate(crypto, key);
  } catch (fault) {
    // A changed ML-KEM key may be out of range (FIPS 203 section 7.2).
    if (fault instanceof CryptoError && fault.code === 'KEY_INVALID') return undefined;
    throw fault;
  }
}
