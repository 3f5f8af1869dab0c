/** What the signer refuses, each thing by itself, starting from a statement that holds. */

import { describe, expect, it } from 'vitest';
import type { SignStatement } from '#shared/core/rotation/commands.ts';
import { checkStatement, type StatementCheck } from '#shared/core/statement-evidence.ts';
import type { VerifiedEvent } from '#shared/core/step-evidence.ts';
import {
  agentsOf,
  digestOf,
  digests,
  inspectionOf,
  nowMs,
  planOf,
  policyOf,
  registryOf,
  requestOf,
} from './mesh.ts';
import { isStep, World } from './rotation/world.ts';

type Kind = SignStatement['statement'];

const common = {
  mesh: 'test',
  asker: { agentId: 'orchestrator-1', kind: 'orchestrator' as const },
  registry: registryOf(),
  digests,
  agents: agentsOf(),
  isRevoked: () => false,
  nowMs,
};

/** A signing request of a rotation as the runtime makes it. */
function checkOf(kind: Kind, policy = policyOf(), agents = agentsOf()): StatementCheck {
  const world = new World({
    policy,
    plan: planOf({ policy, agents, inspections: agents.map(inspectionOf) }),
    fault: (command) =>
      kind === 'recovery_authorization' &&
      (isStep(command, 'verify', 4) || isStep(command, 'rollback'))
        ? {}
        : undefined,
  });
  world.execute();
  if (kind === 'recovery_authorization') {
    world.settle();
    world.requestRecovery();
    world.approveRecovery();
  }
  world.settle(() => {
    const [command] = world.pending;
    return command?.type === 'sign-statement' && command.statement === kind;
  });
  const command = world.pending[0] as SignStatement;
  return {
    ...common,
    statement: command.body,
    evidence: world.evidence(command.evidence),
    plan: world.plan,
    planDigest: world.planDigest,
    policy,
    nowMs: world.clockMs,
  };
}

function planCheck(): StatementCheck {
  const event: VerifiedEvent = {
    hash: digestOf('request'),
    senderId: 'op-1',
    senderKind: 'operator',
    senderCapabilities: ['mfa'],
    type: 'rotation-requested',
    timeMs: nowMs,
    body: requestOf(),
  };
  return { ...common, statement: planOf(), evidence: [event], policy: policyOf() };
}

function code(check: StatementCheck): string {
  const verdict = checkStatement(check);
  return verdict === 'ok' ? 'ok' : verdict.code;
}

function stating(check: StatementCheck, more: object): StatementCheck {
  return { ...check, statement: { ...check.statement, ...more } as StatementCheck['statement'] };
}

function without(check: StatementCheck, drop: (event: VerifiedEvent) => boolean): StatementCheck {
  return { ...check, evidence: check.evidence.filter((event) => !drop(event)) };
}

describe('any statement', () => {
  it.each(['rotation_authorization', 'rotation_commit', 'recovery_authorization'] as const)(
    '%s is signed when it holds, for orchestrators, this mesh and this plan only',
    (kind) => {
      const check = checkOf(kind);
      expect(checkStatement(check)).toBe('ok');
      expect(code({ ...check, mesh: 'other' })).toBe('ORCH-8015');
      expect(code({ ...check, asker: { agentId: 'layer-1-a', kind: 'layer' } })).toBe('ORCH-8015');
      expect(code(stating(check, { plan_digest: digestOf('other') }))).toBe('ORCH-8004');
      expect(code(stating(check, { rotation_plan_id: 'rot-2' }))).toBe('ORCH-8004');
      const { plan: _plan, ...bare } = check;
      expect(code(bare)).toBe('ORCH-8004');
    },
  );
});

