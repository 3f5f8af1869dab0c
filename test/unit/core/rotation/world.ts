/**
 * A world for the pure rotation: honest layer agents, a signer and a ledger that carry out its
 * commands, with a clock that only moves when nothing else can happen. Agents and signer check what
 * they are told with the same functions as the real ones. Faults come from one hook per world. After
 * every entry the invariants are checked, and the state is taken through JSON.
 */

import assert from 'node:assert/strict';
import type { StepCommanded, StepReported } from '#schemas/steps.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { RotationPlanBody } from '#schemas/plan.ts';
import { RotationEvent, type StepReport } from '#schemas/saga.ts';
import { compile } from '#schemas/primitives.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import { beginRotation } from '#shared/core/rotation/begin.ts';
import type { RotationCommand, SendStep, SignStatement } from '#shared/core/rotation/commands.ts';
import { revokedMembers } from '#shared/core/rotation/revoke.ts';
import type { Rejection, RotationInput, RotationState } from '#shared/core/rotation/state.ts';
import { stepRotation } from '#shared/core/rotation/step.ts';
import { initialSlots, stepSlots } from '#shared/core/slots.ts';
import { checkStatement } from '#shared/core/statement-evidence.ts';
import type { VerifiedEvent } from '#shared/core/step-evidence.ts';
import { digestOf, inForce, nowMs, planOf, policyOf, signed } from '../mesh.ts';
import { deepFreeze } from './frozen.ts';
import { checkInvariants } from './invariants.ts';
import { receiptOf } from './receipt.ts';
import { StepAgent, type AgentAnswer } from './step-agent.ts';

const eventCheck = compile(RotationEvent);

export type Fault = 'silent' | { readonly code?: StepReport['code']; readonly reason?: string };

export interface WorldOptions {
  readonly policy?: PolicyBody;
  readonly plan?: RotationPlanBody;
  /** Asked for every step that is delivered; undefined lets the agent do its work. */
  readonly fault?: (command: SendStep, world: World) => Fault | undefined;
  /** What the honest agent would answer, changed on its way. */
  readonly answer?: (answer: AgentAnswer, command: SendStep) => AgentAnswer;
  /** Whether the signer refuses. */
  readonly refuses?: (command: SignStatement) => boolean;
}

export class World {
  readonly policy: PolicyBody;
  readonly plan: RotationPlanBody;
  readonly planDigest = digestOf('the plan');
  readonly agents = new Map<string, StepAgent>();
  readonly history: RotationInput[] = [];
  readonly issued: RotationCommand[] = [];
  readonly events = new Map<string, VerifiedEvent>();
  state: RotationState;
  ledger = initialSlots();
  clockMs = nowMs;
  /** Commands that the runtime has not carried out yet, in order. */
  pending: RotationCommand[] = [];
  /** By the trust documents of everyone: what these say counts for nothing, and they are not heard. */
  readonly revoked = new Set<string>();
  /** Steps that an agent refused by its own checks. */
  readonly refusals: string[] = [];
  readonly #options: WorldOptions;
  #timers: { id: string; dueMs: number }[] = [];
  #hashes = 0;

  constructor(options: WorldOptions = {}) {
    this.#options = options;
    this.policy = options.policy ?? policyOf();
    this.plan = options.plan ?? planOf({ policy: this.policy });
    for (const { members } of this.plan.affected_keys) {
      for (const { agent_id, layer } of members) {
        this.agents.set(agent_id, new StepAgent(agent_id, layer, this.plan));
      }
    }
    const event = { type: 'plan-drafted', atMs: this.clockMs, plan: signed(this.plan) } as const;
    this.state = deepFreeze(
      beginRotation(
        { sagaId: 'rot-1', planDigest: this.planDigest, entryHash: digestOf('entry 0') },
        { index: 0, consumed: [this.plan.request], event },
      ),
    );
    this.#take(this.state.outstanding);
  }

  /** Proposes an entry; on acceptance its commands are taken up. */
  propose(
    event: DistributiveOmit<RotationEvent, 'atMs'>,
    consumed: string[] = [],
  ): Rejection | null {
    const complete = { ...event, atMs: this.clockMs } as RotationEvent;
    if (!eventCheck.check(complete)) throw new Error(eventCheck.errors(complete).join('; '));
    const input = { index: this.state.index + 1, consumed, event: complete };
    const step = stepRotation(this.state, input, this.policy);
    if ('rejected' in step) return step;
    assert.deepEqual(JSON.parse(JSON.stringify(step.state)), step.state);
    const before = this.state;
    this.history.push(input);
    this.state = deepFreeze(step.state);
    checkInvariants(before, this);
    this.#take(step.commands);
    return null;
  }

  /** From the draft to the request to execute. */
  execute(): this {
    this.settle();
    assert.equal(this.approve('op-2'), null);
    assert.equal(this.requestExecution(), null);
    return this;
  }

  approve(operatorId: string): Rejection | null {
    const planId = this.plan.rotation_plan_id;
    const body = { planId, planDigest: this.planDigest };
    const hash = this.#record({ ...operator(operatorId), type: 'plan-approved', body });
    return this.propose({ type: 'approval-recorded', operatorId }, [hash]);
  }

