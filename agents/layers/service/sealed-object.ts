/**
 * An object under a data key of its own: AES-256-GCM (NIST SP 800-38D) with a key, a nonce and a
 * commitment that are derived (HKDF-SHA256, RFC 5869) from the data key, a salt and the context. GCM
 * alone opens one ciphertext under several keys; the commitment, 32 bytes that only this key and this
 * context lead to, is compared before anything is decrypted.
 *
 * The salt is a MAC of context and plaintext under the data key: sealing the same object again gives
 * the same bytes, so a request can be repeated, and another plaintext never meets a nonce twice.
 *
 * Layout: format (1) ‖ salt (32) ‖ commitment (32) ‖ ciphertext with its tag: 81 bytes more than the
 * plaintext.
 */

import { concat, equalConstantTime, lengthPrefixed, utf8 } from '#shared/crypto/bytes.ts';
import { sizes, type CryptoProvider } from '#shared/crypto/provider.ts';

const format = 1;
const saltBytes = 32;
const commitmentBytes = 32;
const { key: keyBytes, nonce: nonceBytes, tag: tagBytes } = sizes.aead;
const headBytes = 1 + saltBytes + commitmentBytes;

/** How much longer a sealed object is than its plaintext. */
export const sealedOverheadBytes = headBytes + tagBytes;

export interface SealedObject {
  readonly sealed: Uint8Array;
  /** Tells one plaintext under a data key from another, and nothing else; 32 bytes. */
  readonly salt: Uint8Array;
}

/** `dataKey`: 32 bytes, for one object. `context`: at most 65,535 bytes. */
export function sealObject(
  crypto: CryptoProvider,
  dataKey: Uint8Array,
  input: { readonly plaintext: Uint8Array; readonly context: Uint8Array },
): SealedObject {
  const salt = saltOf(crypto, dataKey, input);
  const parts = partsOf(crypto, dataKey, { salt, context: input.context });
  try {
    const ciphertext = crypto.aeadSeal({
      algorithm: 'AES-256-GCM',
      key: parts.key,
      nonce: parts.nonce,
      aad: input.context,
      plaintext: input.plaintext,
    });
    return { salt, sealed: concat(new Uint8Array([format]), salt, parts.commitment, ciphertext) };
  } finally {
    parts.key.fill(0);
  }
}

/** The plaintext, or undefined where data key, context or bytes are not the ones sealed. */
export function openObject(
  crypto: CryptoProvider,
  dataKey: Uint8Array,
  input: { readonly sealed: Uint8Array; readonly context: Uint8Array },
): Uint8Array | undefined {
  const { sealed, context } = input;
  if (sealed.length < sealedOverheadBytes || sealed[0] !== format) return undefined;
  const salt = sealed.subarray(1, 1 + saltBytes);
  const parts = partsOf(crypto, dataKey, { salt, context });
  try {
    const commitment = sealed.subarray(1 + saltBytes, headBytes);
    if (!equalConstantTime(parts.commitment, commitment)) return undefined;
    return crypto.aeadOpen({
      algorithm: 'AES-256-GCM',
      key: parts.key,
      nonce: parts.nonce,
      aad: context,
      ciphertext: sealed.subarray(headBytes),
    });
  } finally {
    parts.key.fill(0);
  }
}

function saltOf(
  crypto: CryptoProvider,
  dataKey: Uint8Array,
  { plaintext, context }: { readonly plaintext: Uint8Array; readonly context: Uint8Array },
): Uint8Array {
  const macKey = crypto.hkdfSha256({
    ikm: dataKey,
    salt: utf8('gyre/v1/object-salt'),
    info: new Uint8Array(),
    outputBytes: 48,
  });
  const mac = crypto.hmacSha3_384(macKey, concat(lengthPrefixed(context), plaintext));
  macKey.fill(0);
  return mac.slice(0, saltBytes);
}

function partsOf(
  crypto: CryptoProvider,
  dataKey: Uint8Array,
  { salt, context }: { readonly salt: Uint8Array; readonly context: Uint8Array },
): { key: Uint8Array; nonce: Uint8Array; commitment: Uint8Array } {
  const bytes = crypto.hkdfSha256({
    ikm: dataKey,
    salt,
    info: lengthPrefixed(utf8('gyre/v1/object'), crypto.sha3_384(context)),
    outputBytes: keyBytes + nonceBytes + commitmentBytes,
  });
  const parts = {
    key: bytes.slice(0, keyBytes),
    nonce: bytes.slice(keyBytes, keyBytes + nonceBytes),
    commitment: bytes.slice(keyBytes + nonceBytes),
  };
  bytes.fill(0);
  return parts;
}
