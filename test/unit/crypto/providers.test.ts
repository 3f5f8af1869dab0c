/**
 * The two providers against each other: what one makes the other accepts, byte for byte where the
 * algorithm is deterministic; and both refuse the same things in the same way.
 */
import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex, utf8 } from '#shared/crypto/bytes.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import { kemSizes, sizes } from '#shared/crypto/provider.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';

const native = createNativeProvider();
const noble = createNobleProvider();
const both = [native, noble] as const;
const pairs = [
  { maker: native, checker: noble, name: 'native makes, noble checks' },
  { maker: noble, checker: native, name: 'noble makes, native checks' },
  { maker: native, checker: native, name: 'native alone' },
  { maker: noble, checker: noble, name: 'noble alone' },
] as const;

const seed = (byte: number, length = 32) => new Uint8Array(length).fill(byte);
const flip = (bytes: Uint8Array, at: number) => bytes.with(at, (bytes[at] ?? 0) ^ 1);

describe('ML-DSA-87', () => {
  test('one seed gives one public key and key id', () => {
    const keys = both.map((crypto) => crypto.importSigningSeed(seed(7)).publicKey);
    expect(keys[0]?.raw).toEqual(keys[1]?.raw);
    expect(keys[0]?.raw).toHaveLength(sizes.mlDsa87.publicKey);
    expect(keys[0]?.keyIdHex).toBe(keys[1]?.keyIdHex);
    expect(keys[0]?.keyId).toEqual(native.sha3_256(keys[0]?.raw ?? new Uint8Array()));
  });

  describe.each(pairs)('$name', ({ maker, checker }) => {
    const key = maker.importSigningSeed(seed(1));
    const verifyKey = checker.importVerifyKey(key.publicKey.raw);
    const other = checker.importVerifyKey(maker.importSigningSeed(seed(2)).publicKey.raw);
    const message = utf8('the message');
    const context = utf8('gyre/v1/a');

    test('signature with context verifies, and with nothing changed only', () => {
      const signature = maker.sign(key, { message, context });
      expect(signature).toHaveLength(sizes.mlDsa87.signature);
      const holds = { message, context, signature };
      expect(checker.verify(verifyKey, holds)).toBe(true);
      expect(checker.verify(other, holds)).toBe(false);
      expect(checker.verify(verifyKey, { ...holds, message: flip(message, 0) })).toBe(false);
      expect(checker.verify(verifyKey, { ...holds, context: utf8('gyre/v1/b') })).toBe(false);
      expect(checker.verify(verifyKey, { ...holds, context: new Uint8Array() })).toBe(false);
      for (const at of [0, 2000, 4626]) {
        expect(checker.verify(verifyKey, { ...holds, signature: flip(signature, at) })).toBe(false);
      }
      for (const wrong of [signature.subarray(1), new Uint8Array(), new Uint8Array(4628)]) {
        expect(checker.verify(verifyKey, { ...holds, signature: wrong })).toBe(false);
      }
    });

    test('asynchronously too, with the longest context and the empty message', async () => {
      const input = { message: new Uint8Array(), context: new Uint8Array(255).fill(9) };
      const signature = await maker.signAsync(key, input);
      expect(await checker.verifyAsync(verifyKey, { ...input, signature })).toBe(true);
      expect(await checker.verifyAsync(other, { ...input, signature })).toBe(false);
    });
  });

  test.each(both)('$name signs hedged: twice the same is two signatures', (crypto) => {
    const key = crypto.importSigningSeed(seed(1));
    const input = { message: utf8('m'), context: new Uint8Array() };
    expect(toHex(crypto.sign(key, input))).not.toBe(toHex(crypto.sign(key, input)));
  });

  test.each(both)('$name refuses wrong sizes', async (crypto) => {
    const key = crypto.importSigningSeed(seed(1));
    const refusesKey = expect.objectContaining({ code: 'KEY_INVALID' });
    expect(() => crypto.importSigningSeed(seed(1, 31))).toThrow(refusesKey);
    expect(() => crypto.importVerifyKey(new Uint8Array(2591))).toThrow(refusesKey);
    const input = { message: utf8('m'), context: new Uint8Array(256) };
    expect(() => crypto.sign(key, input)).toThrow('255');
    await expect(crypto.signAsync(key, input)).rejects.toThrow('255');
  });

  test('the native cache of public keys is bounded and gives the same handle again', () => {
    const raw = native.importSigningSeed(seed(3)).publicKey.raw;
    const first = native.importVerifyKey(raw);
    expect(native.importVerifyKey(new Uint8Array(raw))).toBe(first);
    for (let index = 0; index < 300; index += 1) {
      const other = new Uint8Array(raw);
      new DataView(other.buffer).setUint16(0, index);
      native.importVerifyKey(other);
    }
    expect(native.importVerifyKey(raw)).not.toBe(first);
  });
});