describe('a plan', () => {
  it('is signed when an operator asked for exactly this', () => {
    expect(checkStatement(planCheck())).toBe('ok');
    const check = planCheck();
    expect(code({ ...check, evidence: [] })).toBe('ORCH-8015');
    const changes: object[] = [
      { requested_by: 'op-2' },
      { reason: 'another' },
      { rotation_type: 'emergency', approvals_required: 0 },
    ];
    for (const change of changes) expect(code(stating(check, change))).toBe('ORCH-8015');
    const fewer = planOf({ request: requestOf([1, 2]) });
    expect(code({ ...check, statement: fewer })).toBe('ORCH-8015');
    const [event] = check.evidence;
    if (event === undefined) throw new Error('no request');
    expect(code({ ...check, evidence: [{ ...event, senderKind: 'orchestrator' }] })).toBe(
      'ORCH-8015',
    );
  });

  it('is not signed when it leaves out a member or a slot: nobody would wait for them', () => {
    const check = planCheck();
    const plan = planOf();
    const owners = plan.affected_keys.map((key) => ({
      ...key,
      members: key.members.filter(({ role }) => role === 'owner'),
    }));
    expect(code(stating(check, { affected_keys: owners }))).toBe('ORCH-8004');
    const affected = plan.affected_keys.filter(({ slot }) => slot !== '1/session-token');
    const checkpoints = plan.rollback_plan.checkpoints.filter(
      ({ slot }) => slot !== '1/session-token',
    );
    const fewer = {
      affected_keys: affected,
      rollback_plan: { ...plan.rollback_plan, checkpoints },
    };
    expect(code(stating(check, fewer))).toBe('ORCH-8004');
    expect(code({ ...check, agents: agentsOf(undefined, 2) })).toBe('ORCH-8004');
  });

  it('is not signed when it is laxer than the policy or rests on other documents', () => {
    const check = planCheck();
    const plan = planOf();
    const changes: [object, string][] = [
      [{ approvals_required: 0 }, 'ORCH-8002'],
      [{ silent_member: 'fence' }, 'ORCH-8002'],
      [{ rollback_triggers: [] }, 'ORCH-8002'],
      [{ timing: { ...plan.timing, overlap_ms: 0 } }, 'ORCH-8002'],
      [{ expires_at: '2036-01-01T00:00:00.000Z' }, 'ORCH-8002'],
      [
        { created_at: '2027-02-01T00:00:00.000Z', expires_at: '2027-02-01T00:01:00.000Z' },
        'ORCH-8004',
      ],
      [{ basis: { ...plan.basis, policy_digest: digestOf('x') } }, 'ORCH-8004'],
      [{ basis: { ...plan.basis, enrolments_digest: digestOf('x') } }, 'ORCH-8004'],
      [{ dependencies: [] }, 'ORCH-8008'],
      [
        {
          affected_keys: plan.affected_keys.map((key) =>
            key.layer === 7 ? { ...key, algorithm: 'RSA-2048' } : key,
          ),
        },
        'ORCH-8002',
      ],
      [
        {
          affected_keys: plan.affected_keys.map((key) =>
            key.layer === 7 ? { ...key, algorithm: 'NO-SUCH' } : key,
          ),
        },
        'ORCH-8003',
      ],
    ];
    for (const [change, expected] of changes) {
      expect(code(stating(check, change))).toBe(expected);
    }
    expect(code({ ...check, nowMs: nowMs + 3_600_000 })).toBe('ORCH-8004');
  });
});

describe('an authorization', () => {
  it('needs the approvals, the request to execute, and a plan in force', () => {
    const check = checkOf('rotation_authorization');
    expect(code(without(check, ({ type }) => type === 'plan-approved'))).toBe('ORCH-8015');
    expect(code(without(check, ({ type }) => type === 'execution-requested'))).toBe('ORCH-8015');
    expect(code(stating(check, { approvals: [] }))).toBe('ORCH-8015');
    expect(
      code(stating(check, { approvals: [{ operator: 'op-3', event: digestOf('event 1') }] })),
    ).toBe('ORCH-8015');
    expect(code(stating(check, { expires_at: '2036-01-01T00:00:00.000Z' }))).toBe('ORCH-8004');
    expect(code(stating(check, { policy_digest: digestOf('x') }))).toBe('ORCH-8004');
    expect(code({ ...check, nowMs: nowMs + 3_600_000 })).toBe('ORCH-8004');
    const strict = policyOf({
      approvals: { scheduled: 2, emergency: 2, policy_change: 2, recovery: 1 },
    });
    expect(code({ ...check, policy: strict })).toBe('ORCH-8015');
    const dry = check.evidence.map((event) =>
      event.type === 'execution-requested'
        ? { ...event, body: { ...event.body, dryRun: true } }
        : event,
    );
    expect(code({ ...check, evidence: dry })).toBe('ORCH-8015');
  });
});

