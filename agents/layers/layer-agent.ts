/**
 * A layer agent: takes step commands from its durable consumer, checks them itself, carries them out
 * through its adapter and reports. A step is three durable writes around one effect: intent, effect,
 * outcome with report; whatever is interrupted is found again at the next start and ends the same way
 * (invariants 7, 8). A command that comes again gets its report again, and has no second effect.
 */

import type { HealingActionRequested } from '#schemas/healing.ts';
import type { CapabilityAdvertised, StepCommanded, StepReported } from '#schemas/steps.ts';
import type { LayerInspection, Query } from '#schemas/queries.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { Bus, BusMessage, Disposition, Subscription } from '#shared/bus/bus.ts';
import { durableName, subjectsOf } from '#shared/bus/subjects.ts';
import { reasonOf } from '#shared/core/reason.ts';
import { lockoutsShown } from '#shared/core/lockout.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Enrolled, TrustView } from '#shared/crypto/trust.ts';
import type { Answer, Exchange, SealedEvent } from '#shared/runtime/exchange.ts';
import { OutboxError } from '#shared/runtime/outbox-store.ts';
import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import type { TrustDesk } from '#shared/runtime/trust-desk.ts';
import { AdapterError, type LayerAdapter, type SlotInspection } from './adapter.ts';
import type { AlgorithmClaims } from './algorithm-capabilities.ts';
import { slotStatuses } from './slot-status.ts';
import { runEffect, type EffectResult } from './step-effects.ts';
import { admitStep } from './step-intake.ts';
import { planStep } from './step-planning.ts';
import type { StepStore } from './step-store.ts';
import type { StepTask } from './step-task.ts';

/** Takes reports inside the transaction that is open on the step store's database. */
export interface ReportSink {
  /** @throws OutboxError; then nothing of the transaction stays */
  enqueue(event: SealedEvent): void;
}

export interface LayerAgentPorts {
  readonly layer: LayerNumber;
  readonly exchange: Exchange;
  readonly bus: Bus;
  readonly outbox: ReportSink;
  readonly store: StepStore;
  readonly adapter: LayerAdapter;
  /** The algorithms that the agent can do, and what it asks of others'. */
  readonly claims: () => AlgorithmClaims;
  readonly trust: TrustView;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Log;
  /** Absent where nobody offers documents. */
  readonly trustDesk?: Pick<TrustDesk, 'lockouts'>;
}

/** How long a command waits that was sealed under documents which this agent has yet to adopt. */
const behindRetryMs = 250;
/** How long a message waits when the agent's own store cannot be written. */
const storeRetryMs = 1_000;
/** Key changes that follow each other closely are advertised once. */
const advertiseAfterMs = 2_000;

/** Who may look into a layer agent. */
const inspectors: readonly Enrolled['kind'][] = ['orchestrator', 'signer', 'auditor', 'operator'];

export class LayerAgent {
  readonly #ports: LayerAgentPorts;
  readonly #reportSubject: string;
  readonly #capabilitySubject: string;
  #subscription: Subscription | undefined;
  /** Runs until the next advertisement. */
  #due: Timer | undefined;
  #advertising: Promise<void> = Promise.resolve();
  /** Why nothing could be written down; until something can, the agent is not ready. */
  #storeFault: AdapterError | OutboxError | undefined;
  #stopping = false;

  constructor(ports: LayerAgentPorts) {
    this.#ports = ports;
    const subjects = subjectsOf(ports.trust.mesh);
    const { agentId } = ports.exchange;
    this.#reportSubject = subjects.report(ports.layer, agentId);
    this.#capabilitySubject = subjects.capability(ports.layer, agentId);
  }

  /** Ends what a crash interrupted, then takes up work. @throws AdapterError, BusError */
  async start(): Promise<void> {
    const { store, clock, bus, exchange } = this.#ports;
    store.prune(clock.nowMs());
    await this.reconcile();
    await exchange.answer((query, asker) => this.#answer(query, asker));
    this.#subscription = await bus.consume(
      {
        stream: 'GYRE_CONTROL',
        consumer: durableName(exchange.agentId, 'steps'),
        inFlightMax: 1,
      },
      (message) => this.handle(message),
    );
    this.#advertising = this.#advertise();
    await this.#advertising;
  }

