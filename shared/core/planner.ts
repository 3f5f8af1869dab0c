/**
 * Makes a rotation plan out of a request and what the layer agents say of themselves, and finds what
 * has changed since a plan was made. A plan freezes all that it rests on: keys, members, adapters,
 * documents, sequence, windows and the way back; execution is bound to it (ORCH-8004 on any
 * difference, ORCH-8007 where a layer is not ready). Who may ask, which algorithms, when and how late
 * is the policy's to say (ORCH-8015, 8002, 8004).
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { RotationRequested } from '#schemas/steps.ts';
import {
  layerDependencies,
  layerNumbers,
  preferredSequence,
  slotDefinitions,
  type LayerNumber,
} from '#schemas/layers.ts';
import type { AffectedKey, RotationPlanBody, SlotMember } from '#schemas/plan.ts';
import type { LayerInspection } from '#schemas/queries.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { RegistryBody } from '#schemas/registry.ts';
import { factorShortfall, type OperatorFactors } from './approvals.ts';
import { formatInstant, instantMs } from './instant.ts';
import { estimatePlan } from './plan-estimate.ts';
import { planFaults, type PlanFault } from './plan-faults.ts';
import { slotMembers, type LayerAgent } from './plan-members.ts';
import { ageFaults, emergencyDeadlineMs, timingFault } from './plan-timing.ts';
import { transportFault } from './plan-transport.ts';
import { divideWindow, windowOf, type LayerKeys } from './plan-window.ts';
import { policyAllows } from './policy.ts';
import { sequenceLayers } from './sequence.ts';

export type { LayerAgent } from './plan-members.ts';

/** Digests (SHA3-256, hexadecimal) of the documents in force. */
export interface DocumentDigests {
  readonly registry: string;
  readonly policy: string;
  readonly enrolments: string;
}

export interface PlanningInput {
  readonly request: RotationRequested;
  /** Statement hash of the request event. */
  readonly requestHash: string;
  /** Who asked, and when by the request's own time. */
  readonly requester: OperatorFactors;
  /** Layer 7 asked, by a healing action: second factors are asked of operators alone. */
  readonly isHealing?: boolean;
  readonly requestedAtMs: number;
  readonly planId: string;
  readonly mesh: string;
  readonly nowMs: number;
  readonly inspections: readonly LayerInspection[];
  /** All enrolled layer agents. */
  readonly agents: readonly LayerAgent[];
  readonly policy: PolicyBody;
  readonly registry: RegistryBody;
  readonly digests: DocumentDigests;
}

export interface PlanRefusal {
  readonly refused: OrchCode;
  readonly reason: string;
}

export function planRotation(input: PlanningInput): { plan: RotationPlanBody } | PlanRefusal {
  const layers = [...new Set(input.request.layers)];
  const unknown = layers.find((layer) => !layerNumbers.includes(layer));
  if (unknown !== undefined) return refuse('ORCH-8007', `there is no layer ${unknown}`);
  if (layers.length === 0) return refuse('ORCH-8004', 'no layer is named');
  const factors =
    input.isHealing === true ? undefined : factorShortfall(input.requester, layers, input.policy);
  if (factors !== undefined) return refuse('ORCH-8015', factors);
  const sequence = sequenceLayers(layers, layerDependencies, preferredSequence);
  if (!sequence.ok) {
    return refuse('ORCH-8008', `layers ${sequence.cycle.join(', ')} depend on each other`);
  }
  const outdated = layers.includes(3) ? transportFault(input.agents, input) : undefined;
  if (outdated !== undefined) return refuse(outdated.code, outdated.reason);
  const keys: LayerKeys[] = [];
  for (const layer of sequence.layers) {
    const found = keysOfLayer(input, layer);
    if ('refused' in found) return found;
    keys.push(found);
  }
  return assemble(input, sequence.layers, keys);
}

