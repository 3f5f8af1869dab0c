/**
 * The leaf of the auditor's tree (RFC 9162 section 2.1.1, SHA-256):
 *
 *     leaf hash = SHA-256(0x00 ‖ statement (207 bytes) ‖ seal (4,627 bytes) ‖ verdict (1 byte))
 *
 * The statement covers header, ciphertext, commitment and digest of the frame, so that leaf and frame
 * have the same content; the seal stands beside it, so that a signature made anew is another leaf; the
 * verdict byte is 1 for `accepted`, 0 for `refused`. A leaf's index is its place in the tree. When the
 * bus delivered the event, and under which sequence, is the auditor's own note and no part of it.
 */

import { concat } from './bytes.ts';
import type { ParsedFrame } from './envelope.ts';
import type { CryptoProvider } from './provider.ts';
import { sealedStatement } from './sealed-frame.ts';

export type Verdict = 'accepted' | 'refused';

/** 32 bytes. */
export function auditLeafHash(
  crypto: CryptoProvider,
  frame: ParsedFrame,
  verdict: Verdict,
): Uint8Array {
  const statement = sealedStatement(crypto, frame);
  const verdictByte = Uint8Array.of(verdict === 'accepted' ? 1 : 0);
  return crypto.sha256(concat(Uint8Array.of(0), statement, frame.parts.seal, verdictByte));
}
