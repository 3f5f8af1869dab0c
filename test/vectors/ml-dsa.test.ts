/**
 * ML-DSA-87 (FIPS 204): Wycheproof's verification vectors through both providers, and the
 * accumulated test, which ties key generation and signing of one implementation to a published
 * digest and to the verification of the other.
 */
import { describe, expect, test } from 'vitest';
import { CryptoError, InvariantError } from '#shared/crypto/errors.ts';
import type { CryptoProvider, VerifyInput } from '#shared/crypto/provider.ts';
import { accumulate, accumulatedDigests } from './accumulated-ml-dsa.ts';
import { haveVectors, hex, providers, readVectors } from './vector-files.ts';

const file = 'wycheproof-mldsa_87_verify_test.json.gz';

interface Group {
  readonly publicKey: string;
}
interface Case {
  readonly tcId: number;
  readonly comment: string;
  readonly msg: string;
  readonly ctx?: string;
  readonly sig: string;
  readonly result: 'valid' | 'invalid';
}

function verifies(crypto: CryptoProvider, publicKey: Uint8Array, input: VerifyInput): boolean {
  try {
    return crypto.verify(crypto.importVerifyKey(publicKey), input);
  } catch (fault) {
    if (fault instanceof CryptoError && fault.code === 'KEY_INVALID') return false;
    // A context beyond 255 bytes never leaves the caller: both providers assert it.
    if (fault instanceof InvariantError && input.context.length > 255) return false;
    throw fault;
  }
}

describe.runIf(haveVectors(file))('Wycheproof ML-DSA-87 verify, all 241 cases', () => {
  test.each(providers)('$name', (crypto) => {
    let count = 0;
    for (const { group, tests } of readVectors<Group, Case>(file)) {
      for (const { tcId, comment, msg, ctx = '', sig, result } of tests) {
        count += 1;
        const input = { message: hex(msg), context: hex(ctx), signature: hex(sig) };
        const holds = verifies(crypto, hex(group.publicKey), input);
        expect(holds, `case ${tcId}: ${comment}`).toBe(result === 'valid');
      }
    }
    expect(count).toBe(241);
  });
});

test('accumulated ML-DSA-87, 100 iterations: noble makes, native verifies', () => {
  expect(accumulate(100)).toEqual({ digest: accumulatedDigests[100], verified: 100 });
});
