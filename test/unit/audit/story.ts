/**
 * Rotations played over the in-memory bus with real keys and a real auditor: a small orchestrator
 * that carries out what `stepRotation` asks for, agents that report what they are told to, a signer
 * that signs. So an audit log comes to be as in a mesh, without processes.
 */

import { nothingAdvertised } from '#schemas/negotiation.ts';
import { slotDefinitions, type LayerNumber } from '#schemas/layers.ts';
import type { RotationPlan } from '#schemas/plan.ts';
import type { LayerInspection } from '#schemas/queries.ts';
import type { RotationEvent, SlotsEvent, StepReport } from '#schemas/saga.ts';
import { reportFacts } from '#shared/core/audit-evidence.ts';
import { planRotation } from '#shared/core/planner.ts';
import { beginRotation } from '#shared/core/rotation/begin.ts';
import type { RotationCommand, SendStep } from '#shared/core/rotation/commands.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import { stepRotation } from '#shared/core/rotation/step.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { documentDigest, localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import { crypto } from '../../support/world.ts';
import { Stage } from './stage.ts';

export { crypto, Stage };

const zeroHash = '0'.repeat(64);

export interface Told {
  readonly state: RotationState;
  /** Hash of every accepted entry, in order. */
  readonly entries: readonly string[];
}

export interface TellOptions {
  readonly planId: string;
  readonly layers: readonly LayerNumber[];
  /** The step that an agent reports as failed, again and again. */
  readonly fails?: SendStep['operation'];
  /** Stops before the entry of this type would be appended. */
  readonly until?: RotationEvent['type'];
  /** What happens before the first entry of this type is appended. */
  readonly before?: {
    readonly type: RotationEvent['type'];
    readonly run: (saga: SagaInHand) => Promise<void>;
  };
}

/** A rotation that is being told. */
export interface SagaInHand {
  /** What the next entry is called. */
  next(): { readonly sagaId: string; readonly index: number; readonly previous: string };
  /** Appends an entry that rests on nothing. */
  enter(event: Untimed<RotationEvent>): Promise<unknown>;
}

/** Tells one rotation, to its end unless told otherwise. */
export function tell(stage: Stage, options: TellOptions): Promise<Told> {
  return new Telling(stage, options).run();
}

/** Carries out one rotation. */
class Telling {
  readonly #stage: Stage;
  readonly #options: TellOptions;
  readonly #entries: string[] = [];
  #state: RotationState | undefined;
  #interrupted = false;

  constructor(stage: Stage, options: TellOptions) {
    this.#stage = stage;
    this.#options = options;
  }

