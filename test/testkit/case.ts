/**
 * The cases: what is valid, and one for every reason for which something is refused. A case is bytes,
 * how they are read, and what each of three paths must say: `open` (all steps, with the secret of the
 * channel), `verify` (public key alone) and `encode` (decode and encode again).
 */
import type { EnvelopeRefusal } from '#shared/crypto/statement.ts';

export type CaseKind = 'event' | 'batch' | 'disclosure' | 'proof';
export type Outcome = 'ok' | EnvelopeRefusal;

export interface Case {
  readonly name: string;
  readonly about: string;
  readonly kind: CaseKind;
  readonly bytes: Uint8Array;
  readonly open: Outcome;
  readonly verify: Outcome;
  /** Whether decoding and encoding again gives the same bytes. */
  readonly encode: 'same' | 'refused';
  /** Instead of the channel's secret. */
  readonly secret?: Uint8Array;
  /** Of a batch whose list is one: what is in it. */
  readonly events?: readonly Uint8Array[];
}

/** Which refusals each kind can meet: a case for each of them is what the testkit is for. */
export const refusalsByKind: Readonly<Record<CaseKind, readonly EnvelopeRefusal[]>> = {
  event: [
    'FRAME_MALFORMED',
    'FRAME_TOO_LARGE',
    'VERSION_UNKNOWN',
    'SUITE_UNKNOWN',
    'LANE_MISMATCH',
    'SIGNATURE_INVALID',
    'COMMITMENT_MISMATCH',
    'TAG_INVALID',
    'DIGEST_MISMATCH',
    'BODY_MALFORMED',
  ],
  batch: [
    'FRAME_MALFORMED',
    'FRAME_TOO_LARGE',
    'VERSION_UNKNOWN',
    'SUITE_UNKNOWN',
    'LANE_MISMATCH',
    'SIGNATURE_INVALID',
    'COMMITMENT_MISMATCH',
    'TAG_INVALID',
    'BATCH_MALFORMED',
    'DIGEST_MISMATCH',
  ],
  disclosure: [
    'FRAME_MALFORMED',
    'VERSION_UNKNOWN',
    'SUITE_UNKNOWN',
    'LANE_MISMATCH',
    'SIGNATURE_INVALID',
    'BODY_MALFORMED',
  ],
  proof: [
    'FRAME_MALFORMED',
    'VERSION_UNKNOWN',
    'SUITE_UNKNOWN',
    'LANE_MISMATCH',
    'PROOF_MALFORMED',
    'SIGNATURE_INVALID',
    'BODY_MALFORMED',
  ],
};

/** Refusals that need the channel's secret to be found. */
const behindTheKey: ReadonlySet<Outcome> = new Set([
  'COMMITMENT_MISMATCH',
  'TAG_INVALID',
  'DIGEST_MISMATCH',
  'BATCH_MALFORMED',
]);

export type Expected = Pick<Case, 'name' | 'about' | 'kind'> & {
  readonly open: Outcome;
  readonly encode?: Case['encode'];
  readonly secret?: Uint8Array;
  readonly events?: readonly Uint8Array[];
};

export function caseOf(expected: Expected, bytes: Uint8Array): Case {
  const { kind, open } = expected;
  const isFound = kind === 'event' || kind === 'batch';
  const later = isFound && (behindTheKey.has(open) || open === 'BODY_MALFORMED');
  return { encode: 'same', ...expected, verify: later ? 'ok' : open, bytes };
}
