/**
 * The hybrid KEM that the registry names X25519MLKEM1024: ML-KEM-1024 (FIPS 203) and X25519
 * (RFC 7748), bound together by one SHA3-384 over both shared secrets (ML-KEM first), both
 * ciphertexts, both public keys and a label; its first 32 bytes are the shared secret. It holds as
 * long as one of the two does: nothing that took part is left out of the hash, so that the secret is
 * bound to the keys and ciphertexts of both. This is gyre's own KEM, not a TLS group.
 *
 * Secret 96 bytes: ML-KEM seed d ‖ z (64) ‖ X25519 secret (32). Public key 1,600 bytes: ML-KEM
 * (1,568) ‖ X25519 (32). Ciphertext 1,600 bytes: ML-KEM (1,568) ‖ ephemeral X25519 public key (32).
 */

import { concat, utf8 } from './bytes.ts';
import { CryptoError } from './errors.ts';
import type { KemSecretKey, X25519SecretKey } from './key-handle.ts';
import { sizes } from './provider.ts';
import type { CryptoProvider, Encapsulated } from './provider.ts';

const mlKem = sizes.mlKem1024;
const curve = sizes.x25519;
const label = utf8('gyre/v1/X25519MLKEM1024');

export const hybridSizes = {
  secret: mlKem.seed + curve.secretKey,
  publicKey: mlKem.publicKey + curve.publicKey,
  ciphertext: mlKem.ciphertext + curve.publicKey,
  sharedSecret: 32,
} as const;

/** Public half (1,600 bytes) of a 96-byte secret. */
export function hybridPublicKey(crypto: CryptoProvider, secret: Uint8Array): Uint8Array {
  return withSecretKeys(crypto, secret, (keys) =>
    concat(keys.mlKem.publicKey.raw, keys.x25519.publicKey.raw),
  );
}

/** A fresh shared secret of 32 bytes. @throws CryptoError KEY_INVALID, KEY_AGREEMENT_FAILED */
export function hybridEncapsulate(crypto: CryptoProvider, publicKey: Uint8Array): Encapsulated {
  if (publicKey.length !== hybridSizes.publicKey) {
    throw new CryptoError('KEY_INVALID', 'a hybrid public key has 1,600 bytes');
  }
  const mlKemKey = crypto.importKemPublicKey(publicKey.subarray(0, mlKem.publicKey));
  const peer = crypto.importX25519PublicKey(publicKey.subarray(mlKem.publicKey));
  // Drawn in this order, the ephemeral X25519 secret first, so that vectors can say what was drawn.
  const ephemeralSecret = crypto.randomBytes(curve.secretKey);
  const ephemeral = crypto.importX25519Secret(ephemeralSecret);
  ephemeralSecret.fill(0);
  const first = crypto.encapsulate(mlKemKey);
  try {
    const second = crypto.x25519(ephemeral, peer);
    const ciphertext = concat(first.ciphertext, ephemeral.publicKey.raw);
    const secrets = { mlKem: first.sharedSecret, x25519: second };
    return { ciphertext, sharedSecret: combine(crypto, secrets, ciphertext, publicKey) };
  } finally {
    first.sharedSecret.fill(0);
    ephemeral.wipe();
  }
}

/** The shared secret of 32 bytes. @throws CryptoError CIPHERTEXT_INVALID, KEY_AGREEMENT_FAILED */
export function hybridDecapsulate(
  crypto: CryptoProvider,
  secret: Uint8Array,
  ciphertext: Uint8Array,
): Uint8Array {
  if (ciphertext.length !== hybridSizes.ciphertext) {
    throw new CryptoError('CIPHERTEXT_INVALID', 'a hybrid ciphertext has 1,600 bytes');
  }
  return withSecretKeys(crypto, secret, (keys) => {
    // The agreement first: it is the one that can refuse.
    const peer = crypto.importX25519PublicKey(ciphertext.subarray(mlKem.ciphertext));
    const second = crypto.x25519(keys.x25519, peer);
    const first = crypto.decapsulate(keys.mlKem, ciphertext.subarray(0, mlKem.ciphertext));
    const publicKey = concat(keys.mlKem.publicKey.raw, keys.x25519.publicKey.raw);
    return combine(crypto, { mlKem: first, x25519: second }, ciphertext, publicKey);
  });
}

function withSecretKeys<Result>(
  crypto: CryptoProvider,
  secret: Uint8Array,
  use: (keys: { readonly mlKem: KemSecretKey; readonly x25519: X25519SecretKey }) => Result,
): Result {
  const keys = {
    mlKem: crypto.importKemSeed(secret.subarray(0, mlKem.seed)),
    x25519: crypto.importX25519Secret(secret.subarray(mlKem.seed)),
  };
  try {
    return use(keys);
  } finally {
    keys.mlKem.wipe();
    keys.x25519.wipe();
  }
}

/** Every part has a fixed length, so that joining them keeps them apart. Wipes the secrets. */
function combine(
  crypto: CryptoProvider,
  secrets: { readonly mlKem: Uint8Array; readonly x25519: Uint8Array },
  ciphertext: Uint8Array,
  publicKey: Uint8Array,
): Uint8Array {
  const input = concat(secrets.mlKem, secrets.x25519, ciphertext, publicKey, label);
  const digest = crypto.sha3_384(input);
  const sharedSecret = digest.slice(0, hybridSizes.sharedSecret);
  for (const secret of [input, digest, secrets.mlKem, secrets.x25519]) secret.fill(0);
  return sharedSecret;
}
