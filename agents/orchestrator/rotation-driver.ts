/**
 * Drives one rotation: carries out the commands that its state says are outstanding, and turns their
 * outcomes into entries. It decides nothing; `stepRotation` does. Who wrote the last entry drives;
 * when that one falls silent, another takes over by issuing what is outstanding again, which is safe
 * because every command has one id and one effect (invariants 7, 8, 13).
 */

import type { StepReported } from '#schemas/steps.ts';
import type { RotationPhase, StepReport } from '#schemas/saga.ts';
import { BusError } from '#shared/bus/bus.ts';
import type { RotationCommand, StartTimer } from '#shared/core/rotation/commands.ts';
import { revokedMembers } from '#shared/core/rotation/revoke.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import type { Timer } from '#shared/runtime/ports.ts';
import { Appender, entryRefused, type Proposal, type ProposalOutcome } from './appender.ts';
import type { CommandOffice } from './command-office.ts';
import { HealingExecution } from './healing-execution.ts';
import { HeldReports } from './held-reports.ts';
import { retryDelayMs, type OrchestratorPorts } from './ports.ts';
import type { RotationLog, SagaLog } from './saga-log.ts';

const reportsPerEntryMax = 64;

/** At rest: nothing is outstanding that another orchestrator would have to take over. */
export const restingPhases: ReadonlySet<RotationPhase> = new Set(['refused', 'retired']);

export class RotationDriver {
  readonly log: RotationLog;
  readonly #ports: OrchestratorPorts;
  readonly #office: CommandOffice;
  readonly #appender: Appender;
  readonly #execution: HealingExecution;
  readonly #started = new Set<string>();
  readonly #timers = new Map<string, Timer>();
  readonly #reports = new HeldReports();
  #flushing = false;
  #notingRevocations = false;
  /** One by one after an entry was refused: one bad report must not take good ones with it. */
  #reportsPerEntry = reportsPerEntryMax;
  #watchdog: Timer | undefined;
  /** Hash of the last entry when this instance took the saga over from a silent author. */
  #takenOverAt: string | undefined;
  #stopped = false;

  constructor(ports: OrchestratorPorts, office: CommandOffice, log: RotationLog) {
    this.#ports = ports;
    this.#office = office;
    this.log = log;
    this.#appender = new Appender(ports, log as SagaLog<unknown, unknown>, 'rotation');
    this.#execution = new HealingExecution(ports, (proposal) => this.propose(proposal));
  }

  propose(proposal: Proposal): Promise<ProposalOutcome> {
    return this.#appender.propose(proposal);
  }