describe('private keys', () => {
  test.each(both)('of $name print as [secret] and die by wipe', (crypto) => {
    const keys = [
      crypto.importSigningSeed(seed(0xab)),
      crypto.importKemSeed(seed(0xab, 64)),
      crypto.importX25519Secret(seed(0xab)),
    ];
    for (const key of keys) {
      expect(JSON.stringify({ key })).toBe('{"key":"[secret]"}');
      expect(inspect({ key }, { depth: 9, showHidden: true })).not.toContain('171');
      expect(`${inspect(key)} ${String(key)}`).toBe('[secret] [secret]');
    }
    const input = { message: utf8('m'), context: new Uint8Array() };
    const key = crypto.importSigningSeed(seed(1));
    key.wipe();
    expect(() => crypto.sign(key, input)).toThrow('invariant');
  });

  test('of one provider are useless in the other', () => {
    const input = { message: utf8('m'), context: new Uint8Array() };
    expect(() => noble.sign(native.importSigningSeed(seed(1)), input)).toThrow('invariant');
    expect(() => native.sign(noble.importSigningSeed(seed(1)), input)).toThrow('invariant');
  });
});

describe.each(['ML-KEM-1024', 'ML-KEM-768'] as const)('%s', (algorithm) => {
  const bytes = kemSizes[algorithm];

  describe.each(pairs)('$name', ({ maker, checker }) => {
    test('encapsulate and decapsulate', () => {
      const key = checker.importKemSeed(seed(5, 64), algorithm);
      const publicKey = maker.importKemPublicKey(key.publicKey.raw, algorithm);
      expect(publicKey).toMatchObject({ algorithm, keyIdHex: key.publicKey.keyIdHex });
      const { ciphertext, sharedSecret } = maker.encapsulate(publicKey);
      expect([ciphertext.length, sharedSecret.length]).toEqual([bytes.ciphertext, 32]);
      expect(checker.decapsulate(key, ciphertext)).toEqual(sharedSecret);
      const rejected = checker.decapsulate(key, flip(ciphertext, 0));
      expect(rejected).toHaveLength(32);
      expect(rejected).not.toEqual(sharedSecret);
    });
  });

  test('implicit rejection is the same secret in both', () => {
    const ciphertext = seed(0x5a, bytes.ciphertext);
    const secrets = both.map((crypto) =>
      toHex(crypto.decapsulate(crypto.importKemSeed(seed(5, 64), algorithm), ciphertext)),
    );
    expect(secrets[0]).toBe(secrets[1]);
  });

  test.each(both)('$name refuses what is no key or ciphertext', (crypto) => {
    const key = crypto.importKemSeed(seed(5, 64), algorithm);
    const refusesKey = expect.objectContaining({ code: 'KEY_INVALID' });
    expect(() => crypto.importKemSeed(seed(5, 63), algorithm)).toThrow(refusesKey);
    const short = new Uint8Array(bytes.publicKey - 1);
    expect(() => crypto.importKemPublicKey(short, algorithm)).toThrow(refusesKey);
    const outOfRange = seed(0xff, bytes.publicKey);
    expect(() => crypto.importKemPublicKey(outOfRange, algorithm)).toThrow(refusesKey);
    const refusesCiphertext = expect.objectContaining({ code: 'CIPHERTEXT_INVALID' });
    for (const length of [bytes.ciphertext - 1, algorithm === 'ML-KEM-768' ? 1568 : 1088]) {
      expect(() => crypto.decapsulate(key, new Uint8Array(length))).toThrow(refusesCiphertext);
    }
  });
});

