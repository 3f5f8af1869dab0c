/** ChaCha20-Poly1305, HKDF-SHA256 and X25519: Wycheproof's vectors through both providers. */
import { describe, expect, test } from 'vitest';
import { concat, toHex } from '#shared/crypto/bytes.ts';
import { CryptoError, InvariantError } from '#shared/crypto/errors.ts';
import { haveVectors, hex, providers, readVectors } from './vector-files.ts';

const chacha = 'wycheproof-chacha20_poly1305_test.json.gz';
const hkdf = 'wycheproof-hkdf_sha256_test.json.gz';
const xdh = 'wycheproof-x25519_test.json.gz';

/** A size that the provider asserts, or an agreement that leads to no secret. */
function outcomeOf<Result>(work: () => Result): Result | 'refused' {
  try {
    return work();
  } catch (fault) {
    if (fault instanceof InvariantError) return 'refused';
    if (fault instanceof CryptoError && fault.code === 'KEY_AGREEMENT_FAILED') return 'refused';
    throw fault;
  }
}

interface AeadCase {
  readonly tcId: number;
  readonly key: string;
  readonly iv: string;
  readonly aad: string;
  readonly msg: string;
  readonly ct: string;
  readonly tag: string;
  readonly result: 'valid' | 'invalid';
}

describe.runIf(haveVectors(chacha))('Wycheproof ChaCha20-Poly1305, all 325 cases', () => {
  test.each(providers)('$name', (crypto) => {
    const cases = readVectors<object, AeadCase>(chacha).flatMap(({ tests }) => tests);
    expect(cases).toHaveLength(325);
    for (const { tcId, key, iv, aad, msg, ct, tag, result } of cases) {
      const name = `case ${tcId}`;
      const parameters = {
        algorithm: 'ChaCha20-Poly1305',
        key: hex(key),
        nonce: hex(iv),
        aad: hex(aad),
      } as const;
      const ciphertext = concat(hex(ct), hex(tag));
      const opened = outcomeOf(() => crypto.aeadOpen({ ...parameters, ciphertext }));
      const sealed = outcomeOf(() => crypto.aeadSeal({ ...parameters, plaintext: hex(msg) }));
      const sizes = parameters.nonce.length === 12 ? undefined : 'refused';
      expect(opened, name).toEqual(sizes ?? (result === 'valid' ? hex(msg) : undefined));
      expect(sealed, name).toEqual(sizes ?? (result === 'valid' ? ciphertext : expect.anything()));
    }
  });
});

interface HkdfCase {
  readonly tcId: number;
  readonly ikm: string;
  readonly salt: string;
  readonly info: string;
  readonly size: number;
  readonly okm: string;
  readonly result: 'valid' | 'invalid';
}

describe.runIf(haveVectors(hkdf))('Wycheproof HKDF-SHA256, all 86 cases', () => {
  test.each(providers)('$name', (crypto) => {
    const cases = readVectors<object, HkdfCase>(hkdf).flatMap(({ tests }) => tests);
    expect(cases).toHaveLength(86);
    for (const { tcId, ikm, salt, info, size, okm, result } of cases) {
      const input = { ikm: hex(ikm), salt: hex(salt), info: hex(info), outputBytes: size };
      const outcome = outcomeOf(() => toHex(crypto.hkdfSha256(input)));
      expect(outcome, `case ${tcId}`).toBe(result === 'valid' ? okm : 'refused');
    }
  });
});

interface XdhCase {
  readonly tcId: number;
  readonly public: string;
  readonly private: string;
  readonly shared: string;
  readonly flags: readonly string[];
}

describe.runIf(haveVectors(xdh))('Wycheproof X25519, all 518 cases', () => {
  test.each(providers)('$name', (crypto) => {
    const cases = readVectors<object, XdhCase>(xdh).flatMap(({ tests }) => tests);
    expect(cases).toHaveLength(518);
    for (const { tcId, flags, shared, ...keys } of cases) {
      const outcome = outcomeOf(() =>
        toHex(
          crypto.x25519(
            crypto.importX25519Secret(hex(keys.private)),
            crypto.importX25519PublicKey(hex(keys.public)),
          ),
        ),
      );
      const agrees = !flags.includes('ZeroSharedSecret');
      expect(outcome, `case ${tcId}`).toBe(agrees ? shared : 'refused');
    }
  });
});