  async run(): Promise<Told> {
    const { planId } = this.#options;
    const { plan, request } = await this.#plan();
    const ended = async (): Promise<Told> => ({ state: this.#now(), entries: this.#entries });
    await this.#enter({ type: 'plan-drafted', plan }, [request]);
    const bound = { planId, planDigest: this.#now().planDigest };
    const readiness = this.#now().slots.map(({ owner: agentId }) => ({ agentId, ready: true }));
    await this.#enter({ type: 'plan-validated', readiness }, []);
    const approval = await this.#stage.request('op-2', 'plan-approved', bound);
    await this.#enter({ type: 'approval-recorded', operatorId: 'op-2' }, [approval]);
    if (this.#options.until === 'execution-requested') return ended();
    const body = { ...bound, dryRun: false };
    const execution = await this.#stage.request('op-1', 'execution-requested', body);
    await this.#enter({ type: 'execution-requested', operatorId: 'op-1' }, [execution]);
    for (let round = 0; round < 200; round += 1) {
      const commands = this.#now().outstanding.filter(({ type }) => type !== 'start-timer');
      const [command] = commands.length > 0 ? commands : this.#now().outstanding;
      if (command === undefined) return ended();
      if (!(await this.#carryOut(command))) return ended();
    }
    throw new Error('the rotation does not end');
  }

  #now(): RotationState {
    if (this.#state === undefined) throw new Error('the rotation has not begun');
    return this.#state;
  }

  async #plan(): Promise<{ plan: RotationPlan; request: string }> {
    const { planId, layers } = this.#options;
    const { world } = this.#stage;
    const { trust } = world;
    const asked = {
      requestId: `${planId}-request`,
      rotationType: 'scheduled' as const,
      layers: [...layers],
      reason: 'a story',
    };
    const request = await this.#stage.request('op-1', 'rotation-requested', asked);
    const agents = trust
      .agents()
      .flatMap(({ agentId, layer }) => (layer === undefined ? [] : [{ agentId, layer }]));
    const planned = planRotation({
      request: asked,
      requestHash: request,
      requester: { agentId: 'op-1', capabilities: ['mfa'] },
      requestedAtMs: world.clock.nowMs(),
      planId,
      mesh: world.mesh,
      nowMs: world.clock.nowMs(),
      inspections: agents.map(inspection),
      agents,
      policy: trust.policy,
      registry: trust.registry,
      digests: {
        registry: trust.registryDigest,
        policy: trust.policyDigest,
        enrolments: trust.enrolmentsDigest,
      },
    });
    if ('refused' in planned) throw new Error(planned.reason);
    return { plan: await this.#sign(planned.plan), request };
  }

  async #sign<Body extends { kind: string }>(body: Body) {
    const key = this.#stage.world.keys.get('orchestration');
    if (key === undefined) throw new Error('no orchestration key');
    return signDocument(body, [localSigner(crypto, key)]);
  }

  /** False where the story ends before this. */
  async #carryOut(command: RotationCommand): Promise<boolean> {
    switch (command.type) {
      case 'validate-plan':
        throw new Error('validated already');
      case 'reserve-slots':
        await this.#reserve({
          type: 'slots-reserved',
          slots: command.slots,
          ...this.#held(command),
        });
        return this.#enter({ type: 'slots-reserved' }, []);
      case 'release-slots':
        await this.#reserve({ type: 'slots-released', ...this.#held(command) });
        return this.#enter({ type: 'slots-released' }, []);
      case 'start-timer':
        return this.#enter({ type: 'timer-fired', timer: command.timer }, []);
      case 'sign-statement':
        return this.#authorize(command);
      case 'send-step':
        return this.#stepAll();
    }
  }

  #held({ sagaIndex }: RotationCommand) {
    const { sagaId } = this.#now();
    return { sagaId, sagaIndex, atMs: this.#stage.world.clock.nowMs() };
  }

  async #authorize({ body, evidence }: Extract<RotationCommand, { type: 'sign-statement' }>) {
    switch (body.kind) {
      case 'rotation_authorization': {
        const authorization = await this.#sign(body);
        return this.#enter({ type: 'execution-authorized', authorization }, evidence);
      }
      case 'rotation_commit': {
        const consumed = evidence.slice(0, 64);
        return this.#enter({ type: 'commit-decided', commit: await this.#sign(body) }, consumed);
      }
      case 'recovery_authorization':
        throw new Error('no story is locked out');
    }
  }

  async #reserve(event: SlotsEvent): Promise<void> {
    const { ledgerEntries } = this.#stage;
    await this.#stage.append({
      saga: 'slots',
      sagaId: 'slots',
      index: ledgerEntries.length,
      previous: ledgerEntries.at(-1) ?? zeroHash,
      consumed: [],
      event,
    });
  }

  async #stepAll(): Promise<boolean> {
    const steps = this.#now().outstanding.filter((command) => command.type === 'send-step');
    const reports: StepReport[] = [];
    for (const step of steps) reports.push(await this.#step(step));
    return this.#enter(
      { type: 'reports-received', reports },
      reports.map(({ report }) => report),
    );
  }

  async #step(step: SendStep): Promise<StepReport> {
    const stage = this.#stage;
    const { agentId, layer, operation } = step;
    const { sagaId, planDigest } = this.#now();
    const { disclosure } = await stage.receiptOf(this.#entries[step.sagaIndex] ?? '');
    const named = { commandId: step.id, sagaId, sagaIndex: step.sagaIndex, planDigest, operation };
    await stage.say('orchestrator-a', {
      type: 'step-commanded',
      subject: stage.subjects.step(layer, agentId),
      channel: `layer-${layer}`,
      audience: agentId,
      body: { ...named, slots: step.slots, receipt: disclosure, evidence: [] },
    });
    const fails = this.#options.fails === operation;
    const body = {
      ...named,
      status: fails ? ('failed' as const) : ('done' as const),
      ...(fails ? { code: 'ORCH-8005' as const, reason: 'told to fail' } : {}),
      slots: fails ? [] : step.slots.map((slot) => this.#outcome(slot, step)),
      durationMs: 1,
    };
    const report = await stage.say(agentId, {
      type: 'step-reported',
      subject: stage.subjects.report(layer, agentId),
      channel: `layer-${layer}`,
      body,
    });
    const { sagaId: _saga, planDigest: _digest, ...facts } = reportFacts(body);
    return { report, agentId, ...facts };
  }

  #outcome(slot: string, { operation }: SendStep) {
    const progress = this.#now().slots.find((one) => one.slot === slot);
    if (progress === undefined) throw new Error(`no slot ${slot}`);
    const { checkpoint } = progress;
    const isOld = ['release', 'retire', 'rollback', 'discard', 'freeze'].includes(operation);
    const version = isOld ? checkpoint.version : checkpoint.version + 1;
    const keyId = isOld ? checkpoint.keyId : digestOf(`${slot} ${version}`);
    return {
      slot,
      version,
      keyId,
      publicDigest: keyId,
      ...(operation === 'release' ? { inUse: 0 } : {}),
      ...(operation === 'measure'
        ? { samples: { operations: 10, failures: 0, latencyPercent: 100 } }
        : {}),
    };
  }

  /** Appends the event, and folds it like everybody else. */
  async #enter(event: Untimed<RotationEvent>, consumed: readonly string[]): Promise<boolean> {
    const { until, before } = this.#options;
    if (until === event.type) return false;
    if (before?.type === event.type && !this.#interrupted) {
      this.#interrupted = true;
      await before.run({ next: () => this.#next(), enter: (extra) => this.#enter(extra, []) });
    }
    const { world } = this.#stage;
    const timed = { ...event, atMs: world.clock.nowMs() } as RotationEvent;
    const { index, ...linked } = this.#next();
    const entry = { index, ...linked, consumed: [...consumed], event: timed };
    const hash = await this.#stage.append({ saga: 'rotation', ...entry });
    this.#entries.push(hash);
    this.#fold(hash, timed, { index, consumed: [...consumed] });
    return true;
  }

  #next() {
    const index = this.#entries.length;
    const previous = this.#entries.at(-1) ?? zeroHash;
    return { sagaId: this.#options.planId, index, previous };
  }

  #fold(
    hash: string,
    event: RotationEvent,
    { index, consumed }: { index: number; consumed: string[] },
  ) {
    if (event.type === 'plan-drafted') {
      const planDigest = documentDigest(crypto, event.plan.body);
      const opening = { sagaId: this.#options.planId, planDigest, entryHash: hash };
      this.#state = beginRotation(opening, { index: 0, consumed, event });
      return;
    }
    const begun = this.#now();
    const policy = this.#stage.world.trust.policyFor(begun.plan.body.basis.policy_digest);
    if (policy === undefined) throw new Error('the saga began under an unknown policy');
    const step = stepRotation(begun, { index, consumed, event }, policy);
    if ('rejected' in step) throw new Error(`${event.type}: ${step.rejected} ${step.reason}`);
    this.#state = step.state;
  }
}

type Untimed<Event> = Event extends { atMs: number } ? Omit<Event, 'atMs'> : never;

export function inspection({
  agentId,
  layer,
}: {
  agentId: string;
  layer: number;
}): LayerInspection {
  return {
    agentId,
    adapter: 'story',
    ...nothingAdvertised,
    fingerprint: digestOf(agentId),
    ready: true,
    slots: slotDefinitions
      .filter((definition) => definition.layer === layer)
      .map(({ slot, keyKind, algorithm }) => ({
        slot,
        keyKind,
        algorithm,
        version: 1,
        keyId: digestOf(`${slot} 1`),
        publicDigest: digestOf(`${slot} 1`),
        activatedAtMs: 0,
        frozen: false,
        accepted: [],
      })),
  };
}

export function digestOf(text: string): string {
  return toHex(crypto.sha3_256(new TextEncoder().encode(text)));
}