describe('a commit', () => {
  it('needs every single report that it rests on', () => {
    const check = checkOf('rotation_commit');
    if (check.statement.kind !== 'rotation_commit') throw new Error('not a commit');
    const { reports } = check.statement;
    for (const report of reports) {
      expect(code(without(check, ({ hash }) => hash === report))).toBe('ORCH-8005');
      const fewer = reports.filter((other) => other !== report);
      expect(code(stating(check, { reports: fewer }))).toBe('ORCH-8005');
    }
  });

  it('is not dated before its reports, nor ahead of the signer: the overlap runs from its date', () => {
    const check = checkOf('rotation_commit');
    const skewMs = check.policy.policies.rotation.clock_skew_ms;
    const dated = (timeMs: number) => stating(check, { issued_at: new Date(timeMs).toISOString() });
    const lastMs = Math.max(...check.evidence.map(({ timeMs }) => timeMs));
    expect(code(dated(lastMs - skewMs))).toBe('ok');
    expect(code(dated(lastMs - skewMs - 1))).toBe('ORCH-8004');
    expect(code(dated(check.nowMs + skewMs))).toBe('ok');
    expect(code(dated(check.nowMs + skewMs + 1))).toBe('ORCH-8004');
    expect(code(stating(check, { issued_at: '2026-13-01T00:00:00.000Z' }))).toBe('ORCH-8004');
  });

  it('names exactly the keys that were prepared', () => {
    const check = checkOf('rotation_commit');
    if (check.statement.kind !== 'rotation_commit') throw new Error('not a commit');
    const { keys } = check.statement;
    expect(code(stating(check, { keys: keys.slice(1) }))).toBe('ORCH-8005');
    const other = keys.map((key, position) =>
      position === 0 ? { ...key, key_id: digestOf('other') } : key,
    );
    expect(code(stating(check, { keys: other }))).toBe('ORCH-8005');
  });

  it('does without a fenced verifier only where policy and plan allow it', () => {
    const check = checkOf('rotation_commit', policyOf({ silent_member: 'fence' }));
    if (check.statement.kind !== 'rotation_commit') throw new Error('not a commit');
    const ofVerifier = (event: VerifiedEvent): boolean =>
      event.type === 'step-reported' &&
      event.senderId === 'layer-2-a' &&
      event.body.slots.some(({ slot }) => slot.startsWith('1/'));
    const left = check.evidence.filter((event) => !ofVerifier(event));
    const reports = left.map(({ hash }) => hash);
    const fenced = stating({ ...check, evidence: left }, { reports });
    expect(left.length).toBe(check.evidence.length - 2);
    expect(code(fenced)).toBe('ok');
    expect(code({ ...fenced, policy: policyOf() })).toBe('ORCH-8005');
  });

  it('does without a verifier that the signer itself knows as revoked, and never without an owner', () => {
    const check = checkOf('rotation_commit');
    if (check.statement.kind !== 'rotation_commit') throw new Error('not a commit');
    const left = check.evidence.filter(({ senderId }) => senderId !== 'layer-2-a');
    const own = check.evidence.filter(
      (event) =>
        event.senderId === 'layer-2-a' &&
        event.type === 'step-reported' &&
        event.body.slots.some(({ slot }) => slot.startsWith('2/')),
    );
    const kept = [...left, ...own];
    const short = stating({ ...check, evidence: kept }, { reports: kept.map(({ hash }) => hash) });
    const knowing = (revoked: string) => (agentId: string) => agentId === revoked;
    expect(code(short)).toBe('ORCH-8005');
    expect(code({ ...short, isRevoked: knowing('layer-7-a') })).toBe('ORCH-8005');
    expect(code({ ...check, isRevoked: knowing('layer-1-a') })).toBe('ORCH-8005');
    expect(code({ ...short, isRevoked: knowing('layer-2-a') })).toBe('ORCH-8005');
  });

  it('does without a revoked member that owns nothing of the plan', () => {
    const check = checkOf('rotation_commit', policyOf(), agentsOf(undefined, 2));
    if (check.statement.kind !== 'rotation_commit') throw new Error('not a commit');
    const left = check.evidence.filter(({ senderId }) => senderId !== 'layer-2-b');
    const short = stating({ ...check, evidence: left }, { reports: left.map(({ hash }) => hash) });
    expect(left.length).toBeLessThan(check.evidence.length);
    expect(code(short)).toBe('ORCH-8005');
    expect(code({ ...short, isRevoked: (agentId) => agentId === 'layer-2-b' })).toBe('ok');
    expect(code({ ...short, isRevoked: (agentId) => agentId === 'layer-3-b' })).toBe('ORCH-8005');
  });
});

describe('a recovery', () => {
  it('needs approvals for this lockout by others than the one who asked', () => {
    const check = checkOf('recovery_authorization');
    expect(code(without(check, ({ type }) => type === 'recovery-approved'))).toBe('ORCH-8015');
    expect(code(without(check, ({ type }) => type === 'recovery-requested'))).toBe('ORCH-8015');
    expect(code(stating(check, { lockout: 2 }))).toBe('ORCH-8015');
    const own = check.evidence.map((event) =>
      event.type === 'recovery-approved' ? { ...event, senderId: 'op-1' } : event,
    );
    expect(code({ ...check, evidence: own })).toBe('ORCH-8015');
    if (check.statement.kind !== 'recovery_authorization') throw new Error('not a recovery');
    const [approval] = check.statement.approvals;
    expect(code(stating(check, { approvals: [approval, approval] }))).toBe('ORCH-8015');
  });
});

describe('a checkpoint', () => {
  const check: StatementCheck = {
    ...common,
    policy: policyOf(),
    evidence: [],
    asker: { agentId: 'auditor-1', kind: 'auditor' },
    statement: {
      kind: 'audit_checkpoint',
      mesh: 'test',
      auditor: 'auditor-1',
      tree_size: 10,
      root_hash: digestOf('root'),
      issued_at: '2027-01-01T00:00:00.000Z',
    },
  };

  it('is an auditor’s, of its own log, that never gets shorter', () => {
    expect(checkStatement(check)).toBe('ok');
    expect(checkStatement({ ...check, lastTreeSize: 10 })).toBe('ok');
    expect(code({ ...check, lastTreeSize: 11 })).toBe('ORCH-8015');
    expect(code({ ...check, asker: { agentId: 'auditor-2', kind: 'auditor' } })).toBe('ORCH-8015');
    expect(code({ ...check, asker: common.asker })).toBe('ORCH-8015');
  });
});
