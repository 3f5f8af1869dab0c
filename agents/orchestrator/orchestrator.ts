/**
 * The orchestrator: folds the log, drives what is outstanding, answers operators. It keeps nothing
 * that is not in the log (of the auditor first, then of the bus), so any number of instances may run
 * and any of them may continue what another began.
 */

import { AuditRecords, type AuditRecord } from '#schemas/queries.ts';
import { compile } from '#schemas/primitives.ts';
import { BusError, type BusMessage, type Subscription } from '#shared/bus/bus.ts';
import type { RotationCommand } from '#shared/core/rotation/commands.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { parseFrame, statementHashOf } from '#shared/crypto/envelope.ts';
import type { ReceivedEvent } from '#shared/runtime/exchange.ts';
import type { Timer } from '#shared/runtime/ports.ts';
import { CommandOffice } from './command-office.ts';
import { Epochs } from './epochs.ts';
import { EvidenceShelf } from './evidence.ts';
import { NegotiationDesk } from './negotiation-desk.ts';
import { Outcomes } from './outcomes.ts';
import { askTimeoutMs, retryDelayMs, type OrchestratorParts } from './ports.ts';
import { answerQueries } from './query-desk.ts';
import { RequestDesk, type RequestEvent } from './request-desk.ts';
import { RotationDriver, restingPhases } from './rotation-driver.ts';
import { foldRotation } from './rotation-fold.ts';
import { SagaLog, type Verdict } from './saga-log.ts';
import { SlotLedger } from './slot-ledger.ts';
import { staleRefusal } from './stale-trust.ts';

const recordsCheck = compile(AuditRecords);
const verdictsKeptMax = 16_384;
/** The log counts as read when nothing that was there at the start came for this long. */
const quietMs = 250;
/** How often the trust documents are asked who was revoked. */
const lookMs = 1_000;

export class Orchestrator {
  readonly #ports: OrchestratorParts;
  readonly #shelf: EvidenceShelf;
  readonly #ledger: SlotLedger;
  readonly #office: CommandOffice;
  readonly #desk: RequestDesk;
  readonly #outcomes = new Outcomes();
  readonly #negotiations: NegotiationDesk;
  /** Absent where secrets are fixed. */
  readonly #epochs: Epochs | undefined;
  readonly #drivers = new Map<string, RotationDriver>();
  readonly #verdicts = new Map<string, Verdict>();
  readonly #waitingRequests = new Map<string, RequestEvent>();
  readonly #subscriptions: Subscription[] = [];
  /** Last sequences at the start: what comes behind them is news, and nothing to wait for. */
  #backlog = { GYRE_AUDIT: 0, GYRE_CONTROL: 0 };
  #lastMessageMs = 0;
  /** Sagas that stand still because an auditor vouched for what does not follow. */
  readonly #broken = new Set<string>();
  #live = false;
  #looking: Timer | undefined;
  /** Agents that were revoked at the last look. */
  #revoked = 0;

