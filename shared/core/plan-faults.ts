/**
 * What a plan must be in itself, whatever the mesh looks like: one owner per slot, no slot twice, no
 * layer without those that depend on it, a sequence that its dependencies allow, a rollback plan that leads back exactly to where it began,
 * windows that do not overlap where they must not, triggers that can be read, and few enough reports
 * to be carried as evidence. Planner, signer, auditor and orchestrators use this one definition.
 */

import type { OrchCode } from '#schemas/errors.ts';
import { layerDependencies, type LayerNumber } from '#schemas/layers.ts';
import type { AffectedKey, RotationPlanBody } from '#schemas/plan.ts';
import { unheededDependencies } from './dependants.ts';
import { sameData, sameMembers } from './equality.ts';
import { instantMs } from './instant.ts';
import { parseTrigger } from './triggers.ts';

export interface PlanFault {
  readonly code: OrchCode;
  /** What it is about: a slot, a layer, an agent, a field. */
  readonly subject: string;
  readonly reason: string;
}

/** So that `<sagaId>-<index>-<n>` is an identifier of at most 64 characters. */
export const planIdCharsMax = 48;

/** Disclosures that one command or signing request can carry. */
export const evidenceMax = 64;

export function planFaults(plan: RotationPlanBody): PlanFault[] {
  return [
    ...identityFaults(plan),
    ...plan.affected_keys.flatMap(keyFaults),
    ...dependantFaults(plan),
    ...sequenceFaults(plan),
    ...rollbackFaults(plan),
    ...windowFaults(plan),
    ...evidenceFaults(plan),
  ];
}

/** The windows of two keys that may not overlap: of one layer, or of layers that are tied. */
export function windowFaults(plan: RotationPlanBody): PlanFault[] {
  const faults = plan.affected_keys.flatMap((key) => {
    const { start, end } = key.rotation_window;
    return instantMs(start) < instantMs(end)
      ? []
      : [fault('ORCH-8004', key.slot, 'the rotation window is empty')];
  });
  for (const [position, one] of plan.affected_keys.entries()) {
    for (const other of plan.affected_keys.slice(position + 1)) {
      if (areTied(one.layer, other.layer) && doOverlap(one, other)) {
        const reason = `the rotation windows of ${one.slot} and ${other.slot} overlap`;
        faults.push(fault('ORCH-8004', one.slot, reason));
      }
    }
  }
  for (const { prerequisite, dependent } of layerDependencies) {
    const before = keysOf(plan, prerequisite).map((key) => instantMs(key.rotation_window.end));
    const after = keysOf(plan, dependent).map((key) => instantMs(key.rotation_window.start));
    if (Math.max(...before) > Math.min(...after)) {
      const reason = `layer ${dependent} begins before layer ${prerequisite} has ended`;
      faults.push(fault('ORCH-8004', `layer ${dependent}`, reason));
    }
  }
  return faults;
}

function identityFaults(plan: RotationPlanBody): PlanFault[] {
  const faults: PlanFault[] = [];
  if (plan.rotation_plan_id.length > planIdCharsMax) {
    const reason = `the plan id is longer than ${planIdCharsMax} characters`;
    faults.push(fault('ORCH-8004', 'rotation_plan_id', reason));
  }
  if (!(instantMs(plan.created_at) < instantMs(plan.expires_at))) {
    faults.push(fault('ORCH-8004', 'expires_at', 'the plan expires before it is made'));
  }
  const slots = plan.affected_keys.map(({ slot }) => slot);
  if (new Set(slots).size !== slots.length) {
    faults.push(fault('ORCH-8004', 'affected_keys', 'a slot is named twice'));
  }
  const layers = [...new Set(plan.affected_keys.map(({ layer }) => layer))];
  if (!sameMembers(plan.affected_layers, layers)) {
    const reason = 'the affected layers are not those of the keys';
    faults.push(fault('ORCH-8004', 'affected_layers', reason));
  }
  for (const expression of plan.rollback_triggers) {
    const parsed = parseTrigger(expression);
    if (!parsed.ok) faults.push(fault('ORCH-8004', 'rollback_triggers', parsed.code));
  }
  return faults;
}

