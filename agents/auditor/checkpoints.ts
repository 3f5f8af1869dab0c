/**
 * Checkpoints: heads of the auditor's tree, signed through the signer with the audit role's key. The
 * signer signs a head only if it extends the one before, so not even a stolen auditor can have two
 * stories signed.
 *
 * An answer may be lost after the signer has signed. Therefore the size asked for is durable first,
 * and is asked for again until it is answered: with the proof from the last known checkpoint, or,
 * where the signer has the very head already, with the empty one.
 */

import type { AuditCheckpoint, AuditCheckpointBody } from '#schemas/plan.ts';
import { AuditCheckpoint as AuditCheckpointSchema } from '#schemas/plan.ts';
import { compile } from '#schemas/primitives.ts';
import { BusError } from '#shared/bus/bus.ts';
import { sameData } from '#shared/core/equality.ts';
import { formatInstant } from '#shared/core/instant.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Exchange } from '#shared/runtime/exchange.ts';
import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import type { AuditBook } from './book.ts';
import { readCheckpointState, writeCheckpointState } from './checkpoint-file.ts';
import type { CheckpointState } from './checkpoint-file.ts';
import { AuditLogError } from './log-error.ts';

export interface CheckpointPorts {
  readonly exchange: Exchange;
  readonly trust: TrustView;
  readonly clock: Clock;
  readonly log: Log;
  readonly book: AuditBook;
  readonly subject: string;
  /** Keeps the last checkpoint. */
  readonly disk: Disk;
  /** New leaves after which a checkpoint is due. */
  readonly leavesMax: number;
  /** Time after the first uncovered leaf at which one is due. */
  readonly intervalMs: number;
}

export type CheckpointOutcome =
  | { readonly status: 'signed'; readonly checkpoint: AuditCheckpoint }
  | { readonly status: 'failed'; readonly reason: string };

const signTimeoutMs = 8_000;
const checkpointCheck = compile(AuditCheckpointSchema);

export class Checkpoints {
  readonly #ports: CheckpointPorts;
  #state: CheckpointState;
  #running: Promise<CheckpointOutcome> | undefined;
  #timer: Timer | undefined;
  #stopped = false;
  /** The last request failed: the next one waits for the timer. */
  #failed = false;

  /** @throws AuditLogError AUDIT_LOG_DAMAGED where the log is not the one that was checkpointed */
  constructor(ports: CheckpointPorts) {
    this.#ports = ports;
    this.#state = readCheckpointState(ports.disk);
    const { checkpoint, askedSize = 0 } = this.#state;
    const { book } = ports;
    const covered = checkpoint?.body.tree_size ?? 0;
    if (book.size < Math.max(covered, askedSize)) {
      throw new AuditLogError('AUDIT_LOG_DAMAGED', 'the log is shorter than its checkpoint');
    }
    if (checkpoint !== undefined && toHex(book.tree.root(covered)) !== checkpoint.body.root_hash) {
      throw new AuditLogError('AUDIT_LOG_DAMAGED', 'the log is not the one of its checkpoint');
    }
  }

  get last(): AuditCheckpoint | undefined {
    return this.#state.checkpoint;
  }

  /** Leaves were added: asks for a checkpoint now, or later. */
  leavesAdded(): void {
    const { book, leavesMax } = this.#ports;
    const covered = this.#covered();
    if (this.#stopped || !book.hasSubstanceFrom(covered)) return;
    const isDue = book.size - covered >= leavesMax && !this.#failed;
    if (isDue && this.#running === undefined) void this.#inBackground();
    else this.#askLater();
  }

  /** A checkpoint over every leaf that is in the log now. */
  async now(): Promise<CheckpointOutcome> {
    const wanted = this.#ports.book.size;
    for (;;) {
      const { checkpoint } = this.#state;
      if (checkpoint !== undefined && this.#covered() >= wanted) {
        return { status: 'signed', checkpoint };
      }
      this.#running ??= this.#ask().finally(() => {
        this.#running = undefined;
      });
      const outcome = await this.#running;
      if (outcome.status === 'failed') return outcome;
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  async #inBackground(): Promise<void> {
    const outcome = await this.now();
    this.#failed = outcome.status === 'failed';
    if (outcome.status === 'signed') return;
    this.#ports.log.warn({ reason: outcome.reason }, 'no checkpoint');
    this.#askLater();
  }

  #askLater(): void {
    if (this.#stopped) return;
    this.#timer ??= this.#ports.clock.after(this.#ports.intervalMs, () => {
      this.#timer = undefined;
      void this.#inBackground();
    });
  }

  #covered(): number {
    return this.#state.checkpoint?.body.tree_size ?? 0;
  }

  async #ask(): Promise<CheckpointOutcome> {
    const { book } = this.#ports;
    const size = this.#state.askedSize ?? book.size;
    try {
      this.#keep({ ...this.#state, askedSize: size });
      const first = await this.#sign(size, this.#proof(size));
      const signed = first.status === 'signed' ? first : await this.#sign(size, []);
      if (signed.status === 'failed') return first;
      this.#keep({ checkpoint: signed.checkpoint });
      await this.#publish(signed.checkpoint);
      return signed;
    } catch (error) {
      if (error instanceof BusError) return { status: 'failed', reason: error.code };
      if (error instanceof AuditLogError && error.code === 'AUDIT_DISK_FULL') {
        return { status: 'failed', reason: error.code };
      }
      throw error;
    }
  }

  #proof(size: number): string[] {
    return this.#ports.book.tree.consistency(this.#covered(), size).map(toHex);
  }

  async #sign(size: number, consistency: string[]): Promise<CheckpointOutcome> {
    const { exchange, trust, clock, book } = this.#ports;
    const signer = trust.agents().find(({ kind }) => kind === 'signer');
    if (signer === undefined) return { status: 'failed', reason: 'no signer is enrolled' };
    const statement: AuditCheckpointBody = {
      kind: 'audit_checkpoint',
      mesh: trust.mesh,
      auditor: exchange.agentId,
      tree_size: size,
      root_hash: toHex(book.tree.root(size)),
      issued_at: formatInstant(clock.nowMs()),
    };
    const answer = await exchange.ask(
      { agentId: signer.agentId, channel: 'saga' },
      { ask: 'sign-statement', statement, evidence: [], consistency },
      signTimeoutMs,
    );
    if (!answer.ok) return { status: 'failed', reason: `${answer.code}: ${answer.reason}` };
    const document = answer.result;
    if (!checkpointCheck.check(document) || !sameData(document.body, statement)) {
      return { status: 'failed', reason: 'the signer answered with another statement' };
    }
    if (trust.verifyStatement(document, 'audit') !== 'ok') {
      return { status: 'failed', reason: 'the checkpoint is not signed by the audit role' };
    }
    return { status: 'signed', checkpoint: document };
  }

  /** Its being known is not needed for its being valid: a bus that is away costs nothing. */
  async #publish(checkpoint: AuditCheckpoint): Promise<void> {
    const { exchange, subject, log } = this.#ports;
    try {
      await exchange.publish({
        type: 'checkpoint-issued',
        subject,
        channel: 'mesh',
        body: { checkpoint },
      });
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      log.warn({ code: error.code }, 'the checkpoint is kept, and was not announced');
    }
  }

  #keep(state: CheckpointState): void {
    writeCheckpointState(this.#ports.disk, state);
    this.#state = state;
  }
}
