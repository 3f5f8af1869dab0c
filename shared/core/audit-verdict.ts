/**
 * What checking an audit comes to: three results that are never mixed. Integrity: who signed what, in
 * which order, under which checkpoint. Content: that the disclosed bodies are what was signed.
 * Meaning: that the recorded verdicts, phases and decisions follow from the events. Each one names
 * the first thing that does not hold.
 */

import type { RotationPhase } from '#schemas/saga.ts';
import type { DocumentNote } from './audit-judge.ts';

export const auditFailureCodes = [
  /* the file */
  'FILE_MALFORMED',
  'FILE_TRUNCATED',
  'FILE_TRAILING',
  /* trust */
  'BUNDLE_MALFORMED',
  'ROOT_NOT_PINNED',
  'ROOT_INVALID',
  'REGISTRY_INVALID',
  'POLICY_INVALID',
  'ENROLMENT_INVALID',
  /* integrity */
  'RECORD_MALFORMED',
  'RECORD_ORDER',
  'RECORD_REPEATED',
  'SENDER_UNKNOWN',
  'SIGNATURE_INVALID',
  'CHAIN_FORKED',
  'CHAIN_COUNTER',
  'CHAIN_CROSSED',
  'CHAIN_GAP',
  'RECORDS_MISSING',
  'CHECKPOINT_MISSING',
  'CHECKPOINT_INVALID',
  'TREE_MISMATCH',
  /* content */
  'CONTENT_MISMATCH',
  'CONTENT_MALFORMED',
  /* meaning */
  'CONTENT_MISSING',
  'NOT_ACCEPTABLE',
  'NOT_REFUSABLE',
  'RECEIPT_INVALID',
  'RECEIPT_DIFFERS',
  'EVIDENCE_INVALID',
  'DOCUMENT_INVALID',
  /** An earlier failure kept this from being checked. */
  'NOT_CHECKED',
] as const;
export type AuditFailureCode = (typeof auditFailureCodes)[number];

export interface AuditFailure {
  readonly ok: false;
  readonly code: AuditFailureCode;
  readonly reason: string;
  /** Leaf at which it shows, where it shows at one. */
  readonly leafIndex?: number;
  /** Statement hash of the event, where there is one. */
  readonly event?: string;
  /** Byte in the file, where there is a file. */
  readonly offset?: number;
}

export type AuditResult = { readonly ok: true } | AuditFailure;

export interface AdoptedAtLeaf extends DocumentNote {
  readonly leafIndex: number;
}

export interface AuditVerdict {
  /** All three results hold. A tail that no checkpoint covers is in `uncovered`, not here. */
  readonly ok: boolean;
  readonly integrity: AuditResult;
  readonly content: AuditResult;
  readonly meaning: AuditResult;
  readonly mesh: string;
  /** Of the root document that was pinned. */
  readonly rootDigest: string;
  readonly records: number;
  /** Records under the last checkpoint, and behind it. */
  readonly covered: number;
  readonly uncovered: number;
  readonly checkpoints: number;
  readonly disclosed: number;
  /** Records without content: checked for integrity alone. */
  readonly undisclosed: number;
  /** Records that the auditor refused. */
  readonly refused: number;
  /** Step commands that did not hold and that no agent carried out. */
  readonly unsound: number;
  /** Predecessors that a bus may lose before anyone has seen them: senders without an outbox. */
  readonly gaps: number;
  /** Documents that were amended, with the leaf of the offer from which on they counted. */
  readonly documents: readonly AdoptedAtLeaf[];
  readonly rotations: readonly { readonly sagaId: string; readonly phase: RotationPhase }[];
}

export const holds: AuditResult = { ok: true };

/** The failure that shows first; where there is no telling, the one that was found first. */
export function firstFailure(left: AuditResult, right: AuditResult): AuditResult {
  if (left.ok) return right;
  if (right.ok) return left;
  return (right.leafIndex ?? Infinity) < (left.leafIndex ?? Infinity) ? right : left;
}

/** The verdict where there is no trust to check anything by. */
export function nothingChecked(
  integrity: AuditFailure,
  { mesh, rootDigest }: { readonly mesh: string; readonly rootDigest: string },
): AuditVerdict {
  const unchecked: AuditFailure = {
    ok: false,
    code: 'NOT_CHECKED',
    reason: 'there is no trust to check it by',
  };
  return {
    ok: false,
    integrity,
    content: unchecked,
    meaning: unchecked,
    mesh,
    rootDigest,
    records: 0,
    covered: 0,
    uncovered: 0,
    checkpoints: 0,
    disclosed: 0,
    undisclosed: 0,
    refused: 0,
    unsound: 0,
    gaps: 0,
    documents: [],
    rotations: [],
  };
}
