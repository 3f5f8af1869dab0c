/** What a layer agent refuses, each thing by itself, starting from a step that holds. */

import { describe, expect, it } from 'vitest';
import type { RotationPhase, StepOperation } from '#schemas/saga.ts';
import { checkStep, type StepCheck, type VerifiedEvent } from '#shared/core/step-evidence.ts';
import { digestOf, policyOf, signed } from './mesh.ts';
import { isStep, World } from './rotation/world.ts';
import type { SendStep } from '#shared/core/rotation/commands.ts';

const operations: readonly StepOperation[] = [
  'prepare',
  'accept',
  'activate',
  'verify',
  'measure',
  'release',
  'retire',
  'rollback',
  'discard',
  'freeze',
];

/** A step that holds, as its agent gets it. */
function checkOf(operation: StepOperation, policy = policyOf({ soak_ms: 100 })): StepCheck {
  const goesBack = ['rollback', 'discard', 'freeze'].includes(operation);
  const world = new World({
    policy,
    fault: (command) => {
      if (goesBack && isStep(command, 'verify', 4)) return {};
      return operation === 'freeze' && isStep(command, 'rollback') ? {} : undefined;
    },
  });
  world.execute();
  const isWanted = (command: World['pending'][number]): command is SendStep =>
    isStep(
      command,
      operation,
      operation === 'discard' ? undefined : operation === 'rollback' ? 4 : 1,
    );
  world.settle(() => isWanted(world.pending[0] ?? ({ type: 'none' } as never)));
  const command = world.pending[0] as SendStep;
  const { authorization } = world.state;
  const check = world.checkOf(command);
  return authorization === null ? check : { ...check, authorization: authorization.body };
}

function code(check: StepCheck): string {
  const verdict = checkStep(check);
  return verdict === 'ok' ? 'ok' : verdict.code;
}

/** The evidence with every report of an operation changed, or dropped where undefined. */
function evidence(
  check: StepCheck,
  change: (event: VerifiedEvent) => VerifiedEvent | undefined,
): StepCheck {
  return {
    ...check,
    evidence: check.evidence.flatMap((event) => {
      const changed = change(event);
      return changed === undefined ? [] : [changed];
    }),
  };
}

function at(check: StepCheck, phase: RotationPhase, more: object = {}): StepCheck {
  const { receipt } = check;
  if (receipt.type !== 'receipts-issued') throw new Error('not a receipt');
  const entries = receipt.body.entries.map((entry) => ({ ...entry, phase, ...more }));
  return { ...check, receipt: { ...receipt, body: { ...receipt.body, entries } } };
}

describe('a step that holds', () => {
  it.each(operations)('%s', (operation) => {
    expect(checkStep(checkOf(operation))).toBe('ok');
  });
});

