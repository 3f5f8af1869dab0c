/** What is kept in memory of one leaf: its names, its verdict, and what it has to do with other leaves. */

import type { Judgement, SagaPosition } from '#shared/core/audit-judge.ts';
import type { AuditedFrame } from '#shared/crypto/audit-event.ts';
import type { Verdict } from '#shared/crypto/audit-leaf.ts';

export interface LeafNote {
  readonly hash: string;
  readonly leafIndex: number;
  readonly verdict: Verdict;
  readonly type: string;
  readonly subject: string;
  readonly channel: string;
  readonly expiresMs: number;
  /** For entries: their saga and index; with a phase where a rotation's entry was accepted. */
  readonly saga?: SagaPosition;
  /** The saga that the event belongs to, entry or not. */
  readonly sagaId?: string;
  /** For `event-restored`: the leaf that it put back. */
  readonly restores?: string;
  /** For `request-refused`: the request that it answers. */
  readonly answers?: string;
  /** For entries: what they consumed. */
  readonly consumed?: readonly string[];
  /** The signer's note of a checkpoint: no reason for another checkpoint. */
  readonly isCheckpointNote: boolean;
}

/** Types that are put back with their saga; steps are commanded again by whoever drives it. */
const sagaTypes: ReadonlySet<string> = new Set([
  'saga-entry',
  'step-reported',
  'plan-approved',
  'execution-requested',
  'rollback-requested',
  'recovery-requested',
  'recovery-approved',
]);

export function noteFrom(
  audited: AuditedFrame,
  leafIndex: number,
  judgement: Judgement,
  body: unknown,
): LeafNote {
  const { hash, announced } = audited;
  const { type, subject, channel, expiresMs } = announced;
  const fields = new Map<string, unknown>(
    typeof body === 'object' && body !== null ? Object.entries(body) : [],
  );
  const sagaName = fields.get('sagaId') ?? fields.get('planId');
  const sagaId = sagaTypes.has(type) && typeof sagaName === 'string' ? sagaName : undefined;
  const answered = type === 'request-refused' ? fields.get('request') : undefined;
  const restored = type === 'event-restored' ? fields.get('statementHash') : undefined;
  const consumed = type === 'saga-entry' ? fields.get('consumed') : undefined;
  const sagaIndex = fields.get('index');
  const saga =
    judgement.verdict === 'accepted'
      ? judgement.saga
      : type === 'saga-entry' && sagaId !== undefined && typeof sagaIndex === 'number'
        ? { sagaId, sagaIndex }
        : undefined;
  return {
    hash,
    leafIndex,
    verdict: judgement.verdict,
    type,
    subject,
    channel,
    expiresMs,
    ...(saga === undefined ? {} : { saga }),
    ...(sagaId === undefined ? {} : { sagaId }),
    ...(typeof restored === 'string' ? { restores: restored } : {}),
    ...(typeof answered === 'string' ? { answers: answered } : {}),
    ...(Array.isArray(consumed) ? { consumed: consumed.filter(isText) } : {}),
    isCheckpointNote: type === 'statement-signed' && fields.get('statement') === 'audit-checkpoint',
  };
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}
