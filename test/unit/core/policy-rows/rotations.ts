/** Rows of the fields that say who may turn keys, when, how, and how old they may grow. */

import type { PolicyBody } from '#schemas/policy.ts';
import type { RotationType } from '#schemas/plan.ts';
import type { StepReport } from '#schemas/saga.ts';
import { instantMs } from '#shared/core/instant.ts';
import { nowMs, planOf, requestOf } from '../mesh.ts';
import { isStep, World, type WorldOptions } from '../rotation/world.ts';
import { done, statementCheck, stated, statesPlan, stepCheck, withoutFactors } from './asking.ts';
import { plans, reviewed, type Change, type PolicyRow } from './row.ts';

const planner = 'planner';
const signer = 'signer';
const agents = 'layer agents';
const rotation = 'state machine of rotations';
const documentReview = 'review of the document (whoever signs, offers or adopts it)';
const invalid = 'ORCH-8004';

export const rotationRows: readonly PolicyRow[] = [
  ...lifecycleRows(),
  ...factorRows(),
  ...approvalRows(),
  ...timeRows(),
  ...patienceRows(),
  ...soakRows(),
];

function lifecycleRows(): PolicyRow[] {
  const field = 'policies.key_lifecycle';
  const later = requestOf(undefined, { windowStartMs: nowMs + 1_800_000 });
  const ages = ['identity_keys', 'session_keys', 'kek', 'signature_keys', 'hmac_keys'] as const;
  const emergency = requestOf([1, 2], { rotationType: 'emergency' });
  const schedule = { field: `${field}.rotation_schedule`, code: invalid };
  const sundays: Change = ({ key_lifecycle: rules }) => (rules.rotation_schedule = '0 2 * * 0');
  const sla = { field: `${field}.emergency_rotation_sla_minutes`, code: invalid };
  const oneMinute: Change = ({ key_lifecycle: rules }) =>
    (rules.emergency_rotation_sla_minutes = 1);
  return [
    ...ages.map((rule): PolicyRow => ({
      field: `${field}.max_key_age_days.${rule}`,
      enforcedBy: 'planner and live check',
      change: ({ key_lifecycle: rules }) => (rules.max_key_age_days[rule] = 0),
      run: plans({ request: later }),
      code: 'ORCH-8002',
    })),
    {
      field: `${field}.max_key_age_days.dek`,
      enforcedBy: documentReview,
      change: ({ key_lifecycle: rules }) => (rules.max_key_age_days.dek = 1),
      run: reviewed,
      code: 'ORCH-8002',
    },
    { ...schedule, enforcedBy: planner, change: sundays, run: plans() },
    { ...schedule, enforcedBy: signer, change: sundays, run: statesPlan(planOf()) },
    {
      ...schedule,
      enforcedBy: documentReview,
      change: ({ key_lifecycle: rules }) => (rules.rotation_schedule = 'on Sundays'),
      run: reviewed,
      code: 'ORCH-8002',
    },
    {
      ...sla,
      enforcedBy: planner,
      before: ({ rotation: rules }) => (rules.soak_ms = 90_000),
      change: oneMinute,
      run: plans({ request: emergency }),
    },
    {
      ...sla,
      enforcedBy: signer,
      change: oneMinute,
      run: statesPlan(planOf({ request: emergency })),
    },
  ];
}

function factorRows(): PolicyRow[] {
  const field = 'policies.layer_specific.layer_1.mfa_required';
  const before: Change = (rules) => (rules.layer_specific.layer_1.mfa_required = false);
  const change: Change = (rules) => (rules.layer_specific.layer_1.mfa_required = true);
  const row = { field, before, change, code: 'ORCH-8015' };
  const requester = { agentId: 'op-1', capabilities: ['request'] };
  return [
    { ...row, enforcedBy: planner, run: plans({ requester }) },
    { ...row, enforcedBy: `${signer} (request)`, run: statesPlan(planOf(), []) },
    {
      ...row,
      enforcedBy: `${signer} (approvals)`,
      run: (policy) => stated(withoutFactors(statementCheck('rotation_authorization')), policy),
    },
    {
      ...row,
      enforcedBy: `${signer} (recovery)`,
      run: (policy) => stated(withoutFactors(statementCheck('recovery_authorization')), policy),
    },
    {
      ...row,
      enforcedBy: agents,
      run: (policy) => done(withoutFactors(stepCheck('prepare')), policy),
    },
  ];
}