  stop(): void {
    this.#stopped = true;
    this.#appender.stop();
    this.#watchdog?.cancel();
    this.#execution.stop();
    for (const timer of this.#timers.values()) timer.cancel();
  }

  get drives(): boolean {
    const last = this.log.last;
    return (
      last !== undefined && (last.author === this.#ports.agentId || last.hash === this.#takenOverAt)
    );
  }

  /** Called when an entry took effect, when an agent was revoked, and once when the orchestrator goes live. */
  advance(): void {
    const { state } = this.log;
    if (state === null || this.#stopped) return;
    this.#tidy(state);
    if (this.drives) {
      for (const command of state.outstanding) this.#start(command);
      this.#flushReports();
      this.#noteRevocations(state);
    }
    this.#execution.advance(state, this.drives);
    this.#watch(state);
  }

  /** A layer agent's report: becomes part of an entry as soon as this instance drives. */
  report(hash: string, agentId: string, body: StepReported): void {
    this.#reports.hold(summary(hash, agentId, body));
    if (this.drives) this.#flushReports();
  }

  #tidy(state: RotationState): void {
    const outstanding = new Set(state.outstanding.map(attemptKey));
    for (const key of this.#started) if (!outstanding.has(key)) this.#started.delete(key);
    for (const [key, timer] of this.#timers) {
      if (outstanding.has(key)) continue;
      timer.cancel();
      this.#timers.delete(key);
    }
    if (restingPhases.has(state.phase)) this.#reports.clear();
  }

  #start(command: RotationCommand): void {
    const key = attemptKey(command);
    if (this.#started.has(key)) return;
    this.#started.add(key);
    if (command.type === 'start-timer') this.#startTimer(key, command);
    else void this.#carryOut(key, command);
  }

  #startTimer(key: string, command: StartTimer): void {
    const delayMs = Math.max(0, this.#dueMs(command) - this.#ports.clock.nowMs());
    const fire = async (): Promise<void> => {
      this.#timers.delete(key);
      const event = { type: 'timer-fired', timer: command.timer } as const;
      this.#tryAgain(key, await this.propose({ event, consumed: [] }));
    };
    this.#timers.set(
      key,
      this.#ports.clock.after(Math.min(delayMs, 2 ** 31 - 1), () => void fire()),
    );
  }

  async #carryOut(key: string, command: RotationCommand): Promise<void> {
    try {
      const proposal = await this.#office.carryOut(command, this.log);
      if (proposal === undefined || this.#stopped) return;
      const outcome = await this.propose(proposal);
      if (outcome.status === 'rejected') {
        const { code, reason } = outcome;
        const fields = { saga: this.log.sagaId, command: command.id, code, reason };
        this.#ports.log.debug(fields, 'outcome no longer applies');
        this.#tryAgain(key, outcome);
      }
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      const fields = { saga: this.log.sagaId, command: command.id, code: error.code };
      this.#ports.log.warn(fields, `${command.type} failed for now: ${error.message}`);
      this.#carryOutLater(key);
    }
  }

  /** What the auditor refused is carried out anew; what no longer applies is not. */
  #tryAgain(key: string, outcome: ProposalOutcome): void {
    if (outcome.status === 'rejected' && outcome.code === entryRefused) this.#carryOutLater(key);
  }

  #carryOutLater(key: string): void {
    this.#ports.clock.after(retryDelayMs, () => {
      this.#started.delete(key);
      this.advance();
    });
  }

  #flushReports(): void {
    if (this.#flushing || this.#stopped) return;
    const sent = this.log.state?.outstanding.filter((each) => each.type === 'send-step') ?? [];
    const reports = sent
      .flatMap((command) => this.#reports.of(command) ?? [])
      .slice(0, this.#reportsPerEntry);
    if (reports.length === 0) return;
    this.#flushing = true;
    const consumed = reports.map(({ report }) => report);
    const done = this.propose({ event: { type: 'reports-received', reports }, consumed });
    void done.then((outcome) => {
      const isRefused = outcome.status === 'rejected' && outcome.code === entryRefused;
      this.#reportsPerEntry = isRefused ? 1 : reportsPerEntryMax;
      if (!isRefused || reports.length === 1) this.#reports.drop(reports);
      this.#flushing = false;
      if (this.drives) this.#flushReports();
    });
  }

  /** Who is revoked is not waited for. The auditor takes the entry once it knows the revocation too. */
  #noteRevocations(state: RotationState): void {
    if (this.#notingRevocations || this.log.broken !== undefined) return;
    const { trust, clock } = this.#ports;
    const agentIds = revokedMembers(state, (agentId) => trust.isRevoked(agentId));
    if (agentIds.length === 0) return;
    this.#notingRevocations = true;
    const done = this.propose({ event: { type: 'members-revoked', agentIds }, consumed: [] });
    void done.then((outcome) => {
      this.#notingRevocations = false;
      if (outcome.status === 'rejected') clock.after(retryDelayMs, () => this.advance());
    });
  }

  /** Takes over when the author of the last entry lets outstanding work lie. */
  #watch(state: RotationState): void {
    this.#watchdog?.cancel();
    this.#watchdog = undefined;
    if (state.outstanding.length === 0 || this.drives) return;
    const { clock, takeoverMs, log } = this.#ports;
    const dueMs = state.outstanding.every(({ type }) => type === 'start-timer')
      ? Math.max(0, this.#earliestTimerMs(state) - clock.nowMs())
      : 0;
    this.#watchdog = clock.after(Math.min(dueMs + takeoverMs, 2 ** 31 - 1), () => {
      this.#takenOverAt = this.log.last?.hash;
      const fields = { saga: this.log.sagaId, phase: state.phase, from: this.log.last?.author };
      log.info(fields, 'taking over a saga whose driver is silent');
      this.advance();
    });
  }

  #earliestTimerMs(state: RotationState): number {
    const dues = state.outstanding.flatMap((command) =>
      command.type === 'start-timer' ? [this.#dueMs(command)] : [],
    );
    return Math.min(...dues);
  }

  /** Its author's time is a claim: a timer never began later than now. */
  #dueMs({ sagaIndex, delayMs }: StartTimer): number {
    const nowMs = this.#ports.clock.nowMs();
    return Math.min(this.log.applied[sagaIndex]?.timeMs ?? nowMs, nowMs) + delayMs;
  }
}

function attemptKey(command: RotationCommand): string {
  return command.type === 'send-step' ? `${command.id}#${command.attempt}` : command.id;
}

function summary(report: string, agentId: string, body: StepReported): StepReport {
  return {
    report,
    commandId: body.commandId,
    agentId,
    operation: body.operation,
    status: body.status,
    ...(body.code === undefined ? {} : { code: body.code }),
    ...(body.reason === undefined ? {} : { reason: body.reason }),
    slots: body.slots.map(({ slot, version, keyId, publicDigest, inUse, samples }) => ({
      slot,
      version,
      keyId,
      publicDigest,
      ...(inUse === undefined ? {} : { inUse }),
      ...(samples === undefined ? {} : { samples }),
    })),
  };
}
