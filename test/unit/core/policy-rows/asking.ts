/** What signer and agents are asked in a rotation that holds under the provisioned policy. */

import type { PolicyBody } from '#schemas/policy.ts';
import type { RotationPlanBody, RotationType } from '#schemas/plan.ts';
import type { SendStep, SignStatement } from '#shared/core/rotation/commands.ts';
import { checkStatement, type StatementCheck } from '#shared/core/statement-evidence.ts';
import { checkStep, type StepCheck } from '#shared/core/step-evidence.ts';
import { digestOf, inForce, nowMs, planOf, policyOf, requestOf } from '../mesh.ts';
import { isStep, World, type WorldOptions } from '../rotation/world.ts';

/** Whether the signer states a plan that was made under the provisioned policy. */
export function statesPlan(statement: RotationPlanBody, capabilities = ['mfa']) {
  return (policy: PolicyBody): string =>
    stated(
      {
        ...asked(),
        statement,
        evidence: [
          {
            hash: digestOf('request'),
            senderId: 'op-1',
            senderKind: 'operator',
            senderCapabilities: capabilities,
            type: 'rotation-requested',
            timeMs: nowMs,
            body: requestOf(statement.affected_layers, { rotationType: statement.rotation_type }),
          },
        ],
      },
      policy,
    );
}

/** What the signer is asked in a rotation under the provisioned policy. */
export function statementCheck(
  kind: SignStatement['statement'],
  rotationType: RotationType = 'scheduled',
): StatementCheck {
  const goesWrong = kind === 'recovery_authorization';
  const world = begun(rotationType, policyOf(), {
    fault: (command) =>
      goesWrong && (isStep(command, 'verify') || isStep(command, 'rollback')) ? {} : undefined,
  });
  if (goesWrong) {
    world.settle();
    world.requestRecovery();
    world.approveRecovery();
  }
  const wanted = (): SignStatement | undefined => {
    const [command] = world.pending;
    return command?.type === 'sign-statement' && command.statement === kind ? command : undefined;
  };
  world.settle(() => wanted() !== undefined);
  const command = wanted();
  if (command === undefined) throw new Error(`nobody asks for a ${kind}`);
  return {
    ...asked(),
    statement: command.body,
    evidence: world.evidence(command.evidence),
    plan: world.plan,
    planDigest: world.planDigest,
    nowMs: world.clockMs,
  };
}

/** What an agent of layer 1 is told in a rotation under `policy`. */
export function stepCheck(
  operation: 'prepare' | 'retire',
  rotationType: RotationType = 'scheduled',
  policy = policyOf(),
): StepCheck {
  const world = begun(rotationType, policy);
  const wanted = (): SendStep | undefined => {
    const [command] = world.pending;
    return command !== undefined && isStep(command, operation) ? command : undefined;
  };
  world.settle(() => wanted() !== undefined);
  const command = wanted();
  if (command === undefined) throw new Error(`nobody commands ${operation}`);
  return world.checkOf(command);
}

/** A rotation of layers 1 and 2, approved as often as the provisioned policy asks, and begun. */
function begun(rotationType: RotationType, policy: PolicyBody, options: WorldOptions = {}): World {
  const plan = planOf({ policy, request: requestOf([1, 2], { rotationType }) });
  const world = new World({ ...options, policy, plan }).settle();
  for (let approver = 2; approver < 2 + plan.approvals_required; approver += 1) {
    world.approve(`op-${approver}`);
  }
  if (world.requestExecution() !== null) throw new Error('the execution is refused');
  return world;
}

function asked() {
  const asker = { agentId: 'orchestrator-1', kind: 'orchestrator' as const };
  const isRevoked = () => false;
  return { asker, mesh: 'test', policy: policyOf(), nowMs, isRevoked, ...inForce() };
}

export function stated(check: StatementCheck, policy: PolicyBody): string {
  const verdict = checkStatement({ ...check, policy });
  return verdict === 'ok' ? 'ok' : verdict.code;
}

export function done(check: StepCheck, policy: PolicyBody): string {
  const verdict = checkStep({ ...check, policy });
  return verdict === 'ok' ? 'ok' : verdict.code;
}

/** The same, of operators that are enrolled without a second factor. */
export function withoutFactors<Check extends StatementCheck | StepCheck>(check: Check): Check {
  return {
    ...check,
    evidence: check.evidence.map((event) => ({ ...event, senderCapabilities: ['approve'] })),
  };
}
