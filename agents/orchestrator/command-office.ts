/**
 * Carries out one command of a rotation: asks, commands, has signed, reserves. Each one ends in a
 * proposal for the log, or in none where the outcome comes back as an event of its own (a report).
 */

import type { StepCommanded } from '#schemas/steps.ts';
import {
  RecoveryAuthorization,
  RotationAuthorization,
  RotationCommit,
  type RotationPlanBody,
} from '#schemas/plan.ts';
import { compile } from '#schemas/primitives.ts';
import { BusError } from '#shared/bus/bus.ts';
import { validatePlan } from '#shared/core/planner.ts';
import { reasonOf } from '#shared/core/reason.ts';
import type {
  ReleaseSlots,
  ReserveSlots,
  RotationCommand,
  SendStep,
  SignStatement,
} from '#shared/core/rotation/commands.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import { noLongerWanted, type Proposal } from './appender.ts';
import type { EvidenceShelf } from './evidence.ts';
import { signTimeoutMs, type OrchestratorPorts } from './ports.ts';
import { askForReceipts } from './receipts.ts';
import type { RotationLog } from './saga-log.ts';
import type { SlotLedger } from './slot-ledger.ts';
import { surveyLayers } from './survey.ts';

const authorizationCheck = compile(RotationAuthorization);
const commitCheck = compile(RotationCommit);
const recoveryCheck = compile(RecoveryAuthorization);

export class CommandOffice {
  readonly #ports: OrchestratorPorts;
  readonly #shelf: EvidenceShelf;
  readonly #ledger: SlotLedger;

  constructor(ports: OrchestratorPorts, shelf: EvidenceShelf, ledger: SlotLedger) {
    this.#ports = ports;
    this.#shelf = shelf;
    this.#ledger = ledger;
  }

  /** @throws BusError when the bus or an agent does not answer: the command stays outstanding */
  async carryOut(command: RotationCommand, log: RotationLog): Promise<Proposal | undefined> {
    const { state } = log;
    if (state === null) throw new Error('assertion: a command without a state');
    switch (command.type) {
      case 'validate-plan':
        return this.#validate(state);
      case 'reserve-slots':
        return this.#reserve(log, state, command);
      case 'release-slots':
        return this.#release(log, command);
      case 'sign-statement':
        return this.#sign(state, command);
      case 'send-step':
        await this.#send(log, state, command);
        return undefined;
      case 'start-timer':
        throw new Error('assertion: timers belong to the driver');
    }
  }

