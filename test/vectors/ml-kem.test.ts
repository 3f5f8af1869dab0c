/**
 * ML-KEM (FIPS 203): Wycheproof's decapsulation vectors of ML-KEM-1024 and NIST's ACVP key generation
 * of both parameter sets, through both providers.
 */
import { describe, expect, test } from 'vitest';
import { toHex } from '#shared/crypto/bytes.ts';
import { CryptoError } from '#shared/crypto/errors.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { haveVectors, hex, providers, readVectors } from './vector-files.ts';

const wycheproof = 'wycheproof-mlkem_1024_test.json.gz';
const prompts = 'acvp-ML-KEM-keyGen-FIPS203-prompt.json.gz';
const expected = 'acvp-ML-KEM-keyGen-FIPS203-expectedResults.json.gz';

interface Case {
  readonly tcId: number;
  readonly comment?: string;
  readonly seed: string;
  readonly ek?: string;
  readonly c: string;
  readonly K: string;
  readonly result: 'valid' | 'invalid';
}

interface Outcome {
  readonly ek?: string;
  readonly K?: string;
  readonly code?: 'refused';
}

function decapsulate(
  crypto: CryptoProvider,
  input: { readonly seed: Uint8Array; readonly ciphertext: Uint8Array },
): Outcome {
  try {
    const key = crypto.importKemSeed(input.seed);
    return {
      ek: toHex(key.publicKey.raw),
      K: toHex(crypto.decapsulate(key, input.ciphertext)),
    };
  } catch (fault) {
    if (fault instanceof CryptoError) return { code: 'refused' };
    throw fault;
  }
}

describe.runIf(haveVectors(wycheproof))('Wycheproof ML-KEM-1024, all 193 cases', () => {
  test.each(providers)('$name', (crypto) => {
    let count = 0;
    for (const { tests } of readVectors<object, Case>(wycheproof)) {
      for (const { tcId, comment = '', seed, ek, c, K, result } of tests) {
        count += 1;
        const outcome = decapsulate(crypto, { seed: hex(seed), ciphertext: hex(c) });
        const wanted = result === 'invalid' ? 'refused' : { ek: ek ?? outcome.ek, K };
        expect(outcome.code ?? outcome, `case ${tcId}: ${comment}`).toEqual(wanted);
      }
    }
    expect(count).toBe(193);
  });
});

describe.runIf(haveVectors(prompts, expected))('ACVP ML-KEM key generation', () => {
  const keys = () =>
    new Map(
      readVectors<object, { tcId: number; ek: string }>(expected).flatMap(({ tests }) =>
        tests.map(({ tcId, ek }) => [tcId, ek.toLowerCase()] as const),
      ),
    );
  const groups = () =>
    readVectors<{ parameterSet: string }, { tcId: number; d: string; z: string }>(prompts);

  describe.each(['ML-KEM-1024', 'ML-KEM-768'] as const)('%s, all 25 cases', (algorithm) => {
    test.each(providers)('$name', (crypto) => {
      const wanted = keys();
      const tests = groups()
        .filter(({ group }) => group.parameterSet === algorithm)
        .flatMap((one) => one.tests);
      expect(tests).toHaveLength(25);
      for (const { tcId, d, z } of tests) {
        const key = crypto.importKemSeed(hex(d + z), algorithm);
        expect(toHex(key.publicKey.raw), `case ${tcId}`).toBe(wanted.get(tcId));
      }
    });
  });
});