function approvalRows(): PolicyRow[] {
  const types: RotationType[] = ['scheduled', 'emergency', 'policy_change'];
  const more = (type: RotationType): Change => {
    return ({ rotation: { approvals } }) => (approvals[type] += 1);
  };
  return [
    ...types.flatMap((type): PolicyRow[] => {
      const field = `policies.rotation.approvals.${type}`;
      const row = { field, change: more(type), code: 'ORCH-8015' };
      return [
        {
          ...row,
          enforcedBy: signer,
          run: (policy) => stated(statementCheck('rotation_authorization', type), policy),
        },
        { ...row, enforcedBy: agents, run: (policy) => done(stepCheck('prepare', type), policy) },
      ];
    }),
    {
      field: 'policies.rotation.approvals.recovery',
      enforcedBy: signer,
      change: ({ rotation: { approvals } }) => (approvals.recovery = 2),
      run: (policy) => stated(statementCheck('recovery_authorization'), policy),
      code: 'ORCH-8015',
    },
  ];
}

function timeRows(): PolicyRow[] {
  const field = 'policies.rotation';
  const later = requestOf([1, 2], { windowStartMs: nowMs + 1_800_000 });
  const validity = { field: `${field}.plan_valid_ms` };
  const halfHour: Change = ({ rotation: rules }) => (rules.plan_valid_ms = 1_800_000);
  return [
    {
      ...validity,
      enforcedBy: planner,
      change: halfHour,
      run: plans({ request: later }),
      code: invalid,
    },
    {
      ...validity,
      enforcedBy: signer,
      change: halfHour,
      run: statesPlan(planOf()),
      code: 'ORCH-8002',
    },
    {
      field: `${field}.clock_skew_ms`,
      enforcedBy: agents,
      change: ({ rotation: rules }) => (rules.clock_skew_ms = 0),
      run: (policy) => {
        const check = stepCheck('prepare');
        return done({ ...check, nowMs: instantMs(check.plan.expires_at) + 500 }, policy);
      },
      code: invalid,
    },
    {
      field: `${field}.overlap_ms`,
      enforcedBy: `${agents} (a plan made under the policy)`,
      change: ({ rotation: rules }) => (rules.overlap_ms = 4_000),
      run: (policy) => {
        const check = stepCheck('retire', 'scheduled', policy);
        const decidedMs = instantMs(
          check.commit?.issued_at ?? check.command.commit?.body.issued_at ?? '',
        );
        return done({ ...check, nowMs: decidedMs + 2_000 }, policy);
      },
      code: 'ORCH-8007',
    },
    lax('step_timeout_ms', ({ rotation: rules }) => (rules.step_timeout_ms = 6_000)),
    lax('step_attempts_max', ({ rotation: rules }) => (rules.step_attempts_max = 2)),
    lax('rollback_attempts_max', ({ rotation: rules }) => (rules.rollback_attempts_max = 5)),
    lax('soak_ms', ({ rotation: rules }) => (rules.soak_ms = 100)),
    lax('soak_samples_min', ({ rotation: rules }) => (rules.soak_samples_min = 1)),
    lax('overlap_ms', ({ rotation: rules }) => (rules.overlap_ms = 4_000)),
    lax('rollback_triggers', ({ rotation: rules }) => rules.rollback_triggers.pop()),
    lax('silent_member', ({ rotation: rules }) => (rules.silent_member = 'fence')),
  ];
}

/** A plan that runs by another rule than the policy's is not stated. */
function lax(name: string, change: Change): PolicyRow {
  const field = `policies.rotation.${name}`;
  return { field, enforcedBy: signer, change, run: statesPlan(planOf()), code: 'ORCH-8002' };
}

