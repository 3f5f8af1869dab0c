/**
 * The accumulated test of ML-DSA-87: seeds come out of one SHAKE128, and each key's public half and
 * deterministic signature of the empty message go into another, whose digest is published for a
 * number of iterations. noble makes both halves, because OpenSSL signs only hedged; native verifies.
 */
import { shake128 } from '@noble/hashes/sha3.js';
import { toHex } from '#shared/crypto/bytes.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';

/** Published digests by iterations. */
export const accumulatedDigests = {
  100: '8c3ad714777622b8f21ce31bb35f71394f23bc0fcf3c78ace5d608990f3b061b',
  10_000: '80a8cf39317f7d0be0e24972c51ac152bd2a3e09bc0c32ce29dd82c4e7385e60',
} as const;

export interface Accumulated {
  readonly digest: string;
  /** How many of the signatures the native provider took. */
  readonly verified: number;
}

export function accumulate(iterations: number): Accumulated {
  const native = createNativeProvider();
  const deterministic = createNobleProvider({ randomBytes: (count) => new Uint8Array(count) });
  const seeds = shake128.create({});
  const accumulator = shake128.create({ dkLen: 32 });
  const empty = { message: new Uint8Array(), context: new Uint8Array() };
  let verified = 0;
  for (let iteration = 0; iteration < iterations; iteration += 1) {
    const key = deterministic.importSigningSeed(seeds.xof(32));
    const signature = deterministic.sign(key, empty);
    const verifyKey = native.importVerifyKey(key.publicKey.raw);
    if (native.verify(verifyKey, { ...empty, signature })) verified += 1;
    accumulator.update(key.publicKey.raw).update(signature);
  }
  return { digest: toHex(accumulator.digest()), verified };
}