describe('every step', () => {
  it.each(operations)('%s is refused in other phases', (operation) => {
    const check = checkOf(operation);
    for (const phase of ['drafted', 'approved', 'authorizing', 'committed', 'retired'] as const) {
      expect(code(at(check, phase))).toBe('ORCH-8015');
    }
    const other = operation === 'rollback' || operation === 'discard' ? 'retiring' : 'rolling_back';
    expect(code(at(check, other))).toBe('ORCH-8015');
  });

  it.each(operations)('%s is refused to strangers and for other plans', (operation) => {
    const check = checkOf(operation);
    expect(code({ ...check, agentId: 'layer-7-a', layer: 7 })).toBe('ORCH-8015');
    expect(code({ ...check, layer: check.layer === 3 ? 5 : 3 })).toBe('ORCH-8015');
    expect(code({ ...check, planDigest: digestOf('other') })).toBe('ORCH-8004');
    const otherSaga = { ...check.command, sagaId: 'rot-2' };
    expect(code({ ...check, command: otherSaga })).toBe('ORCH-8004');
    const unknown = { ...check.command, slots: ['1/unknown'] };
    expect(code({ ...check, command: unknown })).toBe('ORCH-8015');
    const twice = { ...check.command, slots: [...check.command.slots, ...check.command.slots] };
    expect(code({ ...check, command: twice })).toBe('ORCH-8004');
  });

  it('needs a receipt of an auditor for this entry of this saga', () => {
    const check = checkOf('activate');
    const { receipt } = check;
    expect(code({ ...check, receipt: { ...receipt, senderKind: 'orchestrator' } })).toBe(
      'ORCH-8015',
    );
    expect(code(at(check, 'activating', { sagaIndex: check.command.sagaIndex - 1 }))).toBe(
      'ORCH-8015',
    );
    expect(code(at(check, 'activating', { sagaId: 'rot-2' }))).toBe('ORCH-8015');
    expect(code(at(check, 'activating', { verdict: 'refused' }))).toBe('ORCH-8015');
    const [notReceipt] = check.evidence;
    if (notReceipt === undefined) throw new Error('no evidence');
    expect(code({ ...check, receipt: notReceipt })).toBe('ORCH-8015');
  });

  it('goes by the latest entry that the receipt covers', () => {
    const check = checkOf('activate');
    const { receipt } = check;
    if (receipt.type !== 'receipts-issued') throw new Error('not a receipt');
    const [entry] = receipt.body.entries;
    if (entry === undefined) throw new Error('no entry');
    const later = { ...entry, sagaIndex: (entry.sagaIndex ?? 0) + 1 };
    const body = {
      ...receipt.body,
      entries: [entry, { ...later, phase: 'rolling_back' as const }],
    };
    expect(code({ ...check, receipt: { ...receipt, body } })).toBe('ORCH-8015');
  });

  it('is fenced by a later one', () => {
    const check = checkOf('verify');
    expect(code({ ...check, lastSagaIndex: check.command.sagaIndex })).toBe('ok');
    expect(code({ ...check, lastSagaIndex: check.command.sagaIndex + 1 })).toBe('ORCH-8005');
  });

  it('is for owners only where only an owner can do it', () => {
    for (const operation of ['prepare', 'activate', 'measure', 'freeze'] as const) {
      const check = checkOf(operation);
      const command = { ...check.command, slots: ['1/session-token'] };
      expect(code({ ...check, command, agentId: 'layer-2-a', layer: 2 })).toBe('ORCH-8015');
    }
    const accept = checkOf('accept');
    expect(code({ ...accept, agentId: 'layer-1-a', layer: 1 })).toBe('ORCH-8015');
  });
});

