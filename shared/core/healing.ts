/**
 * What becomes of anomalies: which findings are worth an action, what an action amounts to as a request
 * for a rotation, and how many of them may run. Orchestrators decide by these rules, the signer and the
 * auditor hold them against what they see, so none of them has to believe another.
 *
 * A storm of anomalies leads to one rotation: one rotation of this kind is under way at a time, and
 * none turns a layer that another one turned within the policy's emergency time. So whoever steals
 * layer 7's agent, its keys included, turns each layer once in that time and causes nothing else.
 */

import type { OrchCode } from '#schemas/errors.ts';
import {
  anomaliesPerActionMax,
  healingLayer,
  healingSlot,
  type Anomaly,
  type HealingAction,
  type HealingClaim,
} from '#schemas/healing.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import type { RotationRequested } from '#schemas/steps.ts';
import type { Finding } from './anomaly/watch.ts';
import { servedBy, withDependants } from './dependants.ts';
import { instantMs } from './instant.ts';
import type { LayerAgent } from './plan-members.ts';
import type { RotationState } from './rotation/state.ts';
import type { VerifiedEvent } from './verified-event.ts';

/** A layer is asked for anew after so long, while an anomaly of it stands. */
export const askAgainMs = 30_000;
export interface HealingState {
  /** When an action was last asked for, by layer. */
  readonly asked: ReadonlyMap<LayerNumber, number>;
  /** What the next action will rest on; the first one says when it is due. */
  readonly gathered: readonly Finding[];
}

export const nothingAsked: HealingState = { asked: new Map(), gathered: [] };

export interface WantedAction {
  readonly anomalies: Anomaly[];
  readonly action: HealingAction;
}

/**
 * Only what the keys themselves show: their uses fail, or what they vouch for does not hold. Load, memory,
 * silence and refusals of strangers' requests are shown to people: a new key mends none of them, and
 * strangers must not be able to turn keys.
 */
export function isHealable({ rule, metric, verdict }: Finding): boolean {
  if (verdict === 'cleared') return false;
  return rule === 'ratio' || (rule === 'rate' && metric.startsWith('integrity-'));
}

/** Takes a finding in, where it is worth an action that was not asked for lately. */
export function gatherFinding(state: HealingState, finding: Finding): HealingState {
  if (!isHealable(finding) || state.gathered.length >= anomaliesPerActionMax) return state;
  const askedAtMs = state.asked.get(finding.layer);
  if (askedAtMs !== undefined && finding.atMs - askedAtMs < askAgainMs) return state;
  const isKnown = state.gathered.some(
    ({ agentId, metric, slot, version }) =>
      agentId === finding.agentId &&
      metric === finding.metric &&
      slot === finding.slot &&
      version === finding.version,
  );
  return isKnown ? state : { ...state, gathered: [...state.gathered, finding] };
}

/**
 * The action that is due by now. Anomalies that begin together are one action: the first one waits
 * `gatherMs` for others, as long as agents take to report once each.
 */
export function dueAction(
  state: HealingState,
  { nowMs, gatherMs }: { readonly nowMs: number; readonly gatherMs: number },
): { readonly state: HealingState; readonly wanted?: WantedAction } {
  const [first] = state.gathered;
  if (first === undefined || nowMs < first.atMs + gatherMs) return { state };
  const layers = [...new Set(state.gathered.map(({ layer }) => layer))];
  const asked = new Map(state.asked);
  for (const layer of layers) asked.set(layer, nowMs);
  const action: HealingAction = {
    kind: 'emergency-rotation',
    layers: layers.sort((one, other) => one - other),
    withDependants: true,
  };
  const anomalies = state.gathered.map(({ verdict: _verdict, ...anomaly }) => anomaly);
  return { state: { asked, gathered: [] }, wanted: { anomalies, action } };
}

/**
 * The rotation that a claim asks for: the same for everyone who reads it under the same enrolments. What
 * depends on its layers is turned with them where one of `agents`, those that are not revoked, serves it.
 */
export function requestOfClaim(
  { actionId, anomalies, action }: HealingClaim,
  agents: readonly Pick<LayerAgent, 'layer'>[],
): RotationRequested {
  const [first, ...others] = anomalies;
  const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
  return {
    requestId: actionId,
    rotationType: 'emergency',
    layers: withDependants(action.layers, servedBy(agents)),
    reason: `self-healing: ${first === undefined ? 'nothing' : describe(first)}${more}`.slice(
      0,
      500,
    ),
  };
}

/** Whether an event is layer 7's own word, which is all that lets it ask for a rotation. */
export function isHealingRequest(
  event: VerifiedEvent | undefined,
): event is Extract<VerifiedEvent, { type: 'healing-action-requested' }> {
  return (
    event?.type === 'healing-action-requested' &&
    event.senderKind === 'layer' &&
    event.senderLayer === healingLayer
  );
}

