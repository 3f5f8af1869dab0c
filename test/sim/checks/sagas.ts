/**
 * The sagas as the audit tells them, for all checkers together: entries that an auditor holds as
 * accepted, the plan's slots and members, decisions, what agents reported, and the phases that receipts
 * claim. It decides nothing and knows no order of phases; what should follow from what is for checkers.
 */

import type {
  RecoveryAuthorization,
  RotationAuthorization,
  RotationCommit,
  RotationPlanBody,
} from '#schemas/plan.ts';
import type { RotationEvent, RotationPhase, SagaEntry, SlotsEvent } from '#schemas/saga.ts';
import type { ReportedSlot, StepReported } from '#schemas/steps.ts';
import type { OfferedDocument } from '#schemas/trust.ts';
import type { Change, Observation, ObservedMessage } from '../observation.ts';
import { bodyOf } from './check.ts';

export interface Entry {
  readonly hash: string;
  readonly index: number;
  readonly author: string;
  readonly consumed: readonly string[];
  readonly event: RotationEvent;
  /** True time of the leaf. */
  readonly timeMs: number;
  /** When it was sealed, by its author's clock: what it decides counts from then. */
  readonly saidMs: number;
}

export interface PlannedSlot {
  readonly slot: string;
  readonly owner: string;
  readonly members: readonly string[];
  readonly keyId: string;
  readonly version: number;
}

export interface Saga {
  readonly sagaId: string;
  plan: RotationPlanBody | undefined;
  planDigest: string;
  readonly slots: Map<string, PlannedSlot>;
  /** Accepted, by index; of a fork the first. */
  readonly entries: Entry[];
  readonly commits: { readonly hash: string; readonly commit: RotationCommit; timeMs: number }[];
  readonly authorizations: RotationAuthorization[];
  readonly recoveries: {
    readonly index: number;
    readonly authorization: RecoveryAuthorization;
    readonly timeMs: number;
  }[];
  timersFired: number;
  /** The slots were reserved at some time: it was executed. */
  isExecuted: boolean;
  /** As receipts claim it, by index. */
  readonly phases: Map<number, RotationPhase>;
  phase: RotationPhase | undefined;
  phaseIndex: number;
  rolledBackAtMs: number | undefined;
  /** Agents whose revocation an auditor holds; of the whole mesh. */
  readonly revoked: ReadonlySet<string>;
  /** `<slot> <operation>` → agent → what it said was done, last. */
  readonly reports: Map<string, Map<string, ReportedSlot>>;
}

export interface Hold {
  readonly sagaId: string;
  readonly sagaIndex: number;
}

export class SagaBook {
  readonly sagas = new Map<string, Saga>();
  /** The ledger of slots by its accepted entries. */
  readonly held = new Map<string, Hold>();
  readonly released = new Map<string, number>();
  /** `<slot> <saga>` → its place among all reservations of the ledger, the latest one. */
  readonly reservedAt = new Map<string, number>();
  #reservations = 0;
  /** Agents whose revocation an auditor holds as accepted: signed by operators, whoever offered it. */
  readonly revoked = new Set<string>();
  /** Set while the change of an accepted entry is looked at. */
  latest: { readonly entry: SagaEntry; readonly hash: string } | undefined;
  /** The ledger's holders before the latest entry. */
  heldBefore: ReadonlyMap<string, Hold> = new Map();
  releasedBefore: number | undefined;
  readonly #taken = new Set<string>();

  /** Before any checker hears of the change. */
  note(observation: Observation, change: Change): void {
    this.latest = undefined;
    if (change.kind === 'message') this.#hear(change.message);
    if (change.kind !== 'leaf' || change.leaf.verdict !== 'accepted') return;
    const { hash } = change.leaf;
    const message = observation.messageOf(hash);
    this.#noteRevocation(message);
    const entry = bodyOf(message, 'saga-entry');
    if (message === undefined || entry === undefined || this.#taken.has(hash)) return;
    this.#taken.add(hash);
    this.latest = { entry, hash };
    if (entry.saga === 'slots') this.#noteSlots(entry.event);
    else this.#noteRotation(entry, message, change.timeMs);
  }

  saga(sagaId: string): Saga | undefined {
    return this.sagas.get(sagaId);
  }

  /** Whether an auditor holds this entry. */
  holds(sagaId: string, index: number): boolean {
    return this.sagas.get(sagaId)?.entries[index] !== undefined;
  }

  /** Reports `done` of an operation on a slot. */
  reports(sagaId: string, slot: string, operation: string): ReadonlyMap<string, ReportedSlot> {
    return this.sagas.get(sagaId)?.reports.get(`${slot} ${operation}`) ?? noReports;
  }

  #hear(message: ObservedMessage): void {
    if (message.type === 'step-reported') {
      const report = bodyOf(message, 'step-reported');
      if (report !== undefined) this.#noteReport(message.sender, report);
    } else if (message.type === 'receipts-issued') this.#hearReceipts(message);
  }

