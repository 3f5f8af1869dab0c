/** A negotiation as a document for scripts: hashes as text, events in their order. */
import type { OrchCode } from '#schemas/errors.ts';
import type { NegotiationConstraints, SelectedAlgorithms } from '#schemas/negotiation.ts';
import type { NegotiationLog, NegotiationMisfit } from '#shared/core/negotiation-log.ts';
import type { NegotiationRole, NegotiationState } from '#shared/core/negotiation-state.ts';
import { toHex } from '#shared/crypto/bytes.ts';

export interface NegotiationSideResult {
  readonly agentId: string;
  readonly layer: number;
  readonly constraints?: NegotiationConstraints;
}

export interface NegotiationResult {
  readonly negotiationId: string;
  readonly phase: NegotiationState['phase'];
  readonly client: NegotiationSideResult;
  readonly server: NegotiationSideResult;
  /** The operator's. */
  readonly constraints: NegotiationConstraints;
  readonly registryDigest: string;
  readonly policyDigest: string;
  readonly selected?: SelectedAlgorithms;
  /** SHA3-512 each, 128 hexadecimal characters. */
  readonly transcript?: Readonly<Record<TranscriptField, string>>;
  readonly failure?: { readonly code: OrchCode; readonly reason: string; readonly by: string };
  readonly events: readonly NegotiationEventResult[];
  /** Events that changed nothing, and why. */
  readonly withoutEffect: readonly NegotiationMisfit[];
}

export const transcriptFields = [
  'clientCapabilitiesHash',
  'serverCapabilitiesHash',
  'policyHash',
  'negotiationHash',
] as const;
export type TranscriptField = (typeof transcriptFields)[number];

export interface NegotiationEventResult {
  readonly type: string;
  readonly sender: string;
  readonly atMs: number;
  /** Statement hash. */
  readonly hash: string;
}

/** Undefined where the negotiation was not opened. */
export function negotiationResult(log: NegotiationLog): NegotiationResult | undefined {
  const { state } = log;
  if (state === null) return undefined;
  const { negotiationId, phase, constraints, basis, agreement, failure } = state;
  return {
    negotiationId,
    phase,
    client: sideOf(state, 'client'),
    server: sideOf(state, 'server'),
    constraints,
    ...basis,
    ...(agreement === null
      ? {}
      : { selected: agreement.selected, transcript: transcriptOf(agreement.transcript) }),
    ...(failure === null
      ? {}
      : { failure: { code: failure.code, reason: failure.reason, by: failure.by } }),
    events: eventResults(log),
    withoutEffect: log.misfits,
  };
}

export function eventResults(log: NegotiationLog): NegotiationEventResult[] {
  return log.events.map(({ type, senderId: sender, timeMs: atMs, hash }) => ({
    type,
    sender,
    atMs,
    hash,
  }));
}

function sideOf(state: NegotiationState, role: NegotiationRole): NegotiationSideResult {
  const constraints = state.advertisements[role]?.advertisement.constraints;
  return {
    agentId: state[role],
    layer: state.layers[role],
    ...(constraints === undefined ? {} : { constraints }),
  };
}

function transcriptOf(transcript: Readonly<Record<TranscriptField, Uint8Array>>) {
  const hex = transcriptFields.map((field) => [field, toHex(transcript[field])] as const);
  return Object.fromEntries(hex) as Record<TranscriptField, string>;
}
