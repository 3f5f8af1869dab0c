/**
 * Requests of operators and of layer 7: each one becomes an entry of a saga or is refused on the record. Both
 * orchestrators see every request; one of them, by the request's hash, goes first, and the other
 * steps in when no outcome appears. Nothing here is remembered that the log does not say.
 */

import type { OrchCode } from '#schemas/errors.ts';
import { RotationPlan } from '#schemas/plan.ts';
import { compile } from '#schemas/primitives.ts';
import { BusError } from '#shared/bus/bus.ts';
import { factorShortfall } from '#shared/core/approvals.ts';
import { requestOfClaim } from '#shared/core/healing.ts';
import { layersConcerned, servingAgents } from '#shared/core/plan-members.ts';
import { planRotation } from '#shared/core/planner.ts';
import { reasonOf } from '#shared/core/reason.ts';
import {
  rejectionCodes,
  type RejectionCode,
  type RotationState,
} from '#shared/core/rotation/state.ts';
import type { AnyReceivedEvent, ReceivedEvent } from '#shared/runtime/exchange.ts';
import type { Proposal, ProposalOutcome } from './appender.ts';
import type { CommandOffice } from './command-office.ts';
import { HealingDesk } from './healing-desk.ts';
import type { Outcomes } from './outcomes.ts';
import { retryDelayMs, signTimeoutMs, type OrchestratorPorts } from './ports.ts';
import type { RotationDriver } from './rotation-driver.ts';
import { staleRefusal } from './stale-trust.ts';
import { surveyLayers } from './survey.ts';
import { goesFirst } from './turns.ts';

const planCheck = compile(RotationPlan);
const attemptsMax = 20;

export type RequestEvent = Extract<
  AnyReceivedEvent,
  {
    type:
      | 'rotation-requested'
      | 'plan-approved'
      | 'execution-requested'
      | 'rollback-requested'
      | 'recovery-requested'
      | 'recovery-approved'
      | 'healing-action-requested';
  }
>;

/** What a rotation may begin with. */
type AskingEvent = Extract<
  RequestEvent,
  { type: 'rotation-requested' | 'healing-action-requested' }
>;

export interface Sagas {
  /** Every rotation that has begun. */
  states(): readonly RotationState[];
  /** The driver of a rotation that has begun, or undefined. */
  find(planId: string): RotationDriver | undefined;
  /** The driver of a rotation that is about to begin. */
  open(planId: string): RotationDriver;
}

export interface Refusal {
  readonly code: OrchCode;
  readonly reason: string;
}

export class RequestDesk {
  readonly #ports: OrchestratorPorts;
  readonly #office: CommandOffice;
  readonly #sagas: Sagas;
  readonly #outcomes: Outcomes;
  readonly #healing: HealingDesk;

  constructor(
    ports: OrchestratorPorts,
    parts: { office: CommandOffice; sagas: Sagas; outcomes: Outcomes },
  ) {
    this.#ports = ports;
    this.#healing = new HealingDesk(ports, () => parts.sagas.states());
    this.#office = parts.office;
    this.#sagas = parts.sagas;
    this.#outcomes = parts.outcomes;
  }