test.each(both)('$name takes ML-KEM-1024 where nothing else is said', (crypto) => {
  const key = crypto.importKemSeed(seed(5, 64));
  expect(key.algorithm).toBe('ML-KEM-1024');
  expect(crypto.importKemPublicKey(key.publicKey.raw).algorithm).toBe('ML-KEM-1024');
  const weak = crypto.importKemSeed(seed(5, 64), 'ML-KEM-768');
  expect(() => crypto.importKemPublicKey(weak.publicKey.raw)).toThrow('1568');
});

describe('X25519', () => {
  test('both ends and both providers agree', () => {
    const agreed = both.flatMap((mine) =>
      both.map((theirs) =>
        toHex(
          mine.x25519(
            mine.importX25519Secret(seed(3)),
            mine.importX25519PublicKey(theirs.importX25519Secret(seed(4)).publicKey.raw),
          ),
        ),
      ),
    );
    expect(new Set(agreed).size).toBe(1);
    const back = native.x25519(
      native.importX25519Secret(seed(4)),
      native.importX25519Secret(seed(3)).publicKey,
    );
    expect(toHex(back)).toBe(agreed[0]);
  });

  test.each(both)('$name refuses a point of low order', (crypto) => {
    const key = crypto.importX25519Secret(seed(3));
    const zero = crypto.importX25519PublicKey(new Uint8Array(32));
    const failed = expect.objectContaining({ code: 'KEY_AGREEMENT_FAILED' });
    expect(() => crypto.x25519(key, zero)).toThrow(failed);
  });
});