  /** Takes no further command and finishes the one that is running. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#due?.cancel();
    await this.#subscription?.stop();
    await this.#advertising;
  }

  /** Runs every intent that has no outcome; effects are safe to repeat. */
  async reconcile(): Promise<void> {
    for (const task of this.#ports.store.openTasks()) await this.#carryOut(task);
  }

  /** One message of the steps consumer. Not authentic: it changes nothing and is not answered. */
  async handle(message: BusMessage): Promise<Disposition> {
    const opening = this.#ports.exchange.open(message);
    if (opening.status === 'refused' && opening.code === 'TRUST_BEHIND') {
      await this.#ports.exchange.catchUp();
      return { retryAfterMs: behindRetryMs };
    }
    if (opening.status === 'refused') return { deadLetter: opening.code };
    if (opening.event.type !== 'step-commanded') return 'ack';
    try {
      await this.#step(opening.event.body);
      return 'ack';
    } catch (error) {
      if (!(error instanceof AdapterError || error instanceof OutboxError)) throw error;
      this.#ports.log.error({ code: error.code, err: error }, 'the step store failed');
      this.#storeFault = error;
      this.#advertiseSoon();
      return { retryAfterMs: storeRetryMs };
    }
  }

  async inspect(): Promise<LayerInspection> {
    const { agentId } = this.#ports.exchange;
    const lockouts = lockoutsShown(this.#ports.trustDesk?.lockouts() ?? []);
    const inspection = { agentId, ...(await this.#capabilities()), ...lockouts };
    const fault = this.#storeFault;
    if (fault === undefined) return inspection;
    const reason = reasonOf(`${fault.code}: ${fault.message}`);
    return { ...inspection, ready: false, reason };
  }

  /**
   * Asks for a healing action (layer 7), through the outbox like a report: durable when it returns.
   * @throws AdapterError, OutboxError
   */
  requestHealing(body: HealingActionRequested): void {
    const { exchange, layer, store, outbox, trust } = this.#ports;
    const type = 'healing-action-requested';
    const subject = subjectsOf(trust.mesh).healing(exchange.agentId);
    const sealed = () => exchange.seal({ type, subject, channel: `layer-${layer}`, body });
    this.#store(() => store.recordReport(() => outbox.enqueue(sealed())));
  }

  async #step(command: StepCommanded): Promise<void> {
    const { store } = this.#ports;
    const step = { ...command, recovers: command.recovery !== undefined };
    const reported = store.reportOf(step);
    if (reported !== undefined) {
      this.#report(reported);
      return;
    }
    const interrupted = store.taskOf(step);
    const task = interrupted ?? (await this.#intend(command));
    if (task !== undefined) await this.#carryOut(task);
  }

  /** Checks the command and writes down what will be done; a refusal is reported. */
  async #intend(command: StepCommanded): Promise<StepTask | undefined> {
    const { store, trust, crypto, exchange, layer, clock } = this.#ports;
    const { agentId } = exchange;
    const nowMs = clock.nowMs();
    const inspections = await this.#inspections();
    if (inspections instanceof AdapterError) {
      const reason = `${command.operation}: ${inspections.code}: ${inspections.message}`;
      this.#report(refusalOf(command, { code: 'ORCH-8007', reason }));
      return undefined;
    }
    const memory = store.saga(command.sagaId);
    const frozen = inspections.some((each) => each.frozen && command.slots.includes(each.slot));
    const intake = admitStep({ command, memory, trust, crypto, agentId, layer, nowMs, frozen });
    if (intake.status === 'refused') {
      this.#report(refusalOf(command, intake));
      return undefined;
    }
    const { evidence, saga } = intake;
    const plan = saga.plan.body;
    const planning = planStep({ agentId, command, plan, evidence, inspections, store, crypto });
    if (planning.status === 'refused') {
      this.#report(refusalOf(command, planning));
      return undefined;
    }
    const { task, reserves } = planning;
    store.recordIntent({ task, saga, reserves }, nowMs);
    return task;
  }

  /** The effect and its outcome. An intent that a later command overtook is not run any more. */
  async #carryOut(task: StepTask): Promise<void> {
    const { store, adapter, crypto, clock } = this.#ports;
    const startedMs = clock.monotonicMs();
    const overtaken = store.lastIndexOf(task.sagaId) > task.sagaIndex;
    const result: EffectResult = overtaken
      ? { status: 'failed', code: 'ORCH-8005', reason: 'a later step of the rotation came first' }
      : await runEffect(task, { adapter, crypto, clock });
    this.#conclude(task, result, Math.round(clock.monotonicMs() - startedMs));
  }

  #conclude(task: StepTask, result: EffectResult, durationMs: number): void {
    const { store, clock, outbox, log } = this.#ports;
    const report = reportOf(task, result, durationMs);
    const outcome = { task, report, ...(result.status === 'done' ? result.changes : noChanges) };
    this.#store(() =>
      store.recordOutcome(outcome, clock.nowMs(), () => outbox.enqueue(this.#seal(report))),
    );
    const { commandId, operation, sagaId } = task;
    const fields = { commandId, sagaId, operation, status: result.status, durationMs };
    if (result.status === 'done') log.info(fields, 'step done');
    else log.warn({ ...fields, code: result.code, reason: result.reason }, 'step failed');
    if (changing.has(operation)) this.#advertiseSoon();
  }

  /** A report without an outcome of its own. */
  #report(report: StepReported): void {
    const { store, outbox, log } = this.#ports;
    this.#store(() => store.recordReport(() => outbox.enqueue(this.#seal(report))));
    const { commandId, operation, status, code, reason } = report;
    log.info({ commandId, operation, status, code, reason }, 'step answered');
  }

  /** A write that holds a sealed event; if it fails, no chain may go on from that event. */
  #store(write: () => void): void {
    try {
      write();
      this.#storeFault = undefined;
    } catch (error) {
      this.#ports.exchange.renew();
      throw error;
    }
  }

