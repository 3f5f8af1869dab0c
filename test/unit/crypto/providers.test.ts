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
import { sizes } from '#shared/crypto/provider.ts';
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

describe('ML-KEM-1024', () => {
  describe.each(pairs)('$name', ({ maker, checker }) => {
    test('encapsulate and decapsulate', () => {
      const key = checker.importKemSeed(seed(5, 64));
      const publicKey = maker.importKemPublicKey(key.publicKey.raw);
      expect(publicKey.keyIdHex).toBe(key.publicKey.keyIdHex);
      const { ciphertext, sharedSecret } = maker.encapsulate(publicKey);
      expect([ciphertext.length, sharedSecret.length]).toEqual([1568, 32]);
      expect(checker.decapsulate(key, ciphertext)).toEqual(sharedSecret);
      const rejected = checker.decapsulate(key, flip(ciphertext, 0));
      expect(rejected).toHaveLength(32);
      expect(rejected).not.toEqual(sharedSecret);
    });
  });

  test('implicit rejection is the same secret in both', () => {
    const ciphertext = seed(0x5a, 1568);
    const secrets = both.map((crypto) =>
      toHex(crypto.decapsulate(crypto.importKemSeed(seed(5, 64)), ciphertext)),
    );
    expect(secrets[0]).toBe(secrets[1]);
  });

  test.each(both)('$name refuses what is no key or ciphertext', (crypto) => {
    const key = crypto.importKemSeed(seed(5, 64));
    const refusesKey = expect.objectContaining({ code: 'KEY_INVALID' });
    expect(() => crypto.importKemSeed(seed(5, 63))).toThrow(refusesKey);
    expect(() => crypto.importKemPublicKey(new Uint8Array(1567))).toThrow(refusesKey);
    expect(() => crypto.importKemPublicKey(seed(0xff, 1568))).toThrow(refusesKey);
    const short = expect.objectContaining({ code: 'CIPHERTEXT_INVALID' });
    expect(() => crypto.decapsulate(key, new Uint8Array(1567))).toThrow(short);
  });
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