function assemble(
  input: PlanningInput,
  sequence: readonly LayerNumber[],
  keys: readonly LayerKeys[],
): { plan: RotationPlanBody } | PlanRefusal {
  const { request, policy, nowMs } = input;
  const estimate = estimatePlan(keys, policy.policies.rotation.soak_ms);
  const expiresMs = expiryMs(input);
  const startMs = Math.max(nowMs, request.windowStartMs ?? nowMs);
  const endMs = request.windowEndMs ?? Math.max(expiresMs, startMs);
  if (endMs <= nowMs) return refuse('ORCH-8004', 'the rotation window is in the past');
  if (startMs >= expiresMs) {
    return refuse('ORCH-8004', 'the plan would expire before its window opens');
  }
  if (endMs - startMs < estimate.activeMs) {
    const reason = `the rotation window is shorter than the ${estimate.activeMs} ms it takes`;
    return refuse('ORCH-8004', reason);
  }
  const affected = divideWindow(keys, { startMs, endMs });
  const plan = planBody(input, { sequence, affected, expiresMs, totalMs: estimate.totalMs });
  const [fault] = [
    ...planFaults(plan),
    ...existing(timingFault(plan, input)),
    ...ageFaults(plan, input),
  ];
  return fault === undefined ? { plan } : refuse(fault.code, `${fault.subject}: ${fault.reason}`);
}

/** An emergency is not planned for longer than the policy gives it. */
function expiryMs({ request, policy, nowMs, requestedAtMs }: PlanningInput): number {
  const validMs = nowMs + policy.policies.rotation.plan_valid_ms;
  return request.rotationType === 'emergency'
    ? Math.min(validMs, emergencyDeadlineMs(policy, requestedAtMs))
    : validMs;
}

interface PlanParts {
  readonly sequence: readonly LayerNumber[];
  readonly affected: readonly AffectedKey[];
  readonly expiresMs: number;
  readonly totalMs: number;
}

function planBody(
  input: PlanningInput,
  { sequence, affected, expiresMs, totalMs }: PlanParts,
): RotationPlanBody {
  const { request, digests, nowMs } = input;
  const rules = input.policy.policies.rotation;
  return {
    kind: 'rotation_plan',
    mesh: input.mesh,
    rotation_plan_id: input.planId,
    rotation_type: request.rotationType,
    requested_by: input.requester.agentId,
    request: input.requestHash,
    reason: request.reason,
    created_at: formatInstant(nowMs),
    expires_at: formatInstant(expiresMs),
    affected_layers: [...sequence].sort((one, other) => one - other),
    affected_keys: [...affected],
    dependencies: layerDependencies
      .filter(
        ({ prerequisite, dependent }) =>
          sequence.includes(prerequisite) && sequence.includes(dependent),
      )
      .map(({ prerequisite, dependent, reason }) => ({
        prerequisite: `layer_${prerequisite}_rotation`,
        dependent: `layer_${dependent}_rotation`,
        reason,
      })),
    coordination_sequence: [...sequence],
    rollback_triggers: [...rules.rollback_triggers],
    rollback_plan: {
      sequence: sequence.toReversed(),
      checkpoints: affected.map(({ slot, key_id, version }) => ({ slot, key_id, version })),
      attempts_max: rules.rollback_attempts_max,
    },
    timing: {
      step_timeout_ms: rules.step_timeout_ms,
      step_attempts_max: rules.step_attempts_max,
      soak_ms: rules.soak_ms,
      soak_samples_min: rules.soak_samples_min,
      overlap_ms: rules.overlap_ms,
    },
    approvals_required: rules.approvals[request.rotationType],
    silent_member: rules.silent_member,
    basis: {
      registry_digest: digests.registry,
      policy_digest: digests.policy,
      enrolments_digest: digests.enrolments,
      adapters: adaptersOf(affected, input.inspections),
    },
    estimated_duration_ms: totalMs,
  };
}

