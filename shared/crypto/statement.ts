/**
 * What is signed of an event, and what both the envelope and the disclosure need of it.
 *
 * Statement, 207 bytes: "gyre/v1/event\0" ‖ suite ‖ SHA3-512(header) ‖ SHA3-512(ciphertext) ‖
 * commitment ‖ digest. Its BLAKE3-256 hash names the event: message id, link of the chain, reference.
 * The ML-DSA-87 context is the event type, so that a statement of one type never passes for another. A
 * batch has the label "gyre/v1/batch\0" and SHA-256(ciphertext): 175 bytes.
 */
import { headerValidator, protocolVersion, suiteId } from '#schemas/frame.ts';
import type { Header } from '#schemas/frame.ts';
import { concat, equalConstantTime, toHex, utf8 } from './bytes.ts';
import { decodeCanonical } from './canonical-msgpack.ts';
import type { VerifyKey } from './key-handle.ts';
import type { CryptoProvider, VerifyInput } from './provider.ts';

/** Why a frame, a disclosure or a proof is refused. */
export const envelopeRefusals = [
  /** Not canonical, a field missing, unknown or out of bounds. */
  'FRAME_MALFORMED',
  /** More than 512 KiB. */
  'FRAME_TOO_LARGE',
  'VERSION_UNKNOWN',
  'SUITE_UNKNOWN',
  /** Not signed by this key, or not over these bytes under this type. */
  'SIGNATURE_INVALID',
  /** The channel secret is not the one it was sealed under. */
  'COMMITMENT_MISMATCH',
  'TAG_INVALID',
  /** Salt and body, or the events of a batch, are not what the sender signed. */
  'DIGEST_MISMATCH',
  /** The body, or an event that is shown, is not canonical MessagePack. */
  'BODY_MALFORMED',
  /** A batch where an event is read, or an event where a batch is read. */
  'LANE_MISMATCH',
  /** What was sealed as a batch is not a list of 1 to 256 events of at most 4 KiB. */
  'BATCH_MALFORMED',
  /** The path of one event does not fit its place in the batch. */
  'PROOF_MALFORMED',
] as const;
export type EnvelopeRefusal = (typeof envelopeRefusals)[number];

export interface Refused {
  readonly ok: false;
  readonly code: EnvelopeRefusal;
}

/** A signature held: the event has this name. */
export interface Verified {
  readonly ok: true;
  /** 32 bytes. */
  readonly statementHash: Uint8Array;
  /** `statementHash` in hexadecimal: the message id on the bus. */
  readonly messageId: string;
}

export type VerifyResult = Verified | Refused;

export interface StatementParts {
  /** Encoded header. */
  readonly header: Uint8Array;
  /** As `ciphertextHashOf` gives it. */
  readonly ciphertextHash: Uint8Array;
  readonly commitment: Uint8Array;
  readonly digest: Uint8Array;
}

/** What a statement is of: 14 bytes, so that a batch never passes for an event. */
export const statementLabels = {
  event: utf8('gyre/v1/event\0'),
  batch: utf8('gyre/v1/batch\0'),
} as const;
export type StatementLabel = keyof typeof statementLabels;

/**
 * What stands for the ciphertext in a statement: SHA3-512 (64 bytes) for an event, SHA-256 (32 bytes)
 * for a batch. A batch is large, its tree is SHA-256 already, and the one is six times faster.
 */
export function ciphertextHashOf(
  crypto: CryptoProvider,
  ciphertext: Uint8Array,
  label: StatementLabel,
): Uint8Array {
  return label === 'batch' ? crypto.sha256(ciphertext) : crypto.sha3_512(ciphertext);
}

/** The ML-DSA context of an event type: "gyre/v1/" and the type, at most 71 bytes. */
export function eventContext(type: string): Uint8Array {
  return utf8(`gyre/v1/${type}`);
}

/** The bytes that a seal signs. */
export function statementOf(
  crypto: CryptoProvider,
  parts: StatementParts,
  label: StatementLabel = 'event',
): Uint8Array {
  return concat(
    statementLabels[label],
    Uint8Array.of(suiteId),
    crypto.sha3_512(parts.header),
    parts.ciphertextHash,
    parts.commitment,
    parts.digest,
  );
}

/** Checks an encoded header against its schema; unknown versions and suites have own codes. */
export function parseHeader(
  bytes: Uint8Array,
): { readonly ok: true; readonly header: Header } | Refused {
  const decoded = decodeCanonical(bytes);
  if (!decoded.ok) return refused('FRAME_MALFORMED');
  const { value } = decoded;
  if (headerValidator.check(value)) return { ok: true, header: value };
  if (value === null || typeof value !== 'object') return refused('FRAME_MALFORMED');
  const fields = new Map<string, unknown>(Object.entries(value));
  if (isOther(fields.get('version'), protocolVersion)) return refused('VERSION_UNKNOWN');
  if (isOther(fields.get('suite'), suiteId)) return refused('SUITE_UNKNOWN');
  return refused('FRAME_MALFORMED');
}

function isOther(value: unknown, known: number): boolean {
  return typeof value === 'number' && value !== known;
}

/** Whether the header names this key as the signer's. */
export function namesKey(header: Header, key: VerifyKey): boolean {
  return equalConstantTime(header.senderKeyId, key.keyId);
}

/** What a provider needs to verify a seal. */
export function signatureInput(
  header: Header,
  message: Uint8Array,
  signature: Uint8Array,
): VerifyInput {
  return { message, context: eventContext(header.type), signature };
}

/** The name of a statement whose seal has been checked. */
export function verified(crypto: CryptoProvider, statement: Uint8Array): Verified {
  const statementHash = crypto.blake3(statement);
  return { ok: true, statementHash, messageId: toHex(statementHash) };
}

export function refused(code: EnvelopeRefusal): Refused {
  return { ok: false, code };
}