  /** Sees to it that the request gets an outcome, now or when another fails to. */
  take(event: RequestEvent, attempt = 1): void {
    const isDropped =
      event.type === 'healing-action-requested' && attempt === 1 && !this.#healing.hears(event);
    if (isDropped) return;
    const delayMs = this.#goesFirst(event) ? 0 : this.#ports.takeoverMs;
    if (attempt === 1 && delayMs === 0) void this.#attend(event, attempt);
    else
      this.#ports.clock.after(
        attempt === 1 ? delayMs : retryDelayMs,
        () => void this.#attend(event, attempt),
      );
  }

  async #attend(event: RequestEvent, attempt: number): Promise<void> {
    if (this.#outcomes.has(event.hash)) return;
    try {
      const refusal = await this.#decide(event);
      if (refusal !== undefined && !this.#outcomes.has(event.hash)) {
        await this.#refuse(event, refusal);
      }
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      this.#ports.log.warn({ request: event.hash, code: error.code }, error.message);
      if (attempt < attemptsMax) this.take(event, attempt + 1);
      else await this.#refuse(event, { code: 'ORCH-8013', reason: error.message });
    }
  }

  #decide(event: RequestEvent): Promise<Refusal | undefined> {
    switch (event.type) {
      case 'rotation-requested':
        return this.#plan(event);
      case 'healing-action-requested':
        return this.#healing.attend(event, () => this.#plan(event));
      case 'plan-approved':
        return this.#enter(event, { type: 'approval-recorded', operatorId: event.sender.agentId });
      case 'execution-requested':
        return event.body.dryRun ? this.#dryRun(event) : this.#execute(event);
      case 'rollback-requested': {
        const { reason } = event.body;
        const operatorId = event.sender.agentId;
        return this.#enter(event, { type: 'rollback-requested', operatorId, reason });
      }
      case 'recovery-requested':
        return this.#enter(event, { type: 'recovery-requested', operatorId: event.sender.agentId });
      case 'recovery-approved':
        return this.#enter(event, { type: 'recovery-approved', operatorId: event.sender.agentId });
    }
  }

  async #plan(event: AskingEvent): Promise<Refusal | undefined> {
    const { trust, clock, exchange } = this.#ports;
    const stale = staleRefusal(trust, clock.nowMs());
    if (stale !== undefined) return stale;
    const isHealing = event.type === 'healing-action-requested';
    const serving = servingAgents(trust.agents());
    const request = isHealing ? requestOfClaim(event.body.claim, serving) : event.body;
    const concerned = layersConcerned(serving, request.layers);
    const inspections = await surveyLayers(this.#ports, concerned);
    // Layers that do not answer take their time: the other orchestrator may have been quicker.
    if (this.#outcomes.has(event.hash)) return undefined;
    const planId = `rot-${event.hash.slice(0, 16)}`;
    const planned = planRotation({
      request,
      isHealing,
      requestHash: event.hash,
      requester: event.sender,
      requestedAtMs: event.header.timeMs,
      planId,
      mesh: trust.mesh,
      nowMs: clock.nowMs(),
      inspections,
      agents: servingAgents(trust.agents()),
      policy: trust.policy,
      registry: trust.registry,
      digests: {
        registry: trust.registryDigest,
        policy: trust.policyDigest,
        enrolments: trust.enrolmentsDigest,
      },
    });
    if ('refused' in planned) return { code: planned.refused, reason: planned.reason };
    const signer = trust.agents().find(({ kind }) => kind === 'signer');
    if (signer === undefined) return { code: 'ORCH-8013', reason: 'no signer is enrolled' };
    const evidence = [event.disclosure];
    const answer = await exchange.ask(
      { agentId: signer.agentId, channel: 'saga' },
      { ask: 'sign-statement', statement: planned.plan, evidence },
      signTimeoutMs,
    );
    if (!answer.ok) return { code: answer.code, reason: answer.reason };
    const plan = answer.result;
    if (!planCheck.check(plan) || trust.verifyStatement(plan, 'orchestration') !== 'ok') {
      throw new BusError('BUS_REJECTED', 'the signer answered with no plan');
    }
    if (this.#outcomes.has(event.hash)) return undefined;
    const proposal: Proposal = { event: { type: 'plan-drafted', plan }, consumed: [event.hash] };
    return refusalOf(await this.#sagas.open(planId).propose(proposal), planId);
  }

  async #execute(event: ReceivedEvent<'execution-requested'>): Promise<Refusal | undefined> {
    return this.#enter(event, { type: 'execution-requested', operatorId: event.sender.agentId });
  }

  async #dryRun(event: ReceivedEvent<'execution-requested'>): Promise<Refusal | undefined> {
    const found = this.#saga(event.body);
    if (found.status === 'absent') return found.refusal;
    const { first } = await this.#office.difference(found.plan);
    return this.#enter(event, {
      type: 'dry-run-completed',
      operatorId: event.sender.agentId,
      ok: first === undefined,
      ...(first === undefined ? {} : { code: first.code, reason: reasonOf(first.reason) }),
    });
  }

  async #enter(
    event: Exclude<RequestEvent, AskingEvent>,
    entry: Proposal['event'],
  ): Promise<Refusal | undefined> {
    const found = this.#saga(event.body);
    if (found.status === 'absent') return found.refusal;
    const factors =
      event.type === 'rollback-requested'
        ? undefined
        : factorShortfall(event.sender, found.plan.affected_layers, this.#ports.trust.policy);
    if (factors !== undefined) return { code: 'ORCH-8015', reason: factors };
    const outcome = await found.driver.propose({ event: entry, consumed: [event.hash] });
    return refusalOf(outcome, event.body.planId);
  }

  #saga({ planId, planDigest }: { planId: string; planDigest: string }) {
    const driver = this.#sagas.find(planId);
    const state = driver?.log.state;
    if (driver === undefined || state === undefined || state === null) {
      return absent(`there is no plan ${planId}`);
    }
    if (state.planDigest !== planDigest) {
      return absent(`the request names another digest than that of ${planId}`);
    }
    return { status: 'found', driver, plan: state.plan.body } as const;
  }

  async #refuse(event: RequestEvent, { code, reason }: Refusal): Promise<void> {
    try {
      await this.#ports.exchange.publish({
        type: 'request-refused',
        subject: this.#ports.subjects.sagaRequests(),
        channel: 'operators',
        body: { request: event.hash, code, reason: reasonOf(reason) },
      });
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      this.take(event, 2);
    }
  }

  /** Requests about a saga go to whoever drives it, new ones by their hash. */
  #goesFirst(event: RequestEvent): boolean {
    // All of them to one orchestrator, which meets its own plans: two would begin two.
    if (event.type === 'healing-action-requested') return goesFirst(this.#ports, '0'.repeat(8));
    if (event.type !== 'rotation-requested') {
      const driver = this.#sagas.find(event.body.planId);
      if (driver !== undefined) return driver.drives;
    }
    return goesFirst(this.#ports, event.hash);
  }
}

function absent(reason: string) {
  const refusal: Refusal = { code: 'ORCH-8004', reason };
  return { status: 'absent', refusal } as const;
}

function refusalOf(outcome: ProposalOutcome, planId: string): Refusal | undefined {
  if (outcome.status === 'applied') return undefined;
  const code = Object.hasOwn(rejectionCodes, outcome.code)
    ? rejectionCodes[outcome.code as RejectionCode]
    : 'ORCH-8005';
  return { code, reason: `${planId}: ${outcome.reason}` };
}
