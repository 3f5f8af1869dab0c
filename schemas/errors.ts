/**
 * Every code that gyre answers with, in one table.
 *
 * ORCH-80xx are the orchestration codes: what an operator or a caller of the API sees. Retry counts,
 * lockouts and HTTP statuses are derived from this table and nowhere else. The refusals are what a
 * receiver says of one event: they are logged and counted, never retried, and never sent back.
 */

export interface OrchestrationCode {
  readonly name: string;
  readonly meaning: string;
  /** How often the same request may be tried again before it counts as failed. */
  readonly retriesMax: number;
  /** Seconds for which the one who caused it is locked out; `sticky` ends only by a recovery. */
  readonly lockout: { readonly seconds: number } | 'sticky' | null;
  readonly httpStatus: number;
}

export const orchestrationCodes = {
  'ORCH-8001': code('ALGORITHM_NEGOTIATION_FAILED', 'no algorithm in common', 3, 409),
  'ORCH-8002': code('POLICY_VIOLATION', 'the policy does not allow it', 0, 403),
  'ORCH-8003': code('UNSUPPORTED_ALGORITHM', 'the registry does not know the algorithm', 0, 400),
  'ORCH-8004': code('ROTATION_PLAN_INVALID', 'the plan does not hold', 1, 422),
  'ORCH-8005': code('ROTATION_EXECUTION_FAILED', 'the rotation failed', 1, 500),
  'ORCH-8006': code('ROLLBACK_FAILED', 'the rollback failed; locked out', 0, 500, 'sticky'),
  'ORCH-8007': code('LAYER_NOT_READY', 'a layer is not ready', 5, 503),
  'ORCH-8008': code('DEPENDENCY_NOT_SATISFIED', 'a dependency is not satisfied', 0, 409),
  'ORCH-8009': code('MIGRATION_CONFLICT', 'another migration is under way', 0, 409),
  'ORCH-8010': code('REGISTRY_SIGNATURE_INVALID', 'the registry is not to be trusted', 0, 403, {
    seconds: 900,
  }),
  'ORCH-8011': code('POLICY_SIGNATURE_INVALID', 'the policy is not to be trusted', 0, 403, {
    seconds: 900,
  }),
  'ORCH-8012': code('CAPABILITY_MISMATCH', 'the advertised capabilities do not match', 0, 409),
  'ORCH-8013': code('ORCHESTRATION_CHANNEL_FAILURE', 'a layer cannot be reached', 5, 504),
  'ORCH-8014': code('KEY_DISTRIBUTION_FAILED', 'a member did not accept a new key', 3, 502),
  'ORCH-8015': code('INSUFFICIENT_PRIVILEGES', 'approvals or rights are missing', 0, 403),
} as const satisfies Record<string, OrchestrationCode>;

export type OrchCode = keyof typeof orchestrationCodes;

export const orchCodes = Object.keys(orchestrationCodes) as [OrchCode, ...OrchCode[]];

/**
 * Why a receiver refused an event. The first twelve come from envelope and batch, the rest from
 * trust.
 */
export const refusalCodes = [
  'FRAME_MALFORMED',
  'FRAME_TOO_LARGE',
  'VERSION_UNKNOWN',
  'SUITE_UNKNOWN',
  'SIGNATURE_INVALID',
  'COMMITMENT_MISMATCH',
  'TAG_INVALID',
  'DIGEST_MISMATCH',
  'BODY_MALFORMED',
  'LANE_MISMATCH',
  'BATCH_MALFORMED',
  'PROOF_MALFORMED',
  'TYPE_UNKNOWN',
  'SENDER_UNKNOWN',
  'SENDER_EXPIRED',
  'SENDER_NOT_ENTITLED',
  'AUDIENCE_MISMATCH',
  'SUBJECT_MISMATCH',
  'CHANNEL_MISMATCH',
  'EPOCH_UNKNOWN',
  'TIME_OUT_OF_RANGE',
  'EVENT_EXPIRED',
  'EVENT_REPLAYED',
  'POLICY_NOT_IN_FORCE',
  'REGISTRY_NOT_IN_FORCE',
  /** Sealed under a version that this receiver has yet to learn of: held and fetched, not dropped. */
  'TRUST_BEHIND',
  'SENDER_REVOKED',
  /** The sender offered a bad document and asks for something new before its lockout is over. */
  'SENDER_LOCKED_OUT',
  'EVIDENCE_MISSING',
  'EVIDENCE_INVALID',
  'SAGA_FENCED',
] as const;

export type RefusalCode = (typeof refusalCodes)[number];

function code(
  name: string,
  meaning: string,
  retriesMax: number,
  httpStatus: number,
  lockout: OrchestrationCode['lockout'] = null,
): OrchestrationCode {
  return { name, meaning, retriesMax, httpStatus, lockout };
}
