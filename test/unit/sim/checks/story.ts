/**
 * The rotation of one slot as it should go, in pieces: tests leave out, repeat or reorder them. After
 * each piece the stage is where production would be.
 */

import type { RotationPlanBody } from '#schemas/plan.ts';
import { digestOfBody, hashOf, keyOf, owner, planBody, slot, verifier } from './stage-parts.ts';
import { policyDigest, signed, Stage } from './stage.ts';

export interface StoryChoices {
  readonly id?: string;
  readonly approvers?: readonly string[];
  readonly digest?: string;
  readonly silentMember?: 'fail' | 'fence';
}

export class Story {
  readonly stage: Stage;
  readonly id: string;
  readonly plan: RotationPlanBody;
  readonly digest: string;
  readonly #choices: StoryChoices;
  readonly #old: number;

  constructor(stage = new Stage(), choices: StoryChoices = {}, old = 1) {
    this.stage = stage;
    this.id = choices.id ?? 'plan-1';
    this.#choices = choices;
    this.#old = old;
    const { silentMember = 'fail' } = choices;
    this.plan = planBody({ policyDigest, sagaId: this.id, silentMember, version: old });
    this.digest = digestOfBody(this.plan);
  }

  get #new() {
    return { version: this.#old + 1, keyId: keyOf(this.#old + 1).keyId };
  }