/** The keys of one layer with their members, or why it cannot be turned. */
function keysOfLayer(input: PlanningInput, layer: LayerNumber): LayerKeys | PlanRefusal {
  const { policy, registry } = input;
  const [owner] = slotMembers(input.agents, { layer, keyKind: 'aead' });
  if (owner === undefined) return refuse('ORCH-8007', `layer ${layer} has no agent`);
  const inspection = input.inspections.find(({ agentId }) => agentId === owner.agent_id);
  const keys: LayerKeys['keys'][number][] = [];
  for (const { slot, keyType, keyKind } of slotDefinitions.filter((one) => one.layer === layer)) {
    const status = inspection?.slots.find((one) => one.slot === slot);
    if (inspection?.ready === true && status === undefined) {
      return refuse('ORCH-8007', `${owner.agent_id} has no slot ${slot}`);
    }
    if (status?.frozen === true) return refuse('ORCH-8007', `${slot} is frozen`);
    const members = slotMembers(input.agents, { layer, keyKind });
    const absent = members.map((member) => absence(input, member)).find((one) => one !== null);
    if (absent !== undefined && absent !== null) return refuse('ORCH-8007', absent);
    if (status === undefined) return refuse('ORCH-8007', `layer ${layer} is not ready`);
    const { algorithm, keyId: key_id, version } = status;
    const verdict = policyAllows({ algorithm, keyKind, layer }, { policy, registry });
    if (!verdict.ok) return refuse(verdict.code, `${slot}: ${verdict.reason}`);
    const key = { slot, layer, key_type: keyType, key_kind: keyKind, algorithm, key_id, version };
    keys.push({ ...key, members });
  }
  return { layer, keys };
}

/** Why a member cannot take part; a silent verifier may be fenced out where the policy allows. */
function absence(input: PlanningInput, { agent_id, layer, role }: SlotMember): string | null {
  const inspection = input.inspections.find(({ agentId }) => agentId === agent_id);
  if (inspection?.ready === true) return null;
  const mayBeFenced = input.policy.policies.rotation.silent_member === 'fence';
  if (inspection === undefined) {
    return role === 'verifier' && mayBeFenced
      ? null
      : `${agent_id} of layer ${layer} does not answer`;
  }
  return `${agent_id} of layer ${layer} is not ready: ${inspection.reason ?? 'no reason given'}`;
}

function adaptersOf(
  keys: readonly AffectedKey[],
  inspections: readonly LayerInspection[],
): RotationPlanBody['basis']['adapters'] {
  const agents = new Set(keys.flatMap(({ members }) => members.map(({ agent_id }) => agent_id)));
  return inspections
    .filter(({ agentId }) => agents.has(agentId))
    .map(({ agentId, fingerprint }) => ({ agent_id: agentId, fingerprint }))
    .sort((one, other) => (one.agent_id < other.agent_id ? -1 : 1));
}

function refuse(refused: OrchCode, reason: string): PlanRefusal {
  return { refused, reason: reason.slice(0, 500) };
}

export interface ValidationInput {
  readonly inspections: readonly LayerInspection[];
  readonly policy: PolicyBody;
  readonly registry: RegistryBody;
  readonly digests: DocumentDigests;
  readonly nowMs: number;
}

/**
 * What stands against carrying out a plan now: faults of its own, what has changed since it was
 * made, layers that are not ready. Empty when it holds. The same check serves validation, dry runs
 * and execution.
 */
export function validatePlan(plan: RotationPlanBody, input: ValidationInput): PlanFault[] {
  return [
    ...planFaults(plan),
    ...timeDifferences(plan, input.nowMs),
    ...digestDifferences(plan, input.digests),
    ...agentDifferences(plan, input.inspections),
    ...existing(transportFault(distinctMembers(plan).map(layerAgentOf), input)),
    ...ageFaults(plan, input),
    ...plan.affected_keys.flatMap((key) => keyDifferences(key, input)),
  ];
}

