/**
 * One rotation, directed by hand: says what operators, signer, auditor and orchestrator would say,
 * hands commands to agents as messages of the bus, and keeps their reports as evidence.
 */
import type { EventBody } from '#schemas/events.ts';
import type { StepCommanded } from '#schemas/steps.ts';
import type { Disclosure } from '#schemas/frame.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { RotationPlan } from '#schemas/plan.ts';
import type { RotationPhase, StepOperation } from '#schemas/saga.ts';
import type { BusMessage, Disposition } from '#shared/bus/bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { withDependants } from '#shared/core/dependants.ts';
import { planRotation } from '#shared/core/planner.ts';
import { documentDigest, localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { makeCheapWorld } from '../../support/cheap-world.ts';
import { makeWorld, type World } from '../../support/world.ts';
import { message, type Actor, type Addressee, type Member, type Report } from './actor.ts';

export interface CommandChoices {
  readonly slots?: readonly string[];
  readonly phase?: RotationPhase;
  readonly evidence?: readonly Disclosure[];
  readonly change?: (body: StepCommanded) => StepCommanded;
  readonly from?: Principal;
  readonly commandId?: string;
  /** Index of the saga entry; rises by itself unless told. */
  readonly index?: number;
}

const phaseOf: Readonly<Record<StepOperation, RotationPhase>> = {
  prepare: 'preparing',
  accept: 'distributing',
  activate: 'activating',
  verify: 'verifying',
  measure: 'soaking',
  release: 'retiring',
  retire: 'retiring',
  rollback: 'rolling_back',
  discard: 'rolled_back',
  freeze: 'locked_out',
};

/** One rotation, directed by hand. */
export class Director {
  readonly world: World;
  readonly planId: string;
  readonly plan: RotationPlan;
  readonly planDigest: string;
  readonly approval: Disclosure;
  readonly done: Report[] = [];
  readonly #layers: readonly LayerNumber[];
  #sequence = 100;
  #index = 10;
  #orchestrator: Principal;
  #auditor: Principal;

  private constructor(
    world: World,
    { planId, layers }: { readonly planId: string; readonly layers: readonly LayerNumber[] },
    plan: RotationPlan,
  ) {
    this.world = world;
    this.planId = planId;
    this.#layers = layers;
    this.plan = plan;
    this.planDigest = documentDigest(world.crypto, plan.body);
    this.#orchestrator = world.principal('orchestrator-a');
    this.#auditor = world.principal('auditor');
    this.approval = this.approve('op-2');
  }

  /**
   * Plans the layers, with those that depend on them, from what the agents say of themselves. The steps
   * that are directed are those of the layers that were named.
   */
  static async plan(
    world: World,
    actors: readonly Member[],
    options: { readonly planId: string; readonly layers: readonly LayerNumber[] },
  ): Promise<Director> {
    const { trust, clock, mesh } = world;
    const { planId, layers } = options;
    const isServed = (layer: LayerNumber) => actors.some((actor) => actor.layer === layer);
    const drafted = planRotation({
      request: {
        requestId: planId,
        rotationType: 'scheduled',
        layers: withDependants(layers, isServed),
        reason: 'a test',
      },
      requestHash: '1'.repeat(64),
      requester: { agentId: 'op-1', capabilities: ['mfa'] },
      requestedAtMs: clock.nowMs(),
      planId,
      mesh,
      nowMs: clock.nowMs(),
      inspections: await Promise.all(actors.map((actor) => actor.inspect())),
      agents: actors.map(({ agentId, layer }) => ({ agentId, layer })),
      policy: trust.policy,
      registry: trust.registry,
      digests: {
        registry: trust.registryDigest,
        policy: trust.policyDigest,
        enrolments: trust.enrolmentsDigest,
      },
    });
    if ('refused' in drafted) throw new Error(`${drafted.refused}: ${drafted.reason}`);
    return new Director(world, { planId, layers }, await signed(world, drafted.plan));
  }

  /** Of the layers that were named. */
  get keys(): RotationPlan['body']['affected_keys'] {
    return this.plan.body.affected_keys.filter(({ layer }) => this.#layers.includes(layer));
  }

  approve(operatorId: string): Disclosure {
    return this.world.principal(operatorId).seal({
      type: 'plan-approved',
      subject: subjectsOf(this.world.mesh).request(operatorId),
      channel: 'operators',
      body: { planId: this.planId, planDigest: this.planDigest },
    }).disclosure;
  }

  async authorization(planDigest = this.planDigest) {
    return await signed(this.world, {
      kind: 'rotation_authorization' as const,
      ...this.#bound(planDigest),
      policy_digest: this.world.trust.policyDigest,
      approvals: [],
      expires_at: new Date(this.world.clock.nowMs() + 3_600_000).toISOString(),
    });
  }

  async commit() {
    const keys = this.done
      .filter(({ body }) => body.operation === 'activate')
      .flatMap(({ body }) => body.slots)
      .map(({ slot, keyId, version }) => ({ slot, key_id: keyId, version }));
    return await signed(this.world, {
      kind: 'rotation_commit' as const,
      ...this.#bound(this.planDigest),
      keys,
      reports: ['2'.repeat(64)],
    });
  }

  async recovery() {
    return await signed(this.world, {
      kind: 'recovery_authorization' as const,
      ...this.#bound(this.planDigest),
      lockout: 1,
      approvals: [{ operator: 'op-2', event: '3'.repeat(64) }],
    });
  }

  receipt(index: number, phase: RotationPhase, from = this.#auditor): Disclosure {
    const body: EventBody<'receipts-issued'> = {
      treeSize: 5,
      rootHash: '4'.repeat(64),
      entries: [
        {
          statementHash: '5'.repeat(64),
          leafIndex: 4,
          verdict: 'accepted',
          sagaId: this.planId,
          sagaIndex: index,
          phase,
        },
      ],
    };
    const subject = subjectsOf(this.world.mesh).auditReceipt();
    return from.seal({ type: 'receipts-issued', subject, channel: 'mesh', body }).disclosure;
  }

  /** What an orchestrator would send for this step at this point of the rotation. */
  async body(
    actor: Addressee,
    operation: StepOperation,
    choices: CommandChoices = {},
  ): Promise<StepCommanded> {
    const index = choices.index ?? this.#index;
    this.#index = Math.max(this.#index, index) + 1;
    const slots = choices.slots ?? this.#slotsFor(actor, operation);
    const phase = choices.phase ?? phaseOf[operation];
    const retiring = operation === 'release' || operation === 'retire';
    const begins = operation === 'prepare' || operation === 'accept';
    const undoing = operation === 'rollback' || operation === 'discard' || operation === 'freeze';
    const body: StepCommanded = {
      commandId: choices.commandId ?? `${this.planId}-${index}-1`,
      sagaId: this.planId,
      sagaIndex: index,
      planDigest: this.planDigest,
      operation,
      slots: [...slots],
      receipt: this.receipt(index, phase),
      ...(begins || undoing ? { plan: this.plan } : {}),
      ...(begins ? { authorization: await this.authorization() } : {}),
      ...(retiring ? { commit: await this.commit() } : {}),
      evidence: [...(choices.evidence ?? this.evidenceFor(operation))],
    };
    return choices.change?.(body) ?? body;
  }

  /** The message in which an orchestrator sends it. */
  message(actor: Addressee, body: StepCommanded, from = this.#orchestrator): BusMessage {
    const { subject, frame } = from.seal({
      type: 'step-commanded',
      subject: subjectsOf(this.world.mesh).step(actor.layer, actor.agentId),
      channel: `layer-${actor.layer}`,
      audience: actor.agentId,
      body,
    });
    this.#sequence += 1;
    return message(subject, frame, this.#sequence);
  }

  /** Sends one step and takes its report. */
  async step(actor: Actor, operation: StepOperation, choices: CommandChoices = {}) {
    const sent = this.message(actor, await this.body(actor, operation, choices), choices.from);
    const disposition = await actor.agent.handle(sent);
    return { disposition, sent, report: this.#take(actor) };
  }

  /** As `step`, for a step that must succeed. */
  async succeed(actor: Actor, operation: StepOperation, choices: CommandChoices = {}) {
    const { report } = await this.step(actor, operation, choices);
    if (report?.body.status !== 'done') {
      throw new Error(`${operation} failed: ${report?.body.code} ${report?.body.reason}`);
    }
    return report.body;
  }

  /** Delivers a message again, as the bus does. */
  async again(
    actor: Actor,
    sent: BusMessage,
  ): Promise<{ disposition: Disposition; report?: Report }> {
    const disposition = await actor.agent.handle({ ...sent, deliveryCount: 2 });
    const report = this.#take(actor);
    return report === undefined ? { disposition } : { disposition, report };
  }

  evidenceFor(operation: StepOperation): Disclosure[] {
    const of = (...operations: StepOperation[]): Disclosure[] =>
      this.done
        .filter(({ body }) => operations.includes(body.operation))
        .map(({ disclosure }) => disclosure);
    switch (operation) {
      case 'prepare':
        return [this.approval];
      case 'accept':
        return [this.approval, ...of('prepare')];
      case 'activate':
        return of('prepare', 'accept');
      case 'verify':
        return of('activate');
      case 'retire':
        return of('release');
      case 'measure':
      case 'release':
      case 'rollback':
      case 'discard':
      case 'freeze':
        return [];
    }
  }

  #take(actor: Actor): Report | undefined {
    const reports = actor.reports();
    this.done.push(...reports.filter(({ body }) => body.status === 'done'));
    return reports.at(-1);
  }

  #slotsFor(actor: Addressee, operation: StepOperation): string[] {
    const role =
      operation === 'accept'
        ? 'verifier'
        : ['prepare', 'activate', 'measure', 'freeze'].includes(operation)
          ? 'owner'
          : undefined;
    return this.keys
      .filter(({ members }) =>
        members.some(
          (member) =>
            member.agent_id === actor.agentId && (role === undefined || member.role === role),
        ),
      )
      .map(({ slot }) => slot);
  }

  #bound(planDigest: string) {
    return {
      mesh: this.world.mesh,
      rotation_plan_id: this.planId,
      plan_digest: planDigest,
      issued_at: new Date(this.world.clock.nowMs()).toISOString(),
    };
  }
}

export async function signed<Body extends { readonly kind: string }>(
  world: World,
  body: Body,
  role = 'orchestration',
) {
  const key = world.keys.get(role);
  if (key === undefined) throw new Error(`no key for ${role}`);
  return await signDocument(body, [localSigner(world.crypto, key)]);
}

const times = { soakMs: 0, overlapMs: 0 };

export async function stageWorld(): Promise<World> {
  return await makeWorld({ times });
}

/** Under the simulator's cryptography, for tests about anything else. */
export async function cheapStageWorld(): Promise<World> {
  return await makeCheapWorld({ times });
}
