/**
 * What the record says of operators' requests, read from what the bus stored and from nothing else: an
 * entry that an auditor vouches for and that rests on a request accepted it, a refusal of it on the
 * record refused it.
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import { bodyOf } from './checks/check.ts';
import type { Observation, ObservedMessage } from './observation.ts';

export const requestTypes = [
  'rotation-requested',
  'plan-approved',
  'execution-requested',
  'rollback-requested',
  'recovery-requested',
  'recovery-approved',
] as const;
export type RequestType = (typeof requestTypes)[number];

export interface RecordedRequest {
  readonly hash: string;
  readonly operator: string;
  readonly type: RequestType;
  /** The name of a wish for a plan, else the plan's id. */
  readonly about: string;
}

export interface RecordedPlan {
  readonly planId: string;
  readonly planDigest: string;
  /** What the request for it was called. */
  readonly name: string;
  phase: RotationPhase;
  /** How often it was locked out. */
  lockouts: number;
}

export class RequestRecord {
  readonly requests: RecordedRequest[] = [];
  readonly #observation: Observation;
  readonly #plans = new Map<string, RecordedPlan>();
  /** What each entry of a rotation rests on. */
  readonly #entries = new Map<string, readonly string[]>();
  readonly #accepted = new Set<string>();
  readonly #refused = new Map<string, OrchCode>();
  /** Sagas with an entry that took effect. */
  readonly #begun = new Set<string>();
  #read = 0;

  constructor(observation: Observation) {
    this.#observation = observation;
  }

  /** Reads what came since it last did. */
  read(): void {
    const { messages } = this.#observation;
    for (; this.#read < messages.length; this.#read += 1) {
      const message = messages[this.#read];
      if (message !== undefined) this.#note(message);
    }
  }

  /** Plans that took effect. */
  get plans(): readonly RecordedPlan[] {
    return [...this.#plans.values()].filter(({ planId }) => this.#begun.has(planId));
  }

  /** `both` is never right: some would be told this and some that. */
  outcomeOf(hash: string): OrchCode | 'accepted' | 'both' | undefined {
    const refused = this.#refused.get(hash);
    if (!this.#accepted.has(hash)) return refused;
    return refused === undefined ? 'accepted' : 'both';
  }

  #note(message: ObservedMessage): void {
    for (const type of requestTypes) this.#noteRequest(message, type);
    const refusal = bodyOf(message, 'request-refused');
    if (refusal !== undefined && !this.#refused.has(refusal.request)) {
      this.#refused.set(refusal.request, refusal.code);
    }
    this.#noteEntry(message);
    for (const entry of bodyOf(message, 'receipts-issued')?.entries ?? []) {
      const { statementHash, verdict, sagaId, phase } = entry;
      const consumed = this.#entries.get(statementHash);
      if (verdict !== 'accepted' || consumed === undefined) continue;
      for (const hash of consumed) this.#accepted.add(hash);
      if (sagaId !== undefined && phase !== undefined) this.#noteReached(sagaId, phase);
    }
  }

  #noteRequest(message: ObservedMessage, type: RequestType): void {
    const body = bodyOf(message, type);
    if (body === undefined) return;
    const about = 'planId' in body ? body.planId : body.requestId;
    this.requests.push({ hash: message.hash, operator: message.sender, type, about });
  }

  #noteEntry(message: ObservedMessage): void {
    const entry = bodyOf(message, 'saga-entry');
    if (entry?.saga !== 'rotation') return;
    const { sagaId, consumed, event } = entry;
    this.#entries.set(message.hash, consumed);
    if (event.type !== 'plan-drafted' || this.#plans.has(sagaId)) return;
    const { body } = event.plan;
    this.#plans.set(sagaId, {
      planId: sagaId,
      planDigest: this.#observation.documentDigest(body),
      name: this.requests.find(({ hash }) => hash === body.request)?.about ?? body.request,
      phase: 'drafted',
      lockouts: 0,
    });
  }

  #noteReached(sagaId: string, phase: RotationPhase): void {
    const plan = this.#plans.get(sagaId);
    if (plan === undefined) return;
    if (phase === 'locked_out' && plan.phase !== 'locked_out') plan.lockouts += 1;
    plan.phase = phase;
    this.#begun.add(sagaId);
  }
}