  requestExecution(operatorId = 'op-1'): Rejection | null {
    const body = {
      planId: this.plan.rotation_plan_id,
      planDigest: this.planDigest,
      dryRun: false,
    };
    const hash = this.#record({ ...operator(operatorId), type: 'execution-requested', body });
    return this.propose({ type: 'execution-requested', operatorId }, [hash]);
  }

  requestRecovery(operatorId = 'op-1'): Rejection | null {
    const body = { planId: this.plan.rotation_plan_id, planDigest: this.planDigest };
    const hash = this.#record({ ...operator(operatorId), type: 'recovery-requested', body });
    return this.propose({ type: 'recovery-requested', operatorId }, [hash]);
  }

  approveRecovery(operatorId = 'op-2'): Rejection | null {
    const body = {
      planId: this.plan.rotation_plan_id,
      planDigest: this.planDigest,
      lockout: this.state.lockouts,
    };
    const hash = this.#record({ ...operator(operatorId), type: 'recovery-approved', body });
    return this.propose({ type: 'recovery-approved', operatorId }, [hash]);
  }

  /** Carries out commands and lets time pass until nothing is left to do, or `until` holds. */
  settle(until: (world: World) => boolean = () => false, stepsMax = 5_000): this {
    for (let steps = 0; steps < stepsMax; steps += 1) {
      if (until(this) || !this.advance()) return this;
    }
    throw new Error(`no end after ${stepsMax} steps: ${this.state.phase}`);
  }

  /** The trust documents say so from now on; the rotation hears of it when it next goes on. */
  revoke(...agentIds: readonly string[]): this {
    for (const agentId of agentIds) this.revoked.add(agentId);
    return this;
  }

  /** One thing happens: a command is carried out, or else the next timer fires. */
  advance(position = 0): boolean {
    const agentIds = revokedMembers(this.state, (agentId) => this.revoked.has(agentId));
    if (agentIds.length > 0) {
      assert.equal(this.propose({ type: 'members-revoked', agentIds }), null);
      return true;
    }
    const [command] = this.pending.splice(Math.min(position, this.pending.length - 1), 1);
    if (command !== undefined) {
      this.carryOut(command);
      return true;
    }
    const running = new Set(this.state.outstanding.map(({ id }) => id));
    this.#timers = this.#timers.filter(({ id }) => running.has(id));
    const [next] = this.#timers.toSorted((one, other) => one.dueMs - other.dueMs);
    if (next === undefined) return false;
    this.clockMs = Math.max(this.clockMs, next.dueMs);
    assert.equal(this.propose({ type: 'timer-fired', timer: next.id }), null);
    return true;
  }

  carryOut(command: RotationCommand): void {
    switch (command.type) {
      case 'validate-plan': {
        const readiness = [...this.agents.keys()].map((agentId) => ({ agentId, ready: true }));
        this.propose({ type: 'plan-validated', readiness });
        return;
      }
      case 'reserve-slots':
      case 'release-slots':
        this.#askLedger(command);
        return;
      case 'sign-statement':
        this.#sign(command);
        return;
      case 'send-step':
        this.#send(command);
        return;
      case 'start-timer':
        this.#timers.push({ id: command.timer, dueMs: this.clockMs + command.delayMs });
    }
  }

  /** The same commands again, as a runtime does that has lost all but the log. */
  restart(): void {
    this.state = deepFreeze(JSON.parse(JSON.stringify(this.state)) as RotationState);
    this.#timers = [];
    this.pending = structuredClone(this.state.outstanding);
  }

  agent(agentId: string): StepAgent {
    const agent = this.agents.get(agentId);
    if (agent === undefined) throw new Error(`no agent ${agentId}`);
    return agent;
  }

  /** Version of the primary key of every slot, at its owner. */
  primaries(): Record<string, number> {
    return Object.fromEntries(
      this.state.slots.map(({ slot, owner }) => [slot, this.agent(owner).primary(slot).version]),
    );
  }

  /** The distinct versions that are primary anywhere. */
  versions(): number[] {
    return [...new Set(Object.values(this.primaries()))];
  }