function keyFaults(key: AffectedKey): PlanFault[] {
  const faults: PlanFault[] = [];
  const agents = key.members.map(({ agent_id }) => agent_id);
  const owners = key.members.filter(({ role }) => role === 'owner');
  if (new Set(agents).size !== agents.length) {
    faults.push(fault('ORCH-8004', key.slot, 'a member is named twice'));
  }
  if (owners.length !== 1 || owners[0]?.layer !== key.layer) {
    faults.push(fault('ORCH-8004', key.slot, 'a slot has one owner, of its own layer'));
  }
  if (key.slot !== `${key.layer}/${key.key_type}`) {
    faults.push(fault('ORCH-8004', key.slot, 'the slot is not of this layer and key type'));
  }
  return faults;
}

/** A layer is not turned alone where others depend on it. */
function dependantFaults(plan: RotationPlanBody): PlanFault[] {
  return unheededDependencies(plan).map(({ prerequisite, dependent, reason }) =>
    fault(
      'ORCH-8008',
      `layer ${prerequisite}`,
      `layer ${dependent} has to be turned with it: ${reason}`,
    ),
  );
}

function sequenceFaults(plan: RotationPlanBody): PlanFault[] {
  const { coordination_sequence: sequence, dependencies } = plan;
  if (!sameMembers(sequence, plan.affected_layers)) {
    const reason = 'the sequence does not name every affected layer once';
    return [fault('ORCH-8008', 'coordination_sequence', reason)];
  }
  const affected = (layer: LayerNumber): boolean => sequence.includes(layer);
  return layerDependencies
    .filter(({ prerequisite, dependent }) => affected(prerequisite) && affected(dependent))
    .flatMap(({ prerequisite, dependent }) => {
      const subject = `layer ${dependent}`;
      const named = dependencies.some(
        (entry) =>
          entry.prerequisite === `layer_${prerequisite}_rotation` &&
          entry.dependent === `layer_${dependent}_rotation`,
      );
      if (!named) {
        const reason = `its dependency on layer ${prerequisite} is not named`;
        return [fault('ORCH-8008', subject, reason)];
      }
      return sequence.indexOf(prerequisite) < sequence.indexOf(dependent)
        ? []
        : [fault('ORCH-8008', subject, `layer ${prerequisite} must be turned before it`)];
    });
}

function rollbackFaults(plan: RotationPlanBody): PlanFault[] {
  const { sequence, checkpoints } = plan.rollback_plan;
  const faults: PlanFault[] = [];
  if (!sameData(sequence, plan.coordination_sequence.toReversed())) {
    const reason = 'the rollback sequence is not the sequence reversed';
    faults.push(fault('ORCH-8004', 'rollback_plan', reason));
  }
  const keys = plan.affected_keys.map(({ slot, key_id, version }) => ({ slot, key_id, version }));
  if (!sameData(checkpoints, keys)) {
    const reason = 'the checkpoints are not the keys that are primary now';
    faults.push(fault('ORCH-8004', 'rollback_plan', reason));
  }
  return faults;
}

/** Per layer: owners prepare and activate, verifiers accept, all verify. */
function evidenceFaults(plan: RotationPlanBody): PlanFault[] {
  const reports = plan.affected_layers.map((layer) => {
    const members = keysOf(plan, layer).flatMap((key) => key.members);
    const distinct = (role: string): number =>
      new Set(members.filter((member) => member.role === role).map(({ agent_id }) => agent_id))
        .size;
    return 3 * distinct('owner') + 2 * distinct('verifier');
  });
  const total = reports.reduce((sum, count) => sum + count, 0);
  if (total <= evidenceMax) return [];
  const reason = `it needs ${total} reports as evidence; at most ${evidenceMax} can be carried`;
  return [fault('ORCH-8004', 'affected_keys', reason)];
}

function keysOf(plan: RotationPlanBody, layer: LayerNumber): AffectedKey[] {
  return plan.affected_keys.filter((key) => key.layer === layer);
}

function areTied(one: LayerNumber, other: LayerNumber): boolean {
  return (
    one === other ||
    layerDependencies.some(
      ({ prerequisite, dependent }) =>
        (prerequisite === one && dependent === other) ||
        (prerequisite === other && dependent === one),
    )
  );
}

function doOverlap(one: AffectedKey, other: AffectedKey): boolean {
  const [first, second] = [one.rotation_window, other.rotation_window];
  return (
    instantMs(first.start) < instantMs(second.end) && instantMs(second.start) < instantMs(first.end)
  );
}

function fault(code: OrchCode, subject: string, reason: string): PlanFault {
  return { code, subject, reason };
}