  #seal(report: StepReported): SealedEvent {
    const { exchange, layer } = this.#ports;
    return exchange.seal({
      type: 'step-reported',
      subject: this.#reportSubject,
      channel: `layer-${layer}`,
      body: report,
    });
  }

  /** An adapter that cannot be looked into is not ready: that is an answer, not a fault. */
  async #inspections(): Promise<readonly SlotInspection[] | AdapterError> {
    try {
      return await this.#ports.adapter.inspect();
    } catch (error) {
      if (error instanceof AdapterError) return error;
      throw error;
    }
  }

  async #answer(query: Query, asker: Enrolled): Promise<Answer> {
    if (query.ask !== 'layer-inspect') {
      return { ok: false, code: 'ORCH-8012', reason: 'a layer agent answers layer-inspect only' };
    }
    if (!inspectors.includes(asker.kind)) {
      return { ok: false, code: 'ORCH-8015', reason: 'layer agents do not inspect each other' };
    }
    return { ok: true, result: await this.inspect() };
  }

  async #capabilities(): Promise<CapabilityAdvertised> {
    const { adapter, store, claims } = this.#ports;
    const about = {
      adapter: adapter.name,
      fingerprint: adapter.fingerprint(),
      ...claims(),
    };
    const inspections = await this.#inspections();
    if (inspections instanceof AdapterError) {
      const reason = reasonOf(`${inspections.code}: ${inspections.message}`);
      return { ...about, ready: false, reason, slots: [] };
    }
    const slots = slotStatuses(inspections, (slot) => store.holderOf(slot));
    const frozen = slots.find((slot) => slot.frozen);
    return frozen === undefined
      ? { ...about, ready: true, slots }
      : { ...about, ready: false, reason: `${frozen.slot} is frozen`, slots };
  }

  #advertiseSoon(): void {
    this.#due?.cancel();
    if (this.#stopping) return;
    this.#due = this.#ports.clock.after(advertiseAfterMs, () => {
      this.#advertising = this.#advertise();
    });
  }

  /** Through the outbox like a report: one chain, one order. What fails is made up for later. */
  async #advertise(): Promise<void> {
    const { exchange, layer, log, store, outbox } = this.#ports;
    const body = await this.#capabilities();
    try {
      const [subject, channel] = [this.#capabilitySubject, `layer-${layer}`];
      const type = 'capability-advertised';
      const sealed = () => exchange.seal({ type, subject, channel, body });
      this.#store(() => store.recordReport(() => outbox.enqueue(sealed())));
    } catch (error) {
      if (!(error instanceof AdapterError || error instanceof OutboxError)) throw error;
      log.warn({ code: error.code }, 'the capabilities were not advertised');
      this.#storeFault = error;
      this.#advertiseSoon();
    }
  }
}

const noChanges = {
  candidates: [],
  acceptedPeers: [],
  withdrawnPeers: [],
  droppedPeers: [],
  releases: [],
} as const;

/** Operations after which the slots look different to others. */
const changing: ReadonlySet<string> = new Set([
  'activate',
  'retire',
  'rollback',
  'discard',
  'freeze',
]);

function reportOf(task: StepTask, result: EffectResult, durationMs: number): StepReported {
  const { commandId, sagaId, sagaIndex, planDigest, operation } = task;
  const about = { commandId, sagaId, sagaIndex, planDigest, operation, durationMs };
  if (result.status === 'done') return { ...about, status: 'done', slots: [...result.slots] };
  const { code, reason, slots = [] } = result;
  return { ...about, status: 'failed', code, reason: reasonOf(reason), slots: [...slots] };
}

function refusalOf(
  command: StepCommanded,
  { code, reason }: Pick<Required<StepReported>, 'code' | 'reason'>,
): StepReported {
  const { commandId, sagaId, sagaIndex, planDigest, operation } = command;
  const about = { commandId, sagaId, sagaIndex, planDigest, operation, durationMs: 0 };
  return { ...about, status: 'failed', code, reason: reasonOf(reason), slots: [] };
}
