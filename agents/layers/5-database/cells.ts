/**
 * A column's content, sealed: AES-256-GCM (NIST SP 800-38D) under a key and a nonce that are derived
 * (HKDF-SHA256) from the column key and 32 random bytes for this one cell, bound to record, column and
 * version. The plaintext begins with the blind of the column's commitment (record-entry.ts).
 *
 * Layout: salt (32) ‖ ciphertext with its tag.
 */

import { concat, lengthPrefixed, utf8 } from '#shared/crypto/bytes.ts';
import { sizes, type CryptoProvider } from '#shared/crypto/provider.ts';
import { blindBytes, keyParts, type RecordKey } from './record-entry.ts';

const saltBytes = 32;
const { key: keyBytes, nonce: nonceBytes, tag: tagBytes } = sizes.aead;

export interface CellPlace extends RecordKey {
  readonly name: string;
  /** Of the column key. */
  readonly version: number;
}

/** `blinded`: blind (32 bytes) and content. */
export function sealCell(
  crypto: CryptoProvider,
  columnKey: Uint8Array,
  place: CellPlace,
  blinded: Uint8Array,
): Uint8Array {
  const salt = crypto.randomBytes(saltBytes);
  const parts = partsOf(crypto, columnKey, place, salt);
  try {
    return concat(salt, crypto.aeadSeal({ ...parts, plaintext: blinded }));
  } finally {
    parts.key.fill(0);
  }
}

/** Blind and content, or undefined where key, place or bytes are not the ones sealed. */
export function openCell(
  crypto: CryptoProvider,
  columnKey: Uint8Array,
  place: CellPlace,
  sealed: Uint8Array,
): Uint8Array | undefined {
  if (sealed.length < saltBytes + blindBytes + tagBytes) return undefined;
  const parts = partsOf(crypto, columnKey, place, sealed.subarray(0, saltBytes));
  try {
    return crypto.aeadOpen({ ...parts, ciphertext: sealed.subarray(saltBytes) });
  } finally {
    parts.key.fill(0);
  }
}

function partsOf(crypto: CryptoProvider, columnKey: Uint8Array, cell: CellPlace, salt: Uint8Array) {
  const place = [utf8(cell.name), utf8(String(cell.version))];
  const aad = lengthPrefixed(utf8('gyre/v1/cell'), ...keyParts(cell), ...place);
  const info = crypto.sha3_384(aad);
  const outputBytes = keyBytes + nonceBytes;
  const bytes = crypto.hkdfSha256({ ikm: columnKey, salt, info, outputBytes });
  const parts = { key: bytes.slice(0, keyBytes), nonce: bytes.slice(keyBytes), aad };
  bytes.fill(0);
  return { algorithm: 'AES-256-GCM', ...parts } as const;
}