  /** The first difference between the plan and what is live now, or undefined. */
  async difference(plan: RotationPlanBody) {
    const { trust, clock } = this.#ports;
    const members = plan.affected_keys.flatMap((key) => key.members);
    const concerned = members.map(({ layer }) => layer);
    const inspections = await surveyLayers(this.#ports, concerned);
    const differences = validatePlan(plan, {
      inspections,
      policy: trust.policy,
      registry: trust.registry,
      digests: {
        registry: trust.registryDigest,
        policy: trust.policyDigest,
        enrolments: trust.enrolmentsDigest,
      },
      nowMs: clock.nowMs(),
    });
    return { inspections, first: differences[0] };
  }

  async #validate(state: RotationState): Promise<Proposal> {
    const { inspections, first } = await this.difference(state.plan.body);
    if (first !== undefined) {
      const { code } = first;
      const reason = reasonOf(first.reason);
      return { event: { type: 'plan-refused', code, reason }, consumed: [] };
    }
    const involved = new Set(state.plan.body.affected_layers.map(String));
    const readiness = inspections
      .filter(({ agentId }) => involved.has(String(this.#ports.trust.agent(agentId)?.layer)))
      .map(({ agentId, ready }) => ({ agentId, ready }));
    return { event: { type: 'plan-validated', readiness }, consumed: [] };
  }

  async #reserve(
    log: RotationLog,
    state: RotationState,
    command: ReserveSlots,
  ): Promise<Proposal | undefined> {
    const { first } = await this.difference(state.plan.body);
    if (first !== undefined) {
      const { code } = first;
      const reason = reasonOf(first.reason);
      return { event: { type: 'execution-refused', code, reason }, consumed: [] };
    }
    const { sagaId } = state;
    const { sagaIndex, slots } = command;
    const hold = { sagaId, sagaIndex, slots };
    const outcome = await this.#ledger.reserve(hold, () => isOutstanding(log, command));
    if (outcome.status === 'applied') return { event: { type: 'slots-reserved' }, consumed: [] };
    if (outcome.code === noLongerWanted) return undefined;
    const reason = reasonOf(outcome.reason);
    return { event: { type: 'execution-refused', code: 'ORCH-8004', reason }, consumed: [] };
  }

  async #release(log: RotationLog, command: ReleaseSlots): Promise<Proposal | undefined> {
    const { sagaIndex } = command;
    const hold = { sagaId: log.sagaId, sagaIndex };
    const outcome = await this.#ledger.release(hold, () => isOutstanding(log, command));
    if (outcome.status === 'applied') return { event: { type: 'slots-released' }, consumed: [] };
    if (outcome.code === noLongerWanted) return undefined;
    throw new BusError('BUS_REJECTED', `the slots were not released: ${outcome.reason}`);
  }

  async #sign(state: RotationState, command: SignStatement): Promise<Proposal> {
    const { exchange, trust } = this.#ports;
    const signer = trust.agents().find(({ kind }) => kind === 'signer');
    if (signer === undefined) throw new BusError('BUS_NO_RESPONDER', 'no signer is enrolled');
    const evidence = await this.#shelf.fetch(command.evidence);
    const answer = await exchange.ask(
      { agentId: signer.agentId, channel: 'saga' },
      { ask: 'sign-statement', statement: command.body, plan: state.plan, evidence },
      signTimeoutMs,
    );
    const { statement } = command;
    if (!answer.ok) {
      const { code, reason } = answer;
      // The token may come back; a refusal of the statement itself will not change.
      if (code === 'ORCH-8013') throw new BusError('BUS_REJECTED', reason);
      return { event: { type: 'statement-refused', statement, code, reason }, consumed: [] };
    }
    return { event: this.#signedEvent(statement, answer.result), consumed: command.evidence };
  }

  #signedEvent(statement: SignStatement['statement'], document: unknown): Proposal['event'] {
    if (statement === 'rotation_authorization' && authorizationCheck.check(document)) {
      this.#checkSignature(document);
      return { type: 'execution-authorized', authorization: document };
    }
    if (statement === 'rotation_commit' && commitCheck.check(document)) {
      this.#checkSignature(document);
      return { type: 'commit-decided', commit: document };
    }
    if (statement === 'recovery_authorization' && recoveryCheck.check(document)) {
      this.#checkSignature(document);
      return { type: 'recovery-authorized', authorization: document };
    }
    throw new BusError('BUS_REJECTED', `the signer answered with no ${statement}`);
  }

  #checkSignature(document: Parameters<OrchestratorPorts['trust']['verifyStatement']>[0]): void {
    if (this.#ports.trust.verifyStatement(document, 'orchestration') !== 'ok') {
      throw new BusError('BUS_REJECTED', 'the statement is not signed by the orchestration role');
    }
  }

  async #send(log: RotationLog, state: RotationState, command: SendStep): Promise<void> {
    const entry = log.applied[command.sagaIndex];
    if (entry === undefined) throw new Error('assertion: a step without its entry');
    const { receipt } = entry;
    if (receipt === null) {
      await askForReceipts(this.#ports, [entry.hash]);
      throw new BusError('BUS_REJECTED', `the receipt for entry ${entry.hash} is not at hand`);
    }
    const evidence = await this.#shelf.fetch(command.evidence);
    const documents = new Set(command.documents);
    const body: StepCommanded = {
      commandId: command.id,
      sagaId: state.sagaId,
      sagaIndex: command.sagaIndex,
      planDigest: state.planDigest,
      operation: command.operation,
      slots: command.slots,
      receipt,
      ...(documents.has('plan') ? { plan: state.plan } : {}),
      ...(documents.has('authorization') && state.authorization !== null
        ? { authorization: state.authorization }
        : {}),
      ...(documents.has('commit') && state.commit !== null ? { commit: state.commit } : {}),
      ...(documents.has('recovery') && state.recovery !== null ? { recovery: state.recovery } : {}),
      evidence,
    };
    await this.#ports.exchange.publish({
      type: 'step-commanded',
      subject: this.#ports.subjects.step(command.layer, command.agentId),
      channel: `layer-${command.layer}`,
      audience: command.agentId,
      body,
    });
  }
}

function isOutstanding({ state }: RotationLog, { id }: RotationCommand): boolean {
  return state?.outstanding.some((command) => command.id === id) === true;
}