/** What the time has against a plan that has not begun. */
export function timeDifferences(plan: RotationPlanBody, nowMs: number): PlanFault[] {
  if (nowMs >= instantMs(plan.expires_at)) {
    return [difference('ORCH-8004', 'expires_at', `the plan expired at ${plan.expires_at}`)];
  }
  return nowMs >= windowOf(plan).endMs
    ? [difference('ORCH-8004', 'rotation_window', 'the rotation window is over')]
    : [];
}

/** Documents that have changed since a plan was made from them. */
export function digestDifferences(plan: RotationPlanBody, digests: DocumentDigests): PlanFault[] {
  const { registry_digest, policy_digest, enrolments_digest } = plan.basis;
  const pairs = [
    ['registry', registry_digest, digests.registry],
    ['policy', policy_digest, digests.policy],
    ['enrolments', enrolments_digest, digests.enrolments],
  ] as const;
  return pairs
    .filter(([, planned, inForce]) => planned !== inForce)
    .map(([name]) => difference('ORCH-8004', name, `the ${name} changed since the plan was made`));
}

function agentDifferences(
  plan: RotationPlanBody,
  inspections: readonly LayerInspection[],
): PlanFault[] {
  return distinctMembers(plan).flatMap(({ agent_id, layer, role }) => {
    const inspection = inspections.find(({ agentId }) => agentId === agent_id);
    const mayBeFenced = role === 'verifier' && plan.silent_member === 'fence';
    if (inspection === undefined) {
      const reason = `${agent_id} of layer ${layer} does not answer`;
      return mayBeFenced ? [] : [difference('ORCH-8007', agent_id, reason)];
    }
    if (!inspection.ready) {
      const why = inspection.reason ?? 'no reason given';
      const reason = `${agent_id} of layer ${layer} is not ready: ${why}`;
      return [difference('ORCH-8007', agent_id, reason)];
    }
    const planned = plan.basis.adapters.find((adapter) => adapter.agent_id === agent_id);
    if (planned === undefined && mayBeFenced) return [];
    if (planned?.fingerprint === inspection.fingerprint) return [];
    return [difference('ORCH-8004', agent_id, `the adapter of ${agent_id} changed`)];
  });
}

/** Every member once; as an owner where it owns any slot. */
function distinctMembers(plan: RotationPlanBody): SlotMember[] {
  const members = new Map<string, SlotMember>();
  for (const member of plan.affected_keys.flatMap((key) => key.members)) {
    if (member.role === 'owner' || !members.has(member.agent_id)) {
      members.set(member.agent_id, member);
    }
  }
  return [...members.values()];
}

function layerAgentOf({ agent_id: agentId, layer }: SlotMember): LayerAgent {
  return { agentId, layer };
}

function keyDifferences(key: AffectedKey, input: ValidationInput): PlanFault[] {
  const { slot, layer, algorithm, key_kind: keyKind } = key;
  const owner = key.members.find(({ role }) => role === 'owner');
  const inspection = input.inspections.find(({ agentId }) => agentId === owner?.agent_id);
  if (inspection === undefined) return [];
  const status = inspection.slots.find((one) => one.slot === slot);
  if (status === undefined) return [difference('ORCH-8007', slot, `${slot} is gone`)];
  const faults: PlanFault[] = [];
  if (status.frozen) faults.push(difference('ORCH-8007', slot, `${slot} is frozen`));
  if (status.keyId !== key.key_id || status.version !== key.version) {
    const reason = `${slot} is at version ${status.version}, planned from ${key.version}`;
    faults.push(difference('ORCH-8004', slot, reason));
  }
  if (status.algorithm !== algorithm || status.keyKind !== keyKind) {
    faults.push(difference('ORCH-8004', slot, `${slot} has another algorithm than planned`));
  }
  const verdict = policyAllows({ algorithm, keyKind, layer }, input);
  if (!verdict.ok) faults.push(difference(verdict.code, slot, verdict.reason));
  return faults;
}

function existing<Item>(item: Item | undefined): Item[] {
  return item === undefined ? [] : [item];
}

function difference(code: OrchCode, subject: string, reason: string): PlanFault {
  return { code, subject, reason };
}