  get #at() {
    return { atMs: this.stage.nowMs };
  }

  get #named() {
    return { slot, ...this.#new, publicDigest: this.#new.keyId };
  }

  /** Asked for, planned, approved, executed, authorized. */
  executed(): this {
    const { stage, id, plan } = this;
    const { approvers = ['op-2'] } = this.#choices;
    const planDigest = this.#choices.digest ?? this.digest;
    stage.tell('op-1', 'rotation-requested', {}, { hash: hashOf(`request ${id}`) });
    const on = { id };
    stage.entry({ type: 'plan-drafted', plan: signed(plan), ...this.#at }, 'drafted', on);
    stage.entry({ type: 'plan-validated', readiness: [], ...this.#at }, 'validated', on);
    for (const operator of approvers) {
      stage.tell(operator, 'plan-approved', { planId: id, planDigest });
    }
    stage.entry({ type: 'approval-recorded', operatorId: 'op-2', ...this.#at }, 'approved', on);
    stage.entry({ type: 'execution-requested', operatorId: 'op-1', ...this.#at }, 'reserving', on);
    stage.ledger({
      type: 'slots-reserved',
      sagaId: id,
      sagaIndex: stage.index(id),
      slots: [slot],
      ...this.#at,
    });
    stage.entry({ type: 'slots-reserved', ...this.#at }, 'authorizing', on);
    const authorization = signed({
      kind: 'rotation_authorization' as const,
      mesh: 'test',
      rotation_plan_id: id,
      plan_digest: this.digest,
      issued_at: plan.created_at,
      policy_digest: policyDigest,
      approvals: [],
      expires_at: plan.expires_at,
    });
    stage.entry({ type: 'execution-authorized', authorization, ...this.#at }, 'preparing', on);
    return this;
  }

  prepared(): this {
    const { stage, id } = this;
    const { version } = this.#new;
    const step = stage.intent(owner, 'prepare', { sagaId: id, newVersion: version });
    stage.key(owner, 'prepared', version);
    stage.candidate(owner, version, id);
    stage.outcome(owner, step, [this.#named]);
    return this.#reported('distributing');
  }

  accepted(): this {
    const { stage, id } = this;
    const step = stage.intent(verifier, 'accept', { sagaId: id });
    stage.candidate(verifier, this.#new.version, id);
    stage.peer(verifier, this.#new.version);
    stage.outcome(verifier, step, [this.#named]);
    return this.#reported('activating');
  }

  activated(): this {
    const { stage, id } = this;
    const step = stage.intent(owner, 'activate', { sagaId: id });
    stage.key(owner, 'primary', this.#new.version);
    stage.outcome(owner, step, [this.#named]);
    for (const member of [owner, verifier]) {
      const use = stage.intent(member, 'verify', { sagaId: id });
      stage.outcome(member, use, [this.#named]);
    }
    return this.#reported('committing');
  }

  committed(): this {
    const { stage, id } = this;
    const { version, keyId } = this.#new;
    const commit = signed({
      kind: 'rotation_commit' as const,
      mesh: 'test',
      rotation_plan_id: id,
      plan_digest: this.digest,
      issued_at: new Date(stage.nowMs).toISOString(),
      keys: [{ slot, key_id: keyId, version }],
      reports: [hashOf('report')],
    });
    stage.entry({ type: 'commit-decided', commit, ...this.#at }, 'committed', { id });
    return this.#released();
  }

  /** Both members let the old key go. */
  letGo(members: readonly string[] = [owner, verifier]): this {
    const { stage, id } = this;
    const timer = { type: 'timer-fired', timer: 'overlap', ...this.#at } as const;
    stage.entry(timer, 'retiring', { id });
    for (const member of members) {
      const step = stage.intent(member, 'release', { sagaId: id });
      const { keyId } = keyOf(this.#old);
      const old = { slot, version: this.#old, keyId, publicDigest: keyId, inUse: 0 };
      stage.outcome(member, step, [old]);
    }
    return this.#reported('retiring');
  }

  retired(): this {
    const { stage, id } = this;
    const step = stage.intent(owner, 'retire', { sagaId: id });
    stage.key(owner, 'destroyed', this.#old);
    stage.outcome(owner, step);
    return this.#reported('retired');
  }

  /** Its receipt comes later than what it is about, where so many milliseconds are named. */
  rolledBack(receiptAfterMs = 0): this {
    const { stage, id } = this;
    const asked = { type: 'rollback-requested', operatorId: 'op-1', reason: 'test' } as const;
    stage.entry({ ...asked, ...this.#at }, 'rolling_back', { id });
    const step = stage.intent(owner, 'rollback', { sagaId: id });
    stage.sql(owner, 'keystore.db', [
      [`UPDATE versions SET state = 'withdrawn' WHERE version = ?`, this.#new.version],
      [`UPDATE versions SET state = 'primary' WHERE version = ?`, this.#old],
    ]);
    stage.outcome(owner, step);
    const header = { timeMs: stage.nowMs };
    stage.nowMs += receiptAfterMs;
    const event = { type: 'reports-received', ...this.#at } as const;
    stage.entry({ ...event, reports: [] }, 'rolled_back', { id, header });
    return this.#released();
  }

  /** The rollback fails too often, and the owner freezes its slot. */
  lockedOut(): this {
    const { stage, id } = this;
    const asked = { type: 'rollback-requested', operatorId: 'op-1', reason: 'test' } as const;
    stage.entry({ ...asked, ...this.#at }, 'rolling_back', { id });
    stage.entry({ type: 'timer-fired', timer: 'step', ...this.#at }, 'locked_out', { id });
    const step = stage.intent(owner, 'freeze', { sagaId: id });
    this.freeze(1);
    stage.outcome(owner, step, [{ slot, version: 1 }]);
    return this;
  }

  freeze(frozen: 0 | 1): this {
    this.stage.sql(owner, 'keystore.db', [['UPDATE slots SET frozen = ?', frozen]]);
    return this;
  }

  recovered(approvers: readonly string[] = ['op-2']): this {
    const { stage, id, digest } = this;
    const bound = { planId: id, planDigest: digest };
    const on = { id };
    stage.tell('op-1', 'recovery-requested', bound);
    stage.entry({ type: 'recovery-requested', operatorId: 'op-1', ...this.#at }, 'locked_out', on);
    for (const operator of approvers) {
      stage.tell(operator, 'recovery-approved', { ...bound, lockout: 1 });
      const approved = { type: 'recovery-approved', operatorId: operator, ...this.#at } as const;
      stage.entry(approved, 'locked_out', on);
    }
    const authorization = signed({
      kind: 'recovery_authorization' as const,
      mesh: 'test',
      rotation_plan_id: id,
      plan_digest: digest,
      issued_at: this.plan.created_at,
      lockout: 1,
      approvals: [],
    });
    stage.entry({ type: 'recovery-authorized', authorization, ...this.#at }, 'rolling_back', on);
    return this;
  }

  #released(): this {
    const { stage, id } = this;
    stage.ledger({
      type: 'slots-released',
      sagaId: id,
      sagaIndex: stage.index(id),
      ...this.#at,
    });
    return this;
  }

  #reported(phase: Parameters<Stage['entry']>[1]): this {
    const event = { type: 'reports-received', reports: [], ...this.#at } as const;
    this.stage.entry({ ...event, reports: [] }, phase, { id: this.id });
    return this;
  }
}

/** All of a rotation, without a flaw. */
export function wholeStory(): Story {
  const story = new Story();
  story.executed().prepared().accepted().activated().committed();
  story.stage.nowMs += 10_000;
  return story.letGo().retired();
}
