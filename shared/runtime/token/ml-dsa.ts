/**
 * ML-DSA-87 (FIPS 204) from a 32-byte seed on node:crypto, and its verification from a raw public
 * key. The token child needs exactly this much, and the canary verifies with it outside the token.
 * Keys enter as DER with a fixed prefix (RFC 9881, the seed-only form): bytes that can be wiped,
 * where a JWK would be a string. OpenSSL's own copy lives until its KeyObject is collected.
 */
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

import { publicKeyBytes, seedBytes, signatureBytes } from './token.ts';

/** PrivateKeyInfo { 0, { id-ml-dsa-87 }, OCTET STRING { [0] seed } } up to the 32 bytes of the seed. */
const pkcs8SeedPrefix = Buffer.from('3034020100300b060960864801650304031304228020', 'hex');
/** SubjectPublicKeyInfo { { id-ml-dsa-87 }, BIT STRING } up to the 2,592 bytes of the key. */
const spkiPrefix = Buffer.from('30820a32300b060960864801650304031303820a2100', 'hex');

/** 4,627 bytes, hedged. `context` has 0 to 255 bytes. The seed is not wiped here. */
export function signWithSeed(
  seed: Uint8Array,
  message: Uint8Array,
  context: Uint8Array,
): Uint8Array {
  const signature = sign(null, message, { key: privateKeyOf(seed), context });
  assert(signature.length === signatureBytes, 'ML-DSA-87 signature has a wrong size');
  return signature;
}

/** The 2,592-byte public key of a seed. The seed is not wiped here. */
export function publicKeyOfSeed(seed: Uint8Array): Uint8Array {
  const spki = createPublicKey(privateKeyOf(seed)).export({ format: 'der', type: 'spki' });
  assert(spki.length === spkiPrefix.length + publicKeyBytes, 'ML-DSA-87 key has a wrong size');
  return new Uint8Array(spki.subarray(spkiPrefix.length));
}

/** False for anything that does not verify, wrong sizes included. */
export function verifySignature(
  publicKey: Uint8Array,
  message: Uint8Array,
  context: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (publicKey.length !== publicKeyBytes || signature.length !== signatureBytes) return false;
  const der = Buffer.concat([spkiPrefix, publicKey]);
  const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
  return verify(null, message, { key, context }, signature);
}

function privateKeyOf(seed: Uint8Array): KeyObject {
  assert(seed.length === seedBytes, 'ML-DSA seed has a wrong size');
  const der = Buffer.concat([pkcs8SeedPrefix, seed]);
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } finally {
    der.fill(0);
  }
}