  /** The verified form of a report that an agent gives. */
  report(command: SendStep, answer: AgentAnswer): StepReport {
    const agent = this.agent(command.agentId);
    const body: StepReported = {
      commandId: command.id,
      sagaId: this.state.sagaId,
      sagaIndex: command.sagaIndex,
      planDigest: this.planDigest,
      operation: command.operation,
      durationMs: 1,
      ...answer,
    };
    const report = this.#record({
      senderId: agent.agentId,
      senderKind: 'layer',
      senderLayer: agent.layer,
      type: 'step-reported',
      body,
    });
    const { agentId, operation, id: commandId } = command;
    return { report, commandId, agentId, operation, ...answer };
  }

  /** What the agent would be sent, with a receipt for the entry that issued it. */
  checkOf(command: SendStep) {
    const { state } = this;
    const documents = new Set(command.documents);
    const body = {
      commandId: command.id,
      sagaId: state.sagaId,
      sagaIndex: command.sagaIndex,
      planDigest: this.planDigest,
      operation: command.operation,
      slots: command.slots,
      ...(documents.has('plan') ? { plan: state.plan } : {}),
      ...(documents.has('authorization') ? { authorization: state.authorization } : {}),
      ...(documents.has('commit') ? { commit: state.commit } : {}),
      ...(documents.has('recovery') ? { recovery: state.recovery } : {}),
      evidence: [],
    } as unknown as StepCommanded;
    return {
      command: body,
      plan: this.plan,
      planDigest: this.planDigest,
      evidence: this.evidence(command.evidence),
      receipt: receiptOf(this.state, this.clockMs),
      agentId: command.agentId,
      layer: command.layer,
      nowMs: this.clockMs,
      policy: this.policy,
      isRevoked: (agentId: string) => this.revoked.has(agentId),
    };
  }

  evidence(hashes: readonly string[]): VerifiedEvent[] {
    return hashes.map((hash) => {
      const event = this.events.get(hash);
      if (event === undefined) throw new Error('evidence that nobody gave');
      return event;
    });
  }

  #send(command: SendStep): void {
    const fault = this.#options.fault?.(command, this);
    if (fault === 'silent' || this.revoked.has(command.agentId)) return;
    const agent = this.agent(command.agentId);
    const answer =
      fault === undefined ? agent.carryOut(command, this.checkOf(command)) : failed(fault);
    if (answer === 'overtaken') return;
    if (answer.status === 'failed' && fault === undefined) {
      this.refusals.push(`${command.operation}: ${answer.reason}`);
    }
    const given = this.#options.answer?.(answer, command) ?? answer;
    const report = this.report(command, given);
    this.propose({ type: 'reports-received', reports: [report] }, [report.report]);
  }

  #sign(command: SignStatement): void {
    const { statement, body } = command;
    const verdict = checkStatement({
      statement: body,
      asker: { agentId: 'orchestrator-1', kind: 'orchestrator' },
      mesh: 'test',
      evidence: this.evidence(command.evidence),
      plan: this.plan,
      planDigest: this.planDigest,
      policy: this.policy,
      ...inForce(),
      isRevoked: (agentId) => this.revoked.has(agentId),
      nowMs: this.clockMs,
    });
    if (verdict !== 'ok') {
      assert.ok(this.revoked.size > 0);
      this.propose({ type: 'statement-refused', statement, ...verdict });
      return;
    }
    if (this.#options.refuses?.(command) === true) {
      this.propose({ type: 'statement-refused', statement, code: 'ORCH-8002', reason: 'no' });
      return;
    }
    switch (body.kind) {
      case 'rotation_authorization':
        this.propose({ type: 'execution-authorized', authorization: signed(body) });
        return;
      case 'rotation_commit':
        this.propose({ type: 'commit-decided', commit: signed(body) });
        return;
      case 'recovery_authorization':
        this.propose({ type: 'recovery-authorized', authorization: signed(body) });
    }
  }

  #askLedger(command: Extract<RotationCommand, { type: 'reserve-slots' | 'release-slots' }>): void {
    const { sagaId } = this.state;
    const { sagaIndex } = command;
    const head = { sagaId, sagaIndex, atMs: this.clockMs };
    const step =
      command.type === 'reserve-slots'
        ? stepSlots(this.ledger, { type: 'slots-reserved', ...head, slots: command.slots })
        : stepSlots(this.ledger, { type: 'slots-released', ...head });
    if ('rejected' in step) {
      this.propose({ type: 'execution-refused', code: 'ORCH-8004', reason: step.reason });
      return;
    }
    this.ledger = step.state;
    this.propose({ type: command.type === 'reserve-slots' ? 'slots-reserved' : 'slots-released' });
  }

  #take(commands: readonly RotationCommand[]): void {
    this.issued.push(...commands);
    this.pending.push(...structuredClone(commands));
  }

  #record(event: DistributiveOmit<VerifiedEvent, 'hash' | 'timeMs'>): string {
    this.#hashes += 1;
    const hash = digestOf(`event ${this.#hashes}`);
    this.events.set(hash, { ...event, hash, timeMs: this.clockMs } as VerifiedEvent);
    return hash;
  }
}

export type DistributiveOmit<Value, Key extends PropertyKey> = Value extends unknown
  ? Omit<Value, Key>
  : never;

/** Steps of one kind that concern one layer. */
export function isStep(
  command: RotationCommand,
  operation: SendStep['operation'],
  slotLayer?: LayerNumber,
): command is SendStep {
  return (
    command.type === 'send-step' &&
    command.operation === operation &&
    (slotLayer === undefined || command.slotLayer === slotLayer)
  );
}

function failed({ code, reason }: Exclude<Fault, 'silent'>): AgentAnswer {
  return { status: 'failed', code: code ?? 'ORCH-8005', reason: reason ?? 'it broke', slots: [] };
}

function operator(senderId: string) {
  return { senderId, senderKind: 'operator', senderCapabilities: ['mfa'] } as const;
}