  constructor(ports: OrchestratorParts) {
    this.#ports = ports;
    this.#shelf = new EvidenceShelf(ports);
    this.#ledger = new SlotLedger(ports);
    this.#office = new CommandOffice(ports, this.#shelf, this.#ledger);
    this.#negotiations = new NegotiationDesk(ports, this.#outcomes);
    this.#negotiations.listen();
    const { epochs, keyring } = ports;
    if (epochs !== undefined && keyring !== undefined) {
      this.#epochs = new Epochs({ ...ports, epochs, keyring });
    }
    this.#desk = new RequestDesk(ports, {
      office: this.#office,
      outcomes: this.#outcomes,
      sagas: {
        states: () => [...this.#drivers.values()].flatMap(({ log }) => log.state ?? []),
        find: (id) => this.#drivers.get(id),
        open: (id) => this.#open(id),
      },
    });
  }

  /** Reads the log, then goes live. Resolves once it answers. */
  async start(): Promise<void> {
    const { bus, exchange, subjects, log } = this.#ports;
    const { saga, request, report, healing, negotiation } = subjects.patterns;
    await exchange.answer(this.#answers());
    await this.#epochs?.start();
    this.#backlog = {
      GYRE_AUDIT: (await bus.streamState('GYRE_AUDIT')).lastSequence,
      GYRE_CONTROL: (await bus.streamState('GYRE_CONTROL')).lastSequence,
    };
    this.#lastMessageMs = this.#ports.clock.monotonicMs();
    const followed = [
      await bus.follow(
        { stream: 'GYRE_AUDIT', subjects: [subjects.auditVerdict()], fromSequence: 1 },
        (message) => this.#onReceipt(message),
      ),
      await bus.follow(
        {
          stream: 'GYRE_CONTROL',
          subjects: [saga, request, report, healing, negotiation],
          fromSequence: 1,
        },
        (message) => this.#onControl(message),
      ),
    ];
    this.#subscriptions.push(...followed);
    await this.#ports.telemetry.start((header) => this.#epochs?.count(header));
    await this.#readAuditor();
    await this.#quiet();
    this.#live = true;
    for (const driver of this.#drivers.values()) driver.advance();
    for (const event of this.#waitingRequests.values()) this.#desk.take(event);
    this.#waitingRequests.clear();
    this.#negotiations.goLive();
    this.#epochs?.goLive(() => this.#liveSagas());
    this.#look();
    log.info({ rotations: this.#drivers.size }, 'live');
  }

  #answers() {
    return answerQueries({
      ports: this.#ports,
      outcomes: this.#outcomes,
      rotations: () => [...this.#drivers.values()].filter(({ log: l }) => l.state !== null),
      find: (planId) => this.#drivers.get(planId),
      isLive: () => this.#live,
      heldSlots: () => this.#ledger.log.state?.held ?? [],
      negotiation: (query) => this.#negotiations.show(query),
      lockouts: () => this.#ports.trustDesk.lockouts(),
      epochs: this.#epochs,
    });
  }

  /** Sagas that are not at rest: the secrets that they began under are kept. */
  #liveSagas() {
    return [...this.#drivers.values()].flatMap(({ log: { state } }) =>
      state === null || restingPhases.has(state.phase)
        ? []
        : [{ beganAtMs: state.beganAtMs, layers: state.plan.body.affected_layers }],
    );
  }

  async stop(): Promise<void> {
    this.#live = false;
    this.#looking?.cancel();
    this.#negotiations.stop();
    for (const driver of this.#drivers.values()) driver.stop();
    this.#ledger.stop();
    await Promise.all(this.#subscriptions.map((subscription) => subscription.stop()));
    await this.#ports.telemetry.stop();
    await this.#epochs?.stop();
    await this.#ports.bus.close();
  }

  /** A revocation shows without an event: whoever drives a saga stops waiting for who is out. */
  #look(): void {
    const { trust, clock } = this.#ports;
    const revoked = trust.agents().filter(({ agentId }) => trust.isRevoked(agentId)).length;
    if (revoked !== this.#revoked) for (const driver of this.#drivers.values()) driver.advance();
    this.#revoked = revoked;
    this.#looking = clock.after(lookMs, () => this.#look());
  }

  #onControl(message: BusMessage): void {
    this.#saw('GYRE_CONTROL', message);
    const address = this.#ports.subjects.parse(message.subject);
    // Entries of epochs' logs are for those who follow them; they count for no epoch, being notices.
    if (address === null || address.kind === 'saga-epoch') return;
    if (address.kind === 'negotiation') {
      // What comes later is heard as a notice.
      if (message.sequence <= this.#backlog.GYRE_CONTROL) this.#negotiations.remember(message);
      return;
    }
    const log = this.#logOf(address);
    log?.saw(message.sequence);
    const opening = this.#ports.exchange.open(message);
    if (opening.status === 'refused') {
      if (log !== undefined) this.#onRefusedEntry(message);
      if (opening.code === 'SENDER_LOCKED_OUT') this.#onLockedOut(message);
      return;
    }
    const { event } = opening;
    this.#epochs?.heard(event);
    switch (event.type) {
      case 'saga-entry':
        this.#onEntry(event);
        break;
      case 'request-refused': {
        const { request, code, reason } = event.body;
        this.#outcomes.note(request, { status: 'refused', code, reason });
        break;
      }
      case 'step-reported':
        this.#shelf.keep(event.hash, event.disclosure);
        this.#drivers.get(event.body.sagaId)?.report(event.hash, event.sender.agentId, event.body);
        break;
      case 'negotiation-requested':
        this.#negotiations.take(event);
        break;
      case 'epoch-rotation-requested': {
        const stale = staleRefusal(this.#ports.trust, this.#ports.clock.nowMs());
        if (stale !== undefined) this.#outcomes.notHeard(event.hash, stale);
        break;
      }
      case 'rotation-requested':
      case 'plan-approved':
      case 'execution-requested':
      case 'rollback-requested':
      case 'recovery-requested':
      case 'recovery-approved':
      case 'healing-action-requested':
        this.#shelf.keep(event.hash, event.disclosure);
        if (this.#outcomes.has(event.hash)) break;
        if (this.#live) this.#desk.take(event);
        else this.#waitingRequests.set(event.hash, event);
        break;
      default:
    }
  }

  /**
   * What is an entry is for the auditor to say. One that came at an odd time, or is addressed to the
   * auditor alone, waits for the verdict like any other: else it would count there and not here.
   */
  #onRefusedEntry({ data, sequence }: BusMessage): void {
    const { exchange } = this.#ports;
    const record = exchange.openRecord(data);
    const event =
      record?.type === 'event-restored' ? exchange.openRecord(record.body.frame) : record;
    if (event?.type === 'saga-entry') this.#onEntry({ ...event, sequence });
  }

  /** Who is locked out is told so when he asks what became of it, instead of being left waiting. */
  #onLockedOut({ data }: BusMessage): void {
    const { crypto, trustDesk } = this.#ports;
    const parsed = parseFrame(data);
    const lockout = parsed.ok ? trustDesk.lockoutOf(parsed.frame.header.sender) : undefined;
    if (!parsed.ok || lockout === undefined) return;
    const { code, sender, untilMs } = lockout;
    const until = new Date(untilMs).toISOString();
    const reason = `${sender} offered a bad document and is locked out until ${until}`;
    this.#outcomes.notHeard(toHex(statementHashOf(crypto, parsed.frame)), { code, reason });
  }

  #logOf(address: NonNullable<ReturnType<OrchestratorParts['subjects']['parse']>>) {
    if (address.kind === 'saga-slots') return this.#ledger.log;
    return address.kind === 'saga-rotation' ? this.#open(address.sagaId).log : undefined;
  }

  #onEntry(event: ReceivedEvent<'saga-entry'>): void {
    const { saga, sagaId } = event.body;
    if (saga === 'slots') this.#ledger.log.deliver(event);
    else this.#open(sagaId).log.deliver(event);
    this.#settle(sagaId);
  }

  #onReceipt(message: BusMessage): void {
    this.#saw('GYRE_AUDIT', message);
    const opening = this.#ports.exchange.open(message);
    if (opening.status === 'refused' || opening.event.type !== 'receipts-issued') return;
    const { event } = opening;
    this.#epochs?.heard(event);
    const sagas = new Set<string>();
    for (const { statementHash, verdict, sagaId, phase } of event.body.entries) {
      if (sagaId === undefined) continue;
      this.#verdicts.set(statementHash, { verdict, receipt: event.disclosure, phase });
      this.#drivers.get(sagaId)?.log.vouchedFor(statementHash, event.disclosure);
      sagas.add(sagaId);
    }
    for (const oldest of this.#verdicts.keys()) {
      if (this.#verdicts.size <= verdictsKeptMax) break;
      this.#verdicts.delete(oldest);
    }
    for (const sagaId of sagas) this.#settle(sagaId);
  }

  /** Lets entries with receipts take effect, notes what they answer, and moves on. */
  #settle(sagaId: string): void {
    if (sagaId === this.#ledger.log.sagaId) {
      this.#ledger.log.settle(this.#verdicts);
      this.#reportBreak(this.#ledger.log);
      return;
    }
    const driver = this.#drivers.get(sagaId);
    if (driver === undefined) return;
    const settled = driver.log.settle(this.#verdicts);
    this.#reportBreak(driver.log);
    for (const { applied } of settled) {
      const { event } = applied.entry;
      for (const request of applied.entry.consumed) {
        this.#outcomes.note(
          request,
          event.type === 'execution-refused'
            ? { status: 'refused', code: event.code, reason: event.reason, planId: sagaId }
            : { status: 'accepted', planId: sagaId },
        );
      }
    }
    if (settled.length > 0 && this.#live) driver.advance();
  }

  #reportBreak({ sagaId, broken }: { sagaId: string; broken: string | undefined }): void {
    if (broken === undefined || this.#broken.has(sagaId)) return;
    this.#broken.add(sagaId);
    this.#ports.log.error({ saga: sagaId }, broken);
  }

  #open(sagaId: string): RotationDriver {
    const known = this.#drivers.get(sagaId);
    if (known !== undefined) return known;
    const { subjects } = this.#ports;
    const log = new SagaLog<RotationState, RotationCommand>(
      sagaId,
      subjects.sagaRotation(sagaId),
      (state, entry, hash, taken) =>
        foldRotation(this.#ports, state, { sagaId, entry, hash, taken }),
    );
    const driver = new RotationDriver(this.#ports, this.#office, log);
    this.#drivers.set(sagaId, driver);
    return driver;
  }

  /**
   * The auditor's prefix: entries that the bus may have lost. Its records are frames as they were
   * received; each is opened like any other delivery, and the verdict comes with it.
   */
  async #readAuditor(): Promise<void> {
    const { trust, exchange, log, clock } = this.#ports;
    const auditor = trust.agents().find(({ kind }) => kind === 'auditor');
    if (auditor === undefined) throw new BusError('BUS_NO_RESPONDER', 'no auditor is enrolled');
    for (let from = 0, attempts = 0; ;) {
      try {
        const to = { agentId: auditor.agentId, channel: 'saga' };
        const query = { ask: 'saga-entries', from, recordsMax: 128 } as const;
        const answer = await exchange.ask(to, query, askTimeoutMs);
        if (!answer.ok || !recordsCheck.check(answer.result)) {
          throw new BusError('BUS_REJECTED', 'the auditor gave no saga entries');
        }
        const { records, treeSize } = answer.result;
        for (const record of records) this.#openRecord(record);
        const last = records.at(-1);
        if (last === undefined || last.leafIndex + 1 >= treeSize) return;
        from = last.leafIndex + 1;
      } catch (error) {
        if (!(error instanceof BusError) || ++attempts > 100) throw error;
        log.warn({ code: error.code }, 'the auditor does not answer yet');
        await new Promise<void>((resolve) => clock.after(retryDelayMs, resolve));
      }
    }
  }

  #openRecord({ frame, salt, body, verdict }: AuditRecord): void {
    if (verdict !== 'accepted' || this.#isApplied(frame)) return;
    const kept = salt === undefined || body === undefined ? undefined : { salt, body };
    const opened = this.#ports.exchange.openRecord(frame, kept);
    if (opened?.type !== 'saga-entry') return;
    if (!this.#verdicts.has(opened.hash)) {
      this.#verdicts.set(opened.hash, { verdict: 'accepted', receipt: null });
    }
    this.#onEntry(opened);
  }

  /** Whether this very entry took effect already: opened once, it is not verified again. */
  #isApplied(frame: Uint8Array): boolean {
    const { crypto, subjects } = this.#ports;
    const parsed = parseFrame(frame);
    const address = parsed.ok ? subjects.parse(parsed.frame.header.subject) : null;
    if (!parsed.ok || address === null) return false;
    const log =
      address.kind === 'saga-rotation'
        ? this.#drivers.get(address.sagaId)?.log
        : address.kind === 'saga-slots' && this.#ledger.log;
    return log ? log.isApplied(toHex(statementHashOf(crypto, parsed.frame))) : false;
  }

  #saw(stream: 'GYRE_AUDIT' | 'GYRE_CONTROL', { sequence }: BusMessage): void {
    if (sequence > this.#backlog[stream]) return;
    this.#lastMessageMs = this.#ports.clock.monotonicMs();
  }

  async #quiet(): Promise<void> {
    const { clock } = this.#ports;
    while (clock.monotonicMs() - this.#lastMessageMs < quietMs) {
      await new Promise<void>((resolve) => clock.after(quietMs / 5, resolve));
    }
  }
}