  #hearReceipts(message: ObservedMessage): void {
    // Receipts that only empty outboxes name no saga.
    if (!message.subject.endsWith('.verdict')) return;
    for (const each of bodyOf(message, 'receipts-issued')?.entries ?? []) {
      const { sagaId, sagaIndex, phase, verdict } = each;
      if (sagaId === undefined || sagaIndex === undefined || phase === undefined) continue;
      if (verdict !== 'accepted') continue;
      const saga = this.#open(sagaId);
      saga.phases.set(sagaIndex, phase);
      if (sagaIndex < saga.phaseIndex) continue;
      saga.phaseIndex = sagaIndex;
      const saidMs = saga.entries[sagaIndex]?.saidMs ?? message.timeMs;
      if (phase === 'rolled_back') saga.rolledBackAtMs ??= saidMs;
      saga.phase = phase;
    }
  }

  #noteReport(agentId: string, { sagaId, status, operation, slots }: StepReported): void {
    if (status !== 'done') return;
    const { reports } = this.#open(sagaId);
    for (const outcome of slots) {
      const name = `${outcome.slot} ${operation}`;
      const byAgent = reports.get(name) ?? new Map<string, ReportedSlot>();
      reports.set(name, byAgent.set(agentId, outcome));
    }
  }

  #noteRotation(
    entry: Extract<SagaEntry, { saga: 'rotation' }>,
    message: ObservedMessage,
    timeMs: number,
  ): void {
    const saga = this.#open(entry.sagaId);
    const { index, consumed, event } = entry;
    const { hash, sender: author, header } = message;
    const saidMs = header?.timeMs ?? message.timeMs;
    saga.entries[index] ??= { hash, index, author, consumed, event, timeMs, saidMs };
    switch (event.type) {
      case 'plan-drafted':
        saga.plan ??= event.plan.body;
        for (const slot of plannedSlots(event.plan.body)) saga.slots.set(slot.slot, slot);
        break;
      case 'slots-reserved':
        saga.isExecuted = true;
        break;
      case 'timer-fired':
        saga.timersFired += 1;
        break;
      case 'execution-authorized':
        saga.authorizations.push(event.authorization);
        break;
      case 'commit-decided':
        saga.commits.push({ hash, commit: event.commit, timeMs });
        break;
      case 'recovery-authorized':
        saga.recoveries.push({ index, authorization: event.authorization, timeMs });
        break;
      default:
    }
  }

  #noteRevocation(message: ObservedMessage | undefined): void {
    const offer = bodyOf(message, 'document-offered');
    if (offer === undefined) return;
    const { body } = JSON.parse(Buffer.from(offer.document).toString()) as OfferedDocument;
    if (body.kind === 'revocation') this.revoked.add(body.agent_id);
  }

  #noteSlots(event: SlotsEvent): void {
    this.heldBefore = new Map(this.held);
    const { sagaId, sagaIndex } = event;
    this.releasedBefore = this.released.get(sagaId);
    if (event.type === 'slots-reserved') {
      this.#reservations += 1;
      for (const slot of event.slots) {
        this.held.set(slot, { sagaId, sagaIndex });
        this.reservedAt.set(`${slot} ${sagaId}`, this.#reservations);
      }
      return;
    }
    if (sagaIndex <= (this.releasedBefore ?? -1)) return;
    this.released.set(sagaId, sagaIndex);
    for (const [slot, hold] of this.held) {
      if (hold.sagaId === sagaId && hold.sagaIndex <= sagaIndex) this.held.delete(slot);
    }
  }

  #open(sagaId: string): Saga {
    const known = this.sagas.get(sagaId);
    if (known !== undefined) return known;
    const saga: Saga = {
      sagaId,
      plan: undefined,
      planDigest: '',
      slots: new Map(),
      entries: [],
      commits: [],
      authorizations: [],
      recoveries: [],
      timersFired: 0,
      isExecuted: false,
      phases: new Map(),
      phase: undefined,
      phaseIndex: -1,
      rolledBackAtMs: undefined,
      revoked: this.revoked,
      reports: new Map(),
    };
    this.sagas.set(sagaId, saga);
    return saga;
  }
}

/** The plan's digest, computed once. */
export function digestOfPlan(observation: Observation, saga: Saga): string {
  if (saga.planDigest === '' && saga.plan !== undefined) {
    saga.planDigest = observation.documentDigest(saga.plan);
  }
  return saga.planDigest;
}

/**
 * Whether a member's word may be missing: a verifier that was revoked before, and one where the plan
 * fences silent ones out, though not before it was asked as often as the plan says. Each time that it did
 * not answer, a timer fired.
 */
export function mayBeMissing(saga: Saga, slot: string, agentId: string): boolean {
  const { plan, slots, timersFired, revoked } = saga;
  if (plan === undefined || slots.get(slot)?.owner === agentId) return false;
  if (revoked.has(agentId)) return true;
  if (plan.silent_member !== 'fence') return false;
  return timersFired >= plan.timing.step_attempts_max;
}

function plannedSlots(plan: RotationPlanBody): PlannedSlot[] {
  return plan.affected_keys.map(({ slot, members, key_id: keyId, version }) => ({
    slot,
    owner: members.find(({ role }) => role === 'owner')?.agent_id ?? '',
    members: members.map(({ agent_id: agentId }) => agentId),
    keyId,
    version,
  }));
}

const noReports: ReadonlyMap<string, ReportedSlot> = new Map();