describe('AEAD', () => {
  const bytes = (max: number) => fc.uint8Array({ maxLength: max });

  test.each(['ChaCha20-Poly1305', 'AES-256-GCM'] as const)('%s', (algorithm) => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.uint8Array({ minLength: 12, maxLength: 12 }),
        bytes(100),
        bytes(300),
        fc.nat(),
        (key, nonce, aad, plaintext, at) => {
          const parameters = { algorithm, key, nonce, aad };
          const ciphertext = native.aeadSeal({ ...parameters, plaintext });
          expect(noble.aeadSeal({ ...parameters, plaintext })).toEqual(ciphertext);
          expect(ciphertext).toHaveLength(plaintext.length + sizes.aead.tag);
          const changed = flip(ciphertext, at % ciphertext.length);
          for (const crypto of both) {
            const open = (changes: object) =>
              crypto.aeadOpen({ ...parameters, ciphertext, ...changes });
            expect(open({})).toEqual(plaintext);
            expect(open({ ciphertext: changed })).toBeUndefined();
            expect(open({ aad: new Uint8Array([...aad, 1]) })).toBeUndefined();
            expect(open({ ciphertext: ciphertext.subarray(0, 15) })).toBeUndefined();
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  test.each(both)('$name asserts the sizes of key and nonce', (crypto) => {
    const input = { algorithm: 'AES-256-GCM', aad: seed(0), plaintext: seed(0) } as const;
    const seal = (key: number, nonce: number) => () =>
      crypto.aeadSeal({ ...input, key: seed(0, key), nonce: seed(0, nonce) });
    expect(seal(31, 12)).toThrow('invariant');
    expect(seal(32, 11)).toThrow('invariant');
    expect(seal(32, 12)).not.toThrow();
  });
});

describe('hashes and key derivation', () => {
  const functions: readonly (readonly [
    string,
    (crypto: CryptoProvider, m: Uint8Array) => Uint8Array,
  ])[] = [
    ['sha256', (crypto, m) => crypto.sha256(m)],
    ['sha3_256', (crypto, m) => crypto.sha3_256(m)],
    ['sha3_384', (crypto, m) => crypto.sha3_384(m)],
    ['sha3_512', (crypto, m) => crypto.sha3_512(m)],
    ['blake3', (crypto, m) => crypto.blake3(m)],
    ['hmacSha3_384', (crypto, m) => crypto.hmacSha3_384(seed(2, 48), m)],
    ['hmacSha3_384 with a long key', (crypto, m) => crypto.hmacSha3_384(seed(2, 300), m)],
    ['hkdfSha256', (crypto, m) => crypto.hkdfSha256({ ikm: m, salt: m, info: m, outputBytes: 76 })],
  ];
  test.each(functions)('%s is the same in both', (_name, hash) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (message) => {
        expect(hash(native, message)).toEqual(hash(noble, message));
      }),
      { numRuns: 30 },
    );
  });

  test('BLAKE3 is the same in both at every edge of its blocks, chunks and buffers', () => {
    // Block 64 bytes, chunk 1,024, buffer of the native one 16,384.
    const edges = [0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 16_383, 16_384, 16_385, 40_000];
    fc.assert(
      fc.property(
        fc.oneof(fc.constantFrom(...edges), fc.nat({ max: 20_000 })),
        fc.nat(),
        (length, salt) => {
          const message = Uint8Array.from({ length }, (_, index) => (index * 31 + salt) & 0xff);
          const digest = native.blake3(message);
          expect(digest).toEqual(noble.blake3(message));
          // Neither the last message nor the next one touches it.
          const copy = digest.slice();
          native.blake3(message.subarray(1));
          expect(digest).toEqual(copy);
        },
      ),
      { numRuns: 60, examples: edges.map((edge) => [edge, 0]) },
    );
  });

  test('native BLAKE3 takes a view into a larger buffer and stays within its memory', () => {
    const buffer = Uint8Array.from({ length: 200 }, (_, index) => index);
    expect(native.blake3(buffer.subarray(7, 150))).toEqual(noble.blake3(buffer.slice(7, 150)));
    const large = new Uint8Array(1 << 20).fill(3);
    expect(native.blake3(large)).toEqual(noble.blake3(large));
  });

  test.each(both)(
    '$name gives the published digests of the empty message and of "abc"',
    (crypto) => {
      const empty = new Uint8Array();
      expect(toHex(crypto.sha256(utf8('abc')))).toBe(
        'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
      );
      expect(toHex(crypto.sha3_256(empty))).toBe(
        'a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a',
      );
      expect(toHex(crypto.blake3(empty))).toBe(
        'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262',
      );
    },
  );

  test.each(both)('$name asserts the bounds of HKDF', (crypto) => {
    const derive = (infoBytes: number, outputBytes: number) => () =>
      crypto.hkdfSha256({ ikm: seed(1), salt: seed(1), info: seed(1, infoBytes), outputBytes });
    for (const bad of [derive(1025, 32), derive(0, 0), derive(0, 8161), derive(0, 1.5)]) {
      expect(bad).toThrow('invariant');
    }
    expect(derive(1024, 8160)).not.toThrow();
  });
});

test.each([
  { name: 'native', make: createNativeProvider },
  { name: 'noble', make: createNobleProvider },
])('$name draws randomBytes from its entropy port', ({ make }) => {
  const crypto = make({ randomBytes: (count) => seed(0x42, count) });
  expect(crypto.randomBytes(5)).toEqual(seed(0x42, 5));
  expect(toHex(native.randomBytes(32))).not.toBe(toHex(native.randomBytes(32)));
});
