/**
 * The auditor's archive: what control events said, kept beyond the epochs that they were sealed under,
 * where the policy says so (`channels.archive_control_events`). It is the one deliberate exception to
 * forward secrecy: whoever holds the archive key reads the content of the control events, and it is what
 * lets an auditor go through its log again, and an export be replayed without any secret.
 *
 * Each record has a key of its own: HKDF-SHA256 (RFC 5869) with ikm = archive key (32), salt =
 * "gyre/v1/archive", info = auditor, leaf index (8 bytes), statement hash (32), each behind its two-byte
 * length; output key 32 ‖ nonce 12. ChaCha20-Poly1305 (RFC 8439) over salt ‖ body with the salt of the
 * derivation as additional data. One leaf has one content, so no nonce meets another plaintext.
 */

import { saltBytes } from '#schemas/frame.ts';
import { concat, fromHex, lengthPrefixed, uint64, utf8 } from './bytes.ts';
import { assertLength, invariant } from './errors.ts';
import type { CryptoProvider } from './provider.ts';

export const archiveKeyBytes = 32;
/** What an archived content has more than salt and body: the Poly1305 tag. */
export const archiveOverheadBytes = 16;

export interface ArchivedLeaf {
  /** Agent id of the auditor whose log it is. */
  readonly auditor: string;
  readonly leafIndex: number;
  /** Statement hash, hexadecimal. */
  readonly hash: string;
}

export interface LeafContent {
  /** 32 bytes. */
  readonly salt: Uint8Array;
  /** As its sender encoded it, at most 448 KiB. */
  readonly bodyBytes: Uint8Array;
}

const label = utf8('gyre/v1/archive');

/** Salt and body under the archive key; 48 bytes longer than the body. */
export function archiveContent(
  crypto: CryptoProvider,
  archiveKey: Uint8Array,
  leaf: ArchivedLeaf,
  content: LeafContent,
): Uint8Array {
  assertLength(content.salt, saltBytes, 'a salt');
  const keys = leafKeys(crypto, archiveKey, leaf);
  const plaintext = concat(content.salt, content.bodyBytes);
  const archived = crypto.aeadSeal({ ...keys, plaintext });
  keys.key.fill(0);
  plaintext.fill(0);
  return archived;
}

/**
 * What was archived for this leaf; undefined where the key is another one, or a byte was changed. That
 * it is what the event said is for the frame's digest to show.
 */
export function openArchived(
  crypto: CryptoProvider,
  archiveKey: Uint8Array,
  leaf: ArchivedLeaf,
  archived: Uint8Array,
): LeafContent | undefined {
  if (archived.length <= saltBytes + archiveOverheadBytes) return undefined;
  const keys = leafKeys(crypto, archiveKey, leaf);
  const plaintext = crypto.aeadOpen({ ...keys, ciphertext: archived });
  keys.key.fill(0);
  if (plaintext === undefined) return undefined;
  return { salt: plaintext.slice(0, saltBytes), bodyBytes: plaintext.slice(saltBytes) };
}

function leafKeys(crypto: CryptoProvider, archiveKey: Uint8Array, leaf: ArchivedLeaf) {
  assertLength(archiveKey, archiveKeyBytes, 'an archive key');
  const hash = fromHex(leaf.hash);
  invariant(hash?.length === 32, 'a leaf is named by its statement hash');
  const output = crypto.hkdfSha256({
    ikm: archiveKey,
    salt: label,
    info: lengthPrefixed(utf8(leaf.auditor), uint64(leaf.leafIndex), hash),
    outputBytes: 44,
  });
  return {
    algorithm: 'ChaCha20-Poly1305' as const,
    key: output.subarray(0, 32),
    nonce: output.slice(32),
    aad: label,
  };
}
