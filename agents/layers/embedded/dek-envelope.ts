/**
 * Encryption under a key-encryption key: every object has a data key (DEK) of its own, used once and
 * wrapped by the slot's key with AES-256-GCM (NIST SP 800-38D), so that an object can later be
 * re-wrapped without touching its data.
 *
 * Layout: wrap nonce (12) ‖ wrapped DEK with tag (48) ‖ data nonce (12) ‖ ciphertext with tag. The
 * wrap is bound to slot and key id, the data to the caller's additional data as well: 88 bytes more
 * than the plaintext.
 */

import { concat, lengthPrefixed, utf8 } from '#shared/crypto/bytes.ts';
import { sizes, type CryptoProvider } from '#shared/crypto/provider.ts';

interface WrappingKey {
  readonly slot: string;
  readonly keyId: string;
  /** 32 bytes. */
  readonly secret: Uint8Array;
}

const algorithm = 'AES-256-GCM';
const { key: dekBytes, nonce: nonceBytes, tag: tagBytes } = sizes.aead;
const wrapBytes = nonceBytes + dekBytes + tagBytes;

/** How much longer an envelope is than its plaintext. */
export const envelopeOverheadBytes = wrapBytes + nonceBytes + tagBytes;

export function sealEnvelope(
  crypto: CryptoProvider,
  key: WrappingKey,
  input: { readonly plaintext: Uint8Array; readonly aad: Uint8Array },
): Uint8Array {
  const dek = crypto.randomBytes(dekBytes);
  const wrapNonce = crypto.randomBytes(nonceBytes);
  const dataNonce = crypto.randomBytes(nonceBytes);
  try {
    const wrap = { algorithm, key: key.secret, nonce: wrapNonce, aad: wrapAad(key) } as const;
    const data = { algorithm, key: dek, nonce: dataNonce, aad: dataAad(key, input.aad) } as const;
    return concat(
      wrapNonce,
      crypto.aeadSeal({ ...wrap, plaintext: dek }),
      dataNonce,
      crypto.aeadSeal({ ...data, plaintext: input.plaintext }),
    );
  } finally {
    dek.fill(0);
  }
}

/** The plaintext, or undefined where key, additional data or ciphertext are not the ones sealed. */
export function openEnvelope(
  crypto: CryptoProvider,
  key: WrappingKey,
  input: { readonly ciphertext: Uint8Array; readonly aad: Uint8Array },
): Uint8Array | undefined {
  const { ciphertext } = input;
  if (ciphertext.length < envelopeOverheadBytes) return undefined;
  const dek = crypto.aeadOpen({
    algorithm,
    key: key.secret,
    nonce: ciphertext.subarray(0, nonceBytes),
    aad: wrapAad(key),
    ciphertext: ciphertext.subarray(nonceBytes, wrapBytes),
  });
  if (dek === undefined) return undefined;
  const plaintext = crypto.aeadOpen({
    algorithm,
    key: dek,
    nonce: ciphertext.subarray(wrapBytes, wrapBytes + nonceBytes),
    aad: dataAad(key, input.aad),
    ciphertext: ciphertext.subarray(wrapBytes + nonceBytes),
  });
  dek.fill(0);
  return plaintext;
}

function wrapAad(key: WrappingKey): Uint8Array {
  return lengthPrefixed(utf8('gyre/v1/dek'), utf8(key.slot), utf8(key.keyId));
}

function dataAad(key: WrappingKey, aad: Uint8Array): Uint8Array {
  return lengthPrefixed(utf8('gyre/v1/data'), utf8(key.slot), utf8(key.keyId), aad);
}