describe('preparing and accepting', () => {
  it.each(['prepare', 'accept'] as const)('%s needs the approvals of this plan', (operation) => {
    const check = checkOf(operation);
    const without = evidence(check, (event) =>
      event.type === 'plan-approved' ? undefined : event,
    );
    expect(code(without)).toBe('ORCH-8015');
    const changes: ((event: VerifiedEvent) => VerifiedEvent)[] = [
      (event) => ({ ...event, senderId: 'op-1' }),
      (event) => ({ ...event, senderKind: 'orchestrator' }),
      (event) =>
        event.type === 'plan-approved'
          ? { ...event, body: { ...event.body, planDigest: digestOf('other') } }
          : event,
    ];
    for (const change of changes) {
      const changed = evidence(check, (event) =>
        event.type === 'plan-approved' ? change(event) : event,
      );
      expect(code(changed)).toBe('ORCH-8015');
    }
    const strict = policyOf({
      approvals: { scheduled: 2, emergency: 2, policy_change: 2, recovery: 1 },
    });
    expect(code({ ...check, policy: strict })).toBe('ORCH-8015');
    const [approval] = check.evidence.filter(({ type }) => type === 'plan-approved');
    if (approval === undefined) throw new Error('no approval');
    const twice = { ...check, policy: strict, evidence: [...check.evidence, approval] };
    expect(code(twice)).toBe('ORCH-8015');
  });

  it.each(['prepare', 'accept', 'activate', 'verify', 'measure'] as const)(
    '%s needs the authorization of this plan',
    (operation) => {
      const { authorization, ...check } = checkOf(operation);
      if (authorization === undefined) throw new Error('not authorized');
      const bare = { ...check, command: { ...check.command } };
      delete bare.command.authorization;
      expect(code(bare)).toBe('ORCH-8015');
      const other = { ...authorization, plan_digest: digestOf('other') };
      expect(code({ ...bare, authorization: other })).toBe('ORCH-8015');
      const carried = { ...bare.command, authorization: signed(authorization) };
      expect(code({ ...bare, command: carried })).toBe('ok');
    },
  );

  it('is not done after the authorization expired or outside of the window', () => {
    const check = checkOf('prepare');
    expect(code({ ...check, nowMs: check.nowMs + 3_602_000 })).toBe('ORCH-8004');
    expect(code({ ...check, nowMs: check.nowMs - 60_000 })).toBe('ORCH-8004');
  });

  it('accepts only the one key that the owner reported', () => {
    const check = checkOf('accept');
    const isPrepared = (event: VerifiedEvent): boolean => event.type === 'step-reported';
    expect(code(evidence(check, (event) => (isPrepared(event) ? undefined : event)))).toBe(
      'ORCH-8014',
    );
    const asOther = evidence(check, (event) =>
      isPrepared(event) ? { ...event, senderId: 'layer-2-a', senderLayer: 2 } : event,
    );
    expect(code(asOther)).toBe('ORCH-8014');
    const second = check.evidence.filter(isPrepared).map(withOtherKey);
    expect(code({ ...check, evidence: [...check.evidence, ...second] })).toBe('ORCH-8014');
  });
});

describe('activating', () => {
  const isAccept = (event: VerifiedEvent): boolean =>
    event.type === 'step-reported' && event.body.operation === 'accept';

  it('needs the acknowledgement of every member for the exact key', () => {
    const check = checkOf('activate');
    expect(code(evidence(check, (event) => (isAccept(event) ? undefined : event)))).toBe(
      'ORCH-8014',
    );
    expect(code(evidence(check, (event) => (isAccept(event) ? withOtherKey(event) : event)))).toBe(
      'ORCH-8014',
    );
    const changes: ((event: VerifiedEvent) => VerifiedEvent)[] = [
      (event) => ({ ...event, senderKind: 'orchestrator' }),
      (event) => ({ ...event, senderLayer: 3 }),
      (event) => ({ ...event, senderId: 'layer-3-a', senderLayer: 3 }),
      (event) => changedReport(event, { status: 'failed' }),
      (event) => changedReport(event, { planDigest: digestOf('other') }),
      (event) => changedReport(event, { sagaId: 'rot-2' }),
      (event) => changedReport(event, { operation: 'verify' }),
      (event) => changedReport(event, { slots: [] }),
    ];
    for (const change of changes) {
      expect(code(evidence(check, (event) => (isAccept(event) ? change(event) : event)))).toBe(
        'ORCH-8014',
      );
    }
  });

  it('lets a silent verifier be missing only where plan and policy fence it out', () => {
    const fencing = policyOf({ silent_member: 'fence', soak_ms: 100 });
    const check = checkOf('activate', fencing);
    const without = evidence(check, (event) => (isAccept(event) ? undefined : event));
    expect(code(without)).toBe('ok');
    expect(code({ ...without, policy: policyOf() })).toBe('ORCH-8014');
    const noOwner = evidence(check, (event) => (isAccept(event) ? event : undefined));
    expect(code(noOwner)).toBe('ORCH-8014');
    const other = evidence(check, (event) => (isAccept(event) ? withOtherKey(event) : event));
    expect(code(other)).toBe('ORCH-8014');
  });
});

