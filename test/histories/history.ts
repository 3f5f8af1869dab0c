/**
 * A recorded log of a real mesh, kept for ever: what was said, in the order of the audit's leaves, and
 * what the fold made of it. A file is one brotli stream of canonical MessagePack.
 *
 * What a saga rests on is kept as it was disclosed, without its seal (4,627 bytes that nothing
 * compresses) and without its ciphertext: header, ciphertext hash, commitment, salt and body give the
 * statement, and the statement's hash is the name by which entries and links know the event. Of all
 * other leaves only the hash is kept. Beside the leaves stand the genesis documents and the checkpoint
 * over the whole tree. There is no secret in it.
 */

import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import type { AuditCheckpoint } from '#schemas/plan.ts';
import type { AuditRecord } from '#schemas/queries.ts';
import type { TrustBundle } from '#schemas/trust.ts';
import { auditLeafHash } from '#shared/crypto/audit-leaf.ts';
import { decodeCanonical, encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { parseFrame } from '#shared/crypto/envelope.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';

export interface ShownLeaf {
  readonly header: Uint8Array;
  readonly ciphertextHash: Uint8Array;
  readonly commitment: Uint8Array;
  readonly salt: Uint8Array;
  readonly body: Uint8Array;
}

export interface HistoryLeaf {
  readonly leafHash: Uint8Array;
  readonly verdict: 'accepted' | 'refused';
  readonly shown?: ShownLeaf;
}

/** What one entry led to: a line per command, readable. */
export interface Outcome {
  readonly sagaId: string;
  readonly index: number;
  readonly event: string;
  readonly phase: string;
  readonly decision: string;
  readonly commands: readonly string[];
}

export interface History {
  readonly format: 1;
  readonly name: string;
  readonly rootDigest: string;
  readonly bundle: TrustBundle;
  readonly checkpoint: AuditCheckpoint;
  readonly leaves: readonly HistoryLeaf[];
  readonly outcomes: readonly Outcome[];
}

/** Types that a fold of the log reads. */
const folded: ReadonlySet<string> = new Set([
  'saga-entry',
  'step-reported',
  'rotation-requested',
  'healing-action-requested',
  'plan-approved',
  'execution-requested',
  'rollback-requested',
  'recovery-requested',
  'recovery-approved',
  'document-offered',
  'event-restored',
]);

/** A record of the audit as a history keeps it. */
export function leafOf(crypto: CryptoProvider, record: AuditRecord): HistoryLeaf {
  const parsed = parseFrame(record.frame);
  if (!parsed.ok) throw new Error(`a record is no frame: ${parsed.code}`);
  const { frame } = parsed;
  const { verdict, salt, body } = record;
  const leafHash = auditLeafHash(crypto, frame, verdict);
  const isKept = folded.has(frame.header.type) && salt !== undefined && body !== undefined;
  if (!isKept) return { leafHash, verdict };
  const { header, commitment, ciphertext } = frame.parts;
  const ciphertextHash = crypto.sha3_512(ciphertext);
  return { leafHash, verdict, shown: { header, ciphertextHash, commitment, salt, body } };
}

export function packHistory(history: History): Uint8Array {
  return brotliCompressSync(encodeCanonical(history, { floats: true }), {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
      [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
    },
  });
}

export function unpackHistory(packed: Uint8Array): History {
  const decoded = decodeCanonical(new Uint8Array(brotliDecompressSync(packed)), { floats: true });
  if (!decoded.ok) throw new Error(`a history does not decode: ${decoded.code}`);
  return decoded.value as unknown as History;
}