/** A rotation that a healing action led to. */
export interface HealingRotation {
  readonly sagaId: string;
  readonly layers: readonly number[];
  readonly phase: RotationPhase;
  /** By the plan, which the signer dated, or by its first entry: the later of the two. */
  readonly beganAtMs: number;
  readonly expiresAtMs: number;
}

export function healingRotationOf({
  sagaId,
  plan,
  phase,
  beganAtMs,
}: RotationState): HealingRotation {
  const { affected_layers: layers, created_at: createdAt, expires_at: expiresAt } = plan.body;
  return {
    sagaId,
    layers,
    phase,
    beganAtMs: Math.max(beganAtMs, instantMs(createdAt)),
    expiresAtMs: instantMs(expiresAt),
  };
}

/**
 * Names of the slot's keys that rotations have shown: those before them that are not destroyed yet, and
 * new ones from their activation on. The one that is primary now its owner tells by itself.
 */
export function healingKeysIn(rotations: readonly RotationState[]): Set<string> {
  const keys = new Set<string>();
  for (const { slots, phase } of rotations) {
    const progress = slots.find(({ slot }) => slot === healingSlot);
    if (progress === undefined || phase === 'refused') continue;
    const { checkpoint, candidate, retired, activated } = progress;
    if (retired.length === 0) keys.add(checkpoint.keyId);
    if (candidate !== null && activated.length > 0 && phase !== 'rolled_back') {
      keys.add(candidate.keyId);
    }
  }
  for (const keyId of healingKeysGone(rotations)) keys.delete(keyId);
  return keys;
}

/** Keys of the slot that a rotation has destroyed, or has dropped on its way back: for good. */
export function healingKeysGone(rotations: readonly RotationState[]): Set<string> {
  const keys = new Set<string>();
  for (const { slots, phase } of rotations) {
    const progress = slots.find(({ slot }) => slot === healingSlot);
    if (progress === undefined) continue;
    const { checkpoint, candidate, retired } = progress;
    if (retired.length > 0) keys.add(checkpoint.keyId);
    if (candidate !== null && phase === 'rolled_back') keys.add(candidate.keyId);
  }
  return keys;
}

/**
 * Why a claim is not taken at the time of its event, or undefined: what it rests on is of later, or older
 * than the time in which an emergency has to be over.
 */
export function claimShortfall(
  { anomalies }: HealingClaim,
  { timeMs, policy }: { readonly timeMs: number; readonly policy: PolicyBody },
): string | undefined {
  const { clock_skew_ms: skewMs } = policy.policies.rotation;
  const times = anomalies.map(({ atMs }) => atMs);
  if (Math.max(...times) > timeMs + skewMs) return 'an anomaly of the claim is from the future';
  return Math.min(...times) < timeMs - healingPauseMs(policy) - skewMs
    ? 'an anomaly of the claim is old'
    : undefined;
}

/** How long a layer that was turned is left alone: the time in which an emergency has to be over. */
export function healingPauseMs(policy: PolicyBody): number {
  return policy.policies.key_lifecycle.emergency_rotation_sla_minutes * 60_000;
}

/** A plan that was refused turned nothing: it is tried again sooner. */
const refusedPauseMs = 20_000;

/** Nothing runs under them yet: they end when their plan does. */
const waiting: ReadonlySet<RotationPhase> = new Set(['drafted', 'validated', 'approved']);
const over: ReadonlySet<RotationPhase> = new Set([
  'refused',
  'committed',
  'retiring',
  'retired',
  'rolled_back',
  'locked_out',
]);

/** Why no further rotation is begun for a healing action (ORCH-8009), or undefined. */
export function healingShortfall(
  layers: readonly number[],
  {
    others,
    policy,
    nowMs,
  }: {
    readonly others: readonly HealingRotation[];
    readonly policy: PolicyBody;
    readonly nowMs: number;
  },
): { readonly code: OrchCode; readonly reason: string } | undefined {
  const running = others.find(({ phase, expiresAtMs }) =>
    waiting.has(phase) ? nowMs < expiresAtMs : !over.has(phase),
  );
  if (running !== undefined) return conflict(`${running.sagaId} is under way already`);
  const pauseMs = healingPauseMs(policy);
  const lately = others.find(
    ({ layers: turned, beganAtMs, phase }) =>
      nowMs < beganAtMs + (phase === 'refused' ? Math.min(refusedPauseMs, pauseMs) : pauseMs) &&
      layers.some((layer) => turned.includes(layer)),
  );
  return lately === undefined
    ? undefined
    : conflict(
        `${lately.sagaId} turned a layer of these within the last ${pauseMs / 60_000} minutes`,
      );
}

function conflict(reason: string) {
  return { code: 'ORCH-8009', reason } as const;
}

function describe({ agentId, slot, metric, observed, expected, threshold }: Anomaly): string {
  const where = slot === undefined ? agentId : `${slot} of ${agentId}`;
  const numbers = `expected ${rounded(expected)}, threshold ${rounded(threshold)}`;
  return `${metric} of ${where} is ${rounded(observed)}, ${numbers}`;
}

function rounded(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toPrecision(4);
}
