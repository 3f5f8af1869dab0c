/**
 * The signature under a healing claim by slot 7/healing-signature: ML-DSA-87 (FIPS 204) over the claim
 * in canonical MessagePack, context "gyre/v1/healing". It stands inside an event that layer 7's agent
 * signs as well: two keys in two places, the one of them turned by rotations.
 */

import type { HealingActionRequested, HealingClaim } from '#schemas/healing.ts';
import { toHex, utf8 } from './bytes.ts';
import { encodeCanonical } from './canonical-msgpack.ts';
import type { CryptoProvider } from './provider.ts';

export const healingContext: Uint8Array = utf8('gyre/v1/healing');

/** What is signed. */
export function healingMessage(claim: HealingClaim): Uint8Array {
  return encodeCanonical(claim, { floats: true });
}

/** Whether the signature holds under one of these keys (SHA3-256 of their public halves). */
export function isHealingSigned(
  crypto: CryptoProvider,
  { claim, signature }: HealingActionRequested,
  accepted: ReadonlySet<string>,
): boolean {
  const { keyId, publicKey, value } = signature;
  if (!accepted.has(keyId) || toHex(crypto.sha3_256(publicKey)) !== keyId) return false;
  return crypto.verify(crypto.importVerifyKey(publicKey), {
    message: healingMessage(claim),
    context: healingContext,
    signature: value,
  });
}