function patienceRows(): PolicyRow[] {
  const field = 'policies.rotation';
  return [
    {
      field: `${field}.step_attempts_max`,
      enforcedBy: rotation,
      change: ({ rotation: rules }) => (rules.step_attempts_max = 2),
      run: ends({
        fault: (command) =>
          isStep(command, 'prepare', 1) && command.attempt <= 2 ? 'silent' : undefined,
      }),
      code: 'ORCH-8013',
    },
    {
      field: `${field}.step_timeout_ms`,
      enforcedBy: rotation,
      change: ({ rotation: rules }) => (rules.step_timeout_ms = 1_000),
      run: ends({
        fault: (command, world) =>
          isStep(command, 'prepare', 1) && world.clockMs < nowMs + 9_000 ? 'silent' : undefined,
      }),
      code: 'ORCH-8013',
    },
    {
      field: `${field}.rollback_attempts_max`,
      enforcedBy: rotation,
      before: ({ rotation: rules }) => (rules.rollback_triggers = []),
      change: ({ rotation: rules }) => (rules.rollback_attempts_max = 1),
      run: (policy) => {
        const world = ended(policy, {
          fault: (command) =>
            command.operation === 'verify' ||
            (command.operation === 'rollback' && command.failures < 2)
              ? {}
              : undefined,
        });
        return world.state.lockouts === 0 ? 'ok' : 'ORCH-8006';
      },
      code: 'ORCH-8006',
    },
    {
      field: `${field}.silent_member`,
      enforcedBy: rotation,
      before: ({ rotation: rules }) => (rules.silent_member = 'fence'),
      change: ({ rotation: rules }) => (rules.silent_member = 'fail'),
      run: ends({
        fault: (command) =>
          isStep(command, 'accept') && command.agentId === 'layer-2-a' ? 'silent' : undefined,
      }),
      code: 'ORCH-8014',
    },
  ];
}

/** Measured: one use of the new keys in twenty fails. */
function soakRows(): PolicyRow[] {
  const field = 'policies.rotation';
  const row = { enforcedBy: rotation, code: 'ORCH-8005' };
  const soaking: Change = ({ rotation: rules }) => (rules.soak_ms = 100);
  const quiet: Change = ({ rotation: rules }) => {
    rules.soak_ms = 100;
    rules.rollback_triggers = [];
  };
  const ailing = ends({
    answer: (answer, command) =>
      isStep(command, 'measure') ? { ...answer, slots: answer.slots.map(failingOften) } : answer,
  });
  return [
    { ...row, field: `${field}.soak_ms`, change: soaking, run: ailing },
    {
      ...row,
      field: `${field}.rollback_triggers`,
      before: quiet,
      change: ({ rotation: rules }) => rules.rollback_triggers.push('error_rate > 1%'),
      run: ailing,
    },
    {
      ...row,
      field: `${field}.soak_samples_min`,
      before: quiet,
      change: ({ rotation: rules }) => (rules.soak_samples_min = 101),
      run: ends({}),
    },
    {
      field: `${field}.rollback_triggers`,
      enforcedBy: documentReview,
      change: ({ rotation: rules }) => rules.rollback_triggers.push('load > 1%'),
      run: reviewed,
      code: 'ORCH-8002',
    },
  ];
}

/** How a rotation of layers 1 and 2 under the policy ends: committed, or the code of what sent it back. */
function ends(options: WorldOptions) {
  return (policy: PolicyBody): string => ended(policy, options).state.failure?.code ?? 'ok';
}

function ended(policy: PolicyBody, options: WorldOptions): World {
  const plan = planOf({ policy, request: requestOf([1, 2]) });
  return new World({ ...options, policy, plan }).execute().settle();
}

function failingOften(slot: StepReport['slots'][number]) {
  return { ...slot, samples: { operations: 100, failures: 5, latencyPercent: 100 } };
}
