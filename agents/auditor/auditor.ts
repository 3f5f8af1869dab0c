/**
 * The auditor: the second holder of everything that causes an effect. It follows the control stream
 * into its own append-only log under an RFC 9162 tree, judges what it takes in, issues receipts,
 * has checkpoints signed, puts back what the bus lost, and shows its records to those who may see
 * them. Its whole state is its log (invariants 5 and 15); a restart folds it again and issues the
 * receipts of the last batches and of unfinished sagas once more, because those may not have left
 * before the end, or be lost since.
 */

import type { Bus } from '#shared/bus/bus.ts';
import { streamSubjects, type Subjects } from '#shared/bus/subjects.ts';
import type { ChannelKeyring } from '#shared/crypto/keyring.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Exchange } from '#shared/runtime/exchange.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import type { TrustDesk } from '#shared/runtime/trust-desk.ts';
import { Archive } from './archive.ts';
import { AuditBook } from './book.ts';
import { Checkpoints } from './checkpoints.ts';
import { Intake } from './intake.ts';
import { AuditLog } from './log.ts';
import { QueryDesk } from './queries.ts';
import { IssuedReceipts } from './issued-receipts.ts';
import { ReceiptWatch } from './receipt-watch.ts';
import { ReceiptWriter, receiptsWaitingMax } from './receipts.ts';
import { Restoration } from './restoration.ts';
import { Unoffered } from './unoffered.ts';

export interface AuditorPorts {
  readonly exchange: Exchange;
  readonly bus: Bus;
  readonly trust: TrustView;
  readonly keyring: ChannelKeyring;
  /** Waits, for a bounded time, for an epoch that is announced and whose secret is still asked for. */
  readonly whenReadable?: (
    name: { channel: string; epoch: number },
    sender: string,
  ) => Promise<boolean>;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Log;
  readonly subjects: Subjects;
  /** Absent where nobody offers documents. */
  readonly trustDesk?: Pick<TrustDesk, 'lockouts' | 'learn'>;
  /** Of `audit.log` and `checkpoint.json`. */
  readonly disk: Disk;
  /** New leaves after which a checkpoint is due. Default 256. */
  readonly checkpointLeaves?: number;
  /** Time after the first uncovered leaf at which one is due. Default 30 seconds. */
  readonly checkpointMs?: number;
  /** How often to look for losses of the bus. Default one second. */
  readonly lookMs?: number;
}

const checkpointLeavesDefault = 256;
const checkpointMsDefault = 30_000;
const lookMsDefault = 1_000;
/** Leaves at the end of the log whose receipts may not have left before a crash. */
const receiptsAgainMax = receiptsWaitingMax;

export class Auditor {
  readonly #ports: AuditorPorts;
  readonly #records: AuditLog;
  readonly #book: AuditBook;
  readonly #receipts: ReceiptWriter;
  readonly #checkpoints: Checkpoints;
  readonly #intake: Intake;
  readonly #restoration: Restoration;
  readonly #receiptWatch: ReceiptWatch;
  readonly #unoffered: Unoffered;
  readonly #desk: QueryDesk;

  private constructor(ports: AuditorPorts, records: AuditLog, book: AuditBook, archive: Archive) {
    const { exchange, bus, clock, log, subjects, trust, disk } = ports;
    const shared = { exchange, bus, clock, log, book, records, trust };
    const issued = new IssuedReceipts({ clock, isOpen: (note) => book.isOpen(note) });
    this.#ports = ports;
    this.#records = records;
    this.#book = book;
    this.#receipts = new ReceiptWriter({
      ...shared,
      issued,
      verdictSubject: subjects.auditVerdict(),
      receiptSubject: subjects.auditReceipt(),
    });
    this.#checkpoints = new Checkpoints({
      ...shared,
      subject: subjects.auditCheckpoint(),
      disk,
      leavesMax: ports.checkpointLeaves ?? checkpointLeavesDefault,
      intervalMs: ports.checkpointMs ?? checkpointMsDefault,
    });
    this.#intake = new Intake({
      ...shared,
      archive,
      ...(ports.whenReadable === undefined ? {} : { whenReadable: ports.whenReadable }),
      receipts: this.#receipts,
      subjects: streamSubjects(subjects).GYRE_CONTROL,
      onLeaves: () => this.#checkpoints.leavesAdded(),
      onRefused: (code, { sagaId }) => {
        if (code === 'NOT_REVOKED') this.#unoffered.documentMissing();
        if (code === 'SAGA_CHAIN' && sagaId !== undefined) this.#restoration.contested(sagaId);
      },
    });
    this.#restoration = new Restoration({
      ...shared,
      receipts: this.#receipts,
      intake: this.#intake,
      intervalMs: ports.lookMs ?? lookMsDefault,
    });
    this.#receiptWatch = new ReceiptWatch({
      ...shared,
      issued,
      receipts: this.#receipts,
      intervalMs: ports.lookMs ?? lookMsDefault,
    });
    this.#unoffered = new Unoffered({
      ...shared,
      intake: this.#intake,
      subjects,
      trustDesk: ports.trustDesk,
    });
    this.#desk = new QueryDesk({
      auditorId: exchange.agentId,
      trust,
      book,
      records,
      checkpoints: this.#checkpoints,
      receipts: this.#receipts,
      restored: () => this.#restoration.restored,
      refused: () => this.#intake.refusedCount(),
      lastSequence: () => this.#intake.lastSequence,
      lockouts: () => ports.trustDesk?.lockouts() ?? [],
      trouble: () => this.#intake.trouble,
    });
  }

  /**
   * Reads the log and goes through it.
   * @throws AuditLogError AUDIT_LOG_DAMAGED, AUDIT_CONTENT_GONE, AUDIT_DISK_FULL
   */
  static async open(ports: AuditorPorts): Promise<Auditor> {
    const { crypto, trust, keyring, subjects, exchange, log, disk } = ports;
    const addressOf = (subject: string) => subjects.parse(subject);
    const archive = new Archive({ auditor: exchange.agentId, crypto, trust, keyring });
    const book = new AuditBook({ crypto, trust, keyring, archive, addressOf });
    const file = await disk.logFile('audit.log');
    const records = await AuditLog.open(file, (record) => book.replay(record));
    if (records.cutBytes > 0) {
      log.warn({ bytes: records.cutBytes }, 'an unfinished record at the end of the log was cut');
    }
    log.info({ leaves: records.size, rootHash: book.rootHash() }, 'log read');
    try {
      return new Auditor(ports, records, book, archive);
    } catch (error) {
      await records.close();
      throw error;
    }
  }

  /** Resolves once it takes in events and answers. */
  async start(): Promise<void> {
    const { exchange } = this.#ports;
    const size = this.#book.size;
    this.#receipts.issue(this.#book.openVerdicts());
    this.#receipts.issue(this.#book.notes(Math.max(0, size - receiptsAgainMax), size));
    await exchange.answer((query, asker) => this.#desk.answer(query, asker));
    await this.#intake.start();
    this.#restoration.start();
    this.#receiptWatch.start();
    this.#unoffered.start();
    this.#checkpoints.leavesAdded();
  }

  /** Leaves in the log. */
  get size(): number {
    return this.#book.size;
  }

  /** Events put back since the start. */
  get restored(): number {
    return this.#restoration.restored;
  }

  async stop(): Promise<void> {
    await this.#unoffered.stop();
    await this.#receiptWatch.stop();
    await this.#restoration.stop();
    await this.#intake.stop();
    await this.#receipts.stop();
    await this.#checkpoints.stop();
    await this.#ports.bus.close();
    await this.#records.close();
  }
}
