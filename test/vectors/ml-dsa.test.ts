/**
 * ML-DSA-87 (FIPS 204): Wycheproof's verification vectors through both providers, and the
 * accumulated test, which ties key generation and signing of one implementation to a published
 * digest and to the verification of the other.
 */
import { shake128 } from '@noble/hashes/sha3.js';
import { describe, expect, test } from 'vitest';
import { CryptoError, InvariantError } from '#shared/crypto/errors.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import type { CryptoProvider, VerifyInput } from '#shared/crypto/provider.ts';
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
  const native = createNativeProvider();
  const deterministic = createNobleProvider({ randomBytes: (count) => new Uint8Array(count) });
  const seeds = shake128.create({});
  const accumulator = shake128.create({ dkLen: 32 });
  const empty = { message: new Uint8Array(), context: new Uint8Array() };
  for (let iteration = 0; iteration < 100; iteration += 1) {
    const key = deterministic.importSigningSeed(seeds.xof(32));
    const signature = deterministic.sign(key, empty);
    const verifyKey = native.importVerifyKey(key.publicKey.raw);
    expect(native.verify(verifyKey, { ...empty, signature })).toBe(true);
    accumulator.update(key.publicKey.raw).update(signature);
  }
  expect(toHex(accumulator.digest())).toBe(
    '8c3ad714777622b8f21ce31bb35f71394f23bc0fcf3c78ace5d608990f3b061b',
  );
});