describe('retiring', () => {
  it('needs the commit decision, the overlap, and every release with nothing in use', () => {
    const { commit: _commit, ...check } = checkOf('retire');
    const { commit } = check.command;
    if (commit === undefined) throw new Error('no commit');
    const bare = { ...check, command: { ...check.command } };
    delete bare.command.commit;
    expect(code(bare)).toBe('ORCH-8015');
    expect(code({ ...bare, commit: { ...commit.body, plan_digest: digestOf('x') } })).toBe(
      'ORCH-8015',
    );
    expect(code({ ...bare, commit: { ...commit.body, keys: [] } })).toBe('ORCH-8015');
    expect(code({ ...check, nowMs: check.nowMs - 3_000 })).toBe('ORCH-8007');
    const [first] = check.evidence;
    expect(code(evidence(check, (event) => (event === first ? undefined : event)))).toBe(
      'ORCH-8007',
    );
    const inUse = evidence(check, (event) =>
      event.type === 'step-reported'
        ? changedReport(event, { slots: event.body.slots.map((slot) => ({ ...slot, inUse: 1 })) })
        : event,
    );
    expect(code(inUse)).toBe('ORCH-8007');
    expect(code(evidence(check, withOtherKey))).toBe('ORCH-8007');
  });
});

describe('going back', () => {
  it('needs an approved recovery once frozen', () => {
    const check = checkOf('rollback');
    expect(code({ ...check, frozen: true })).toBe('ORCH-8006');
    const recovery = {
      kind: 'recovery_authorization' as const,
      mesh: 'test',
      rotation_plan_id: 'rot-1',
      plan_digest: check.planDigest,
      issued_at: check.plan.created_at,
      lockout: 1,
      approvals: [{ operator: 'op-2', event: digestOf('event') }],
    };
    expect(code({ ...check, frozen: true, recovery })).toBe('ok');
    expect(code({ ...check, recovery: { ...recovery, plan_digest: digestOf('x') } })).toBe(
      'ORCH-8015',
    );
  });
});

describe('a member that the agent itself knows as revoked', () => {
  const knowing = (revoked: string) => ({ isRevoked: (agentId: string) => agentId === revoked });
  const withoutWordOf = (check: StepCheck, agentId: string): StepCheck =>
    evidence(check, (event) => (event.senderId === agentId ? undefined : event));

  it.each([
    ['activate', 'ORCH-8014'],
    ['retire', 'ORCH-8007'],
  ] as const)('may be missing from what %s rests on, and nobody else', (operation, refusal) => {
    const check = withoutWordOf(checkOf(operation), 'layer-2-a');
    expect(code(check)).toBe(refusal);
    expect(code({ ...check, ...knowing('layer-3-a') })).toBe(refusal);
    expect(code({ ...check, ...knowing('layer-1-a') })).toBe(refusal);
    expect(code({ ...check, ...knowing('layer-2-a') })).toBe('ok');
  });

  it.each(['accept', 'verify'] as const)('is no owner of a key to %s', (operation) => {
    const check = checkOf(operation);
    expect(code({ ...check, ...knowing('layer-1-a') })).toBe('ORCH-8014');
    expect(code({ ...check, ...knowing('layer-2-a') })).toBe('ok');
  });

  it('does not keep others from letting go of its keys', () => {
    for (const operation of ['release', 'rollback', 'discard'] as const) {
      const check = checkOf(operation);
      const slot = check.command.slots[0];
      const owner = check.plan.affected_keys
        .find((key) => key.slot === slot)
        ?.members.find(({ role }) => role === 'owner');
      expect(code({ ...check, ...knowing(owner?.agent_id ?? '') })).toBe('ok');
    }
  });
});

function changedReport(event: VerifiedEvent, more: object): VerifiedEvent {
  if (event.type !== 'step-reported') return event;
  return { ...event, body: { ...event.body, ...more } };
}

function withOtherKey(event: VerifiedEvent): VerifiedEvent {
  if (event.type !== 'step-reported') return event;
  const slots = event.body.slots.map((slot) => ({
    ...slot,
    keyId: digestOf('other key'),
    publicDigest: digestOf('other key'),
  }));
  return changedReport(event, { slots });
}
