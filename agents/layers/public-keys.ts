/**
 * What can be done with the public half of a layer's key alone: its digest, its size, the check of
 * an activation proof, an encapsulation. Members that only verify a slot use nothing else.
 */

import type { KeyKind } from '#schemas/layers.ts';
import { toHex, utf8 } from '#shared/crypto/bytes.ts';
import { CryptoError } from '#shared/crypto/errors.ts';
import { sizes, type CryptoProvider } from '#shared/crypto/provider.ts';
import { hybridEncapsulate, hybridSizes } from '#shared/crypto/hybrid-kem.ts';

/** Bytes of the raw public half; undefined for symmetric kinds. */
export const publicKeyBytes: Readonly<Record<KeyKind, number | undefined>> = {
  signature: sizes.mlDsa87.publicKey,
  kem: sizes.mlKem1024.publicKey,
  'hybrid-kem': hybridSizes.publicKey,
  mac: undefined,
  aead: undefined,
};

const activationContext = utf8('gyre/v1/activation');

/** What the new key signs when it becomes primary: the id of the command that made it so. */
export function activationChallenge(commandId: string): Uint8Array {
  return utf8(commandId);
}

/** SHA3-256 in hexadecimal: the id of a key, from its public half or its commitment. */
export function publicDigestOf(crypto: CryptoProvider, publicKey: Uint8Array): string {
  return toHex(crypto.sha3_256(publicKey));
}

/** ML-DSA-87 over the challenge, under a context that no other use of the key has. */
export function signActivation(
  crypto: CryptoProvider,
  seed: Uint8Array,
  challenge: Uint8Array,
): Uint8Array {
  const key = crypto.importSigningSeed(seed);
  try {
    return crypto.sign(key, { message: challenge, context: activationContext });
  } finally {
    key.wipe();
  }
}

export function verifyActivation(
  crypto: CryptoProvider,
  publicKey: Uint8Array,
  input: { readonly challenge: Uint8Array; readonly proof: Uint8Array },
): boolean {
  const key = importable(() => crypto.importVerifyKey(publicKey));
  if (key === undefined) return false;
  const { challenge, proof } = input;
  return crypto.verify(key, { message: challenge, context: activationContext, signature: proof });
}

/** Whether `publicKey` is a usable public half of `kind`: right size, and inside its domain. */
export function isUsablePublicKey(
  crypto: CryptoProvider,
  kind: KeyKind,
  publicKey: Uint8Array,
): boolean {
  if (publicKeyBytes[kind] !== publicKey.length) return false;
  if (kind === 'signature')
    return importable(() => crypto.importVerifyKey(publicKey)) !== undefined;
  const made = importable(() =>
    kind === 'kem'
      ? crypto.encapsulate(crypto.importKemPublicKey(publicKey))
      : hybridEncapsulate(crypto, publicKey),
  );
  made?.sharedSecret.fill(0);
  return made !== undefined;
}

/** The result, or undefined where a key from outside is refused. */
function importable<Result>(work: () => Result): Result | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof CryptoError) return undefined;
    throw error;
  }
}
