/** Sealing, hashes and key derivation of the simulated provider: the laws that the real ones keep. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex, utf8 } from '#shared/crypto/bytes.ts';
import { sizes, type CryptoProvider } from '#shared/crypto/provider.ts';
import { simulatedCrypto } from '../../sim/cheap-crypto.ts';
import { drawsFrom } from '../../sim/seed.ts';

const maker = simulatedCrypto(drawsFrom(1));
const checker = simulatedCrypto(drawsFrom(2));
const both = [maker, checker];

const seed = (byte: number, length = 32) => new Uint8Array(length).fill(byte);
const flip = (bytes: Uint8Array, at: number, bit = 0) =>
  bytes.with(at, (bytes[at] ?? 0) ^ (1 << bit));
const onesOf = (byte: number): number => (byte === 0 ? 0 : (byte & 1) + onesOf(byte >> 1));
const message = utf8('the message');

describe('AEAD', () => {
  const exact = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

  test.each(['ChaCha20-Poly1305', 'AES-256-GCM'] as const)('%s', (algorithm) => {
    fc.assert(
      fc.property(
        fc.record({ key: exact(32), nonce: exact(12), aad: fc.uint8Array() }),
        fc.uint8Array({ maxLength: 100 }),
        (given, plaintext) => {
          const parameters = { algorithm, ...given };
          const ciphertext = maker.aeadSeal({ ...parameters, plaintext });
          expect(ciphertext).toHaveLength(plaintext.length + sizes.aead.tag);
          const open = (changes: object) =>
            checker.aeadOpen({ ...parameters, ciphertext, ...changes });
          expect(open({})).toEqual(plaintext);
          for (let at = 0; at < ciphertext.length; at += 1) {
            expect(open({ ciphertext: flip(ciphertext, at, at % 8) })).toBeUndefined();
          }
          expect(open({ ciphertext: ciphertext.subarray(0, 15) })).toBeUndefined();
          expect(open({ ciphertext: ciphertext.subarray(1) })).toBeUndefined();
          expect(open({ aad: new Uint8Array([...given.aad, 1]) })).toBeUndefined();
          expect(open({ key: flip(given.key, 31) })).toBeUndefined();
          expect(open({ nonce: flip(given.nonce, 11) })).toBeUndefined();
          const other = algorithm === 'AES-256-GCM' ? 'ChaCha20-Poly1305' : 'AES-256-GCM';
          expect(open({ algorithm: other })).toBeUndefined();
        },
      ),
      { numRuns: 50 },
    );
  });

  test('hides what it seals', () => {
    const parameters = {
      algorithm: 'AES-256-GCM',
      key: seed(1),
      nonce: seed(2, 12),
      aad: seed(0, 0),
    } as const;
    const sealed = maker.aeadSeal({ ...parameters, plaintext: new Uint8Array(65_536) });
    const counts = new Uint32Array(256);
    for (const byte of sealed) counts[byte] = (counts[byte] ?? 0) + 1;
    // 256 of each are to be expected, give or take six times 16.
    expect([Math.min(...counts) > 160, Math.max(...counts) < 352]).toEqual([true, true]);
  });

  test('asserts the sizes of key and nonce', () => {
    const input = { algorithm: 'AES-256-GCM', aad: seed(0), plaintext: seed(0) } as const;
    expect(() => maker.aeadSeal({ ...input, key: seed(0, 31), nonce: seed(0, 12) })).toThrow(
      'invariant',
    );
    expect(() => maker.aeadSeal({ ...input, key: seed(0), nonce: seed(0, 11) })).toThrow(
      'invariant',
    );
  });
});

describe('hashes and key derivation', () => {
  const functions: readonly [
    string,
    number,
    (crypto: CryptoProvider, m: Uint8Array) => Uint8Array,
  ][] = [
    ['sha256', 32, (crypto, m) => crypto.sha256(m)],
    ['sha3_256', 32, (crypto, m) => crypto.sha3_256(m)],
    ['sha3_384', 48, (crypto, m) => crypto.sha3_384(m)],
    ['sha3_512', 64, (crypto, m) => crypto.sha3_512(m)],
    ['blake3', 32, (crypto, m) => crypto.blake3(m)],
    ['hmacSha3_384', 48, (crypto, m) => crypto.hmacSha3_384(seed(2, 48), m)],
    [
      'hkdfSha256',
      76,
      (crypto, m) => crypto.hkdfSha256({ ikm: m, salt: m, info: m, outputBytes: 76 }),
    ],
  ];

  test.each(functions)(
    '%s has %i bytes, the same in every instance, others for others',
    (_name, length, work) => {
      fc.assert(
        fc.property(
          fc.uint8Array({ maxLength: 300 }),
          fc.uint8Array({ maxLength: 300 }),
          (left, right) => {
            const [first, second] = both.map((crypto) => toHex(work(crypto, left)));
            expect(first).toBe(second);
            expect(first).toHaveLength(2 * length);
            if (toHex(left) !== toHex(right)) expect(toHex(work(maker, right))).not.toBe(first);
          },
        ),
        { numRuns: 50 },
      );
      const large = seed(3, 1 << 18);
      expect(toHex(work(maker, large.subarray(0, 1000)))).not.toBe(
        toHex(work(maker, large.subarray(0, 1001))),
      );
    },
  );

  test('one changed bit anywhere changes about half of the digest', () => {
    const given = maker.randomBytes(100);
    const before = maker.blake3(given);
    let changed = 0;
    for (let bit = 0; bit < 800; bit += 1) {
      const after = maker.blake3(flip(given, bit >> 3, bit % 8));
      const bits = after.reduce((sum, byte, at) => sum + onesOf(byte ^ (before[at] ?? 0)), 0);
      expect(bits).toBeGreaterThan(70);
      changed += bits;
    }
    expect(Math.abs(changed / 800 - 128)).toBeLessThan(2);
  });

  test('short inputs, counted up, never meet', () => {
    const met = new Set<string>();
    for (let count = 0; count < 50_000; count += 1) {
      met.add(toHex(maker.sha3_256(Uint8Array.of(count, count >> 8, 0)).subarray(0, 8)));
    }
    for (let length = 0; length < 200; length += 1) {
      met.add(toHex(maker.sha3_256(new Uint8Array(length)).subarray(0, 8)));
    }
    // Three zeros are among both.
    expect(met.size).toBe(50_000 + 200 - 1);
  });

  test('none of them agrees with another', () => {
    const starts = functions.map(([, , work]) => toHex(work(maker, message).subarray(0, 32)));
    expect(new Set(starts).size).toBe(functions.length);
  });

  test("a large message is hashed whole, and its digest is nobody else's memory", () => {
    const large = seed(3, 1 << 18);
    const digest = maker.blake3(large);
    const kept = digest.slice();
    expect(maker.blake3(flip(large, large.length - 1))).not.toEqual(digest);
    digest.fill(0);
    expect(maker.blake3(large)).toEqual(kept);
  });

  test('key, salt and info are told apart, and the bounds of HKDF asserted', () => {
    const derive = (ikm: number, salt: number, info: number, outputBytes = 64) =>
      toHex(
        maker.hkdfSha256({
          ikm: seed(1, ikm),
          salt: seed(1, salt),
          info: seed(1, info),
          outputBytes,
        }),
      );
    expect(new Set([derive(3, 2, 1), derive(1, 2, 3), derive(2, 2, 2), derive(2, 1, 3)]).size).toBe(
      4,
    );
    expect(maker.hmacSha3_384(seed(1, 3), seed(1, 4))).not.toEqual(
      maker.hmacSha3_384(seed(1, 4), seed(1, 3)),
    );
    for (const bad of [
      () => derive(1, 1, 1025),
      () => derive(1, 1, 1, 0),
      () => derive(1, 1, 1, 8161),
    ]) {
      expect(bad).toThrow('invariant');
    }
    expect(derive(1, 1, 1024, 8160)).toHaveLength(16_320);
  });
});
