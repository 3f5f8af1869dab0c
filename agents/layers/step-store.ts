/**
 * What a layer agent remembers of the steps that it was told to do, in store.db: sagas and how far
 * they have come, commands with intent and outcome, which saga holds which slot, and the public keys
 * that were accepted from others. The outbox lives in the same database, so that an outcome and its
 * report are one transaction (invariant 8).
 *
 * Two writes make a step: `recordIntent` before the effect, `recordOutcome` after it. A crash between
 * them leaves an intent without outcome, and the effect, which is safe to repeat, is run again.
 */

import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from 'node:sqlite';
import { RotationAuthorization, RotationPlan } from '#schemas/plan.ts';
import { compile, type TSchema, type Validator } from '#schemas/primitives.ts';
import { StepReported } from '#schemas/steps.ts';
import { samePublicBytes } from '#shared/crypto/bytes.ts';
import { decodeCanonical, encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { invariant } from '#shared/crypto/errors.ts';
import { transact, translated } from './sqlite.ts';
import { stepKey, stepKeyOf, StepTask, type StepName } from './step-task.ts';

export interface SagaMemory {
  readonly plan: RotationPlan;
  readonly planDigest: string;
  readonly authorization?: RotationAuthorization;
  /** Highest index that a command of this saga had. */
  readonly lastIndex: number;
}

/** The new key of a slot in one saga: its number from the intent on, its id once it is there. */
export interface Candidate {
  readonly version: number;
  readonly keyId?: string;
}

/** A public key of somebody else's slot. */
export interface PeerKey {
  readonly slot: string;
  readonly version: number;
  readonly keyId: string;
  readonly publicKey: Uint8Array;
  readonly state: 'accepted' | 'withdrawn';
}

export interface Intent {
  readonly task: StepTask;
  readonly saga: SagaMemory;
  /** Slots that the saga holds from now on. */
  readonly reserves: readonly string[];
}

export interface Outcome {
  readonly task: StepTask;
  readonly report: StepReported;
  /** Keys that are known by their id from now on. */
  readonly candidates: readonly {
    readonly slot: string;
    readonly version: number;
    readonly keyId: string;
  }[];
  readonly acceptedPeers: readonly Omit<PeerKey, 'state'>[];
  readonly withdrawnPeers: readonly { readonly slot: string; readonly keyId: string }[];
  readonly droppedPeers: readonly { readonly slot: string; readonly keyId: string }[];
  /** Slots that the saga no longer holds. */
  readonly releases: readonly string[];
}

const schema = `
  CREATE TABLE IF NOT EXISTS sagas (
    saga_id TEXT PRIMARY KEY,
    plan_digest TEXT NOT NULL,
    plan BLOB NOT NULL,
    authorization BLOB,
    last_index INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS steps (
    step_key TEXT PRIMARY KEY,
    saga_id TEXT NOT NULL,
    task BLOB NOT NULL,
    report BLOB,
    at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS open_steps ON steps (at_ms) WHERE report IS NULL;
  CREATE TABLE IF NOT EXISTS reservations (
    slot TEXT PRIMARY KEY,
    saga_id TEXT NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS candidates (
    slot TEXT NOT NULL,
    saga_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    key_id TEXT,
    PRIMARY KEY (slot, saga_id)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS peer_keys (
    slot TEXT NOT NULL,
    key_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    public_key BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('accepted', 'withdrawn')),
    PRIMARY KEY (slot, key_id)
  ) STRICT;
`;

/** How long commands and sagas are remembered: as long as their events are taken. */
const rememberedMs = 60 * 24 * 3_600_000;

const planCheck = compile(RotationPlan);
const authorizationCheck = compile(RotationAuthorization);
const taskCheck = compile(StepTask);
const reportCheck = compile(StepReported);

type Row = Record<string, SQLOutputValue>;

/** What was read of a saga last, so that a plan of thousands of values is not decoded for each step. */
interface Kept {
  readonly stored: Uint8Array;
  readonly plan: RotationPlan;
}
/** Sagas of which it is kept; those that are older are read again. */
const keptMax = 8;

export class StepStore {
  readonly #database: DatabaseSync;
  readonly #kept = new Map<string, Kept>();
  /** By their text, of which there are few. */
  readonly #statements = new Map<string, StatementSync>();

  /** Uses, and does not close, a database of `openDatabase`. @throws AdapterError */
  constructor(database: DatabaseSync) {
    this.#database = database;
    translated('the step store cannot be used', () => database.exec(schema));
  }

  saga(sagaId: string): SagaMemory | undefined {
    const [row] = this.#read('SELECT * FROM sagas WHERE saga_id = ?', sagaId);
    if (row === undefined) return undefined;
    const memory = {
      plan: this.#plan(sagaId, row['plan']),
      planDigest: text(row['plan_digest']),
      lastIndex: integer(row['last_index']),
    };
    const authorization = row['authorization'];
    return authorization === null
      ? memory
      : { ...memory, authorization: decoded(authorizationCheck, authorization) };
  }

  /** Highest index that a command of a saga had; 0 where there was none. */
  lastIndexOf(sagaId: string): number {
    const [row] = this.#read('SELECT last_index FROM sagas WHERE saga_id = ?', sagaId);
    return row === undefined ? 0 : integer(row['last_index']);
  }

  /** As it is stored now; the same object for as long as that does not change. */
  #plan(sagaId: string, stored: SQLOutputValue | undefined): RotationPlan {
    const known = this.#kept.get(sagaId);
    const isKnown = stored instanceof Uint8Array && known !== undefined;
    if (isKnown && samePublicBytes(known.stored, stored)) return known.plan;
    const plan = decoded(planCheck, stored);
    invariant(stored instanceof Uint8Array, 'a stored plan is bytes');
    this.#kept.delete(sagaId);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size < keptMax) break;
      this.#kept.delete(oldest);
    }
    this.#kept.set(sagaId, { stored, plan });
    return plan;
  }

  /** The report of a command that was carried out, as it was first written. */
  reportOf(step: StepName): StepReported | undefined {
    const [row] = this.#read('SELECT report FROM steps WHERE step_key = ?', stepKey(step));
    const report = row?.['report'];
    return report instanceof Uint8Array ? decoded(reportCheck, report) : undefined;
  }

  /** What was about to happen, and may have. */
  taskOf(step: StepName): StepTask | undefined {
    const [row] = this.#read('SELECT task FROM steps WHERE step_key = ?', stepKey(step));
    return row === undefined ? undefined : decoded(taskCheck, row['task']);
  }

  /** Intents without outcome, oldest first. */
  openTasks(): StepTask[] {
    const sql = 'SELECT task FROM steps WHERE report IS NULL ORDER BY at_ms, rowid';
    return this.#read(sql).map((row) => decoded(taskCheck, row['task']));
  }

  holderOf(slot: string): string | undefined {
    const [row] = this.#read('SELECT saga_id FROM reservations WHERE slot = ?', slot);
    return row === undefined ? undefined : text(row['saga_id']);
  }

  candidate(slot: string, sagaId: string): Candidate | undefined {
    const where = 'WHERE slot = ? AND saga_id = ?';
    const [row] = this.#read(`SELECT version, key_id FROM candidates ${where}`, slot, sagaId);
    if (row === undefined) return undefined;
    const version = integer(row['version']);
    return row['key_id'] === null ? { version } : { version, keyId: text(row['key_id']) };
  }

  /** Whether a number of the slot was meant for other rotations too: one that was never given is free again. */
  isMeantForOthers(slot: string, sagaId: string, version: number): boolean {
    const where = 'WHERE slot = ? AND saga_id <> ? AND version = ?';
    return this.#read(`SELECT 1 FROM candidates ${where}`, slot, sagaId, version).length > 0;
  }

  /** The highest number that a key of the slot has here, made or accepted; 0 where there is none. */
  highestVersion(slot: string): number {
    const given = 'SELECT version FROM candidates WHERE slot = ? AND key_id IS NOT NULL';
    const accepted = 'SELECT version FROM peer_keys WHERE slot = ?';
    const rows = this.#read(`${given} UNION ${accepted}`, slot, slot);
    return Math.max(0, ...rows.map((row) => integer(row['version'])));
  }

  peerKey(slot: string, keyId: string): PeerKey | undefined {
    const where = 'WHERE slot = ? AND key_id = ?';
    const [row] = this.#read(`SELECT * FROM peer_keys ${where}`, slot, keyId);
    const publicKey = row?.['public_key'];
    if (row === undefined || !(publicKey instanceof Uint8Array)) return undefined;
    const state = row['state'] === 'withdrawn' ? 'withdrawn' : 'accepted';
    return { slot, keyId, version: integer(row['version']), publicKey, state };
  }

  /** Before the effect: what will be done, for which saga, and which slots it holds. */
  recordIntent(intent: Intent, atMs: number): void {
    const { task, saga, reserves } = intent;
    transact(this.#database, 'the intent was not stored', () => {
      this.#run(
        `INSERT INTO sagas (saga_id, plan_digest, plan, authorization, last_index, at_ms)
          VALUES (?, ?, ?, ?, ?, ?)
          ON CONFLICT (saga_id) DO UPDATE SET
            authorization = coalesce(excluded.authorization, authorization),
            last_index = max(last_index, excluded.last_index),
            at_ms = excluded.at_ms`,
        task.sagaId,
        saga.planDigest,
        this.#stored(task.sagaId, saga.plan),
        saga.authorization === undefined ? null : encoded(saga.authorization),
        task.sagaIndex,
        atMs,
      );
      this.#run(
        'INSERT OR IGNORE INTO steps (step_key, saga_id, task, at_ms) VALUES (?, ?, ?, ?)',
        stepKeyOf(task),
        task.sagaId,
        encoded(task),
        atMs,
      );
      for (const slot of reserves) {
        this.#run('INSERT OR REPLACE INTO reservations VALUES (?, ?)', slot, task.sagaId);
      }
      for (const { slot, newVersion } of task.slots) {
        if (newVersion === undefined) continue;
        const sql = 'INSERT OR IGNORE INTO candidates (slot, saga_id, version) VALUES (?, ?, ?)';
        this.#run(sql, slot, task.sagaId, newVersion);
      }
    });
  }

  /** After the effect: what became of it. `enqueue` puts the report into the outbox. */
  recordOutcome(outcome: Outcome, atMs: number, enqueue: () => void): void {
    const { task, report } = outcome;
    transact(this.#database, 'the outcome was not stored', () => {
      const changed = this.#run(
        'UPDATE steps SET report = ?, at_ms = ? WHERE step_key = ? AND report IS NULL',
        encoded(report),
        atMs,
        stepKeyOf(task),
      );
      invariant(changed === 1, 'an outcome follows one intent, once');
      this.#recordKeys(outcome);
      for (const slot of outcome.releases) {
        const sql = 'DELETE FROM reservations WHERE slot = ? AND saga_id = ?';
        this.#run(sql, slot, task.sagaId);
      }
      enqueue();
    });
  }

  /** What is sent without an outcome of its own: refusals, repetitions, advertisements. */
  recordReport(enqueue: () => void): void {
    transact(this.#database, 'the report was not stored', enqueue);
  }

  /** Forgets commands and sagas that no event can name any more. */
  prune(nowMs: number): void {
    transact(this.#database, 'old steps were not removed', () => {
      const before = nowMs - rememberedMs;
      this.#run('DELETE FROM steps WHERE at_ms < ? AND report IS NOT NULL', before);
      this.#run(
        `DELETE FROM sagas WHERE at_ms < ?
          AND saga_id NOT IN (SELECT saga_id FROM steps)
          AND saga_id NOT IN (SELECT saga_id FROM reservations)`,
        before,
      );
      this.#run('DELETE FROM candidates WHERE saga_id NOT IN (SELECT saga_id FROM sagas)');
    });
  }

  /** What was read stays as it was written, whoever encodes it. */
  #stored(sagaId: string, plan: RotationPlan): Uint8Array {
    const known = this.#kept.get(sagaId);
    return known?.plan === plan ? known.stored : encoded(plan);
  }

  #recordKeys({ task, candidates, acceptedPeers, withdrawnPeers, droppedPeers }: Outcome): void {
    for (const { slot, version, keyId } of candidates) {
      this.#run(
        'INSERT OR REPLACE INTO candidates (slot, saga_id, version, key_id) VALUES (?, ?, ?, ?)',
        slot,
        task.sagaId,
        version,
        keyId,
      );
    }
    for (const { slot, keyId, version, publicKey } of acceptedPeers) {
      const sql = `INSERT OR REPLACE INTO peer_keys VALUES (?, ?, ?, ?, 'accepted')`;
      this.#run(sql, slot, keyId, version, publicKey);
    }
    for (const { slot, keyId } of withdrawnPeers) {
      const sql = `UPDATE peer_keys SET state = 'withdrawn' WHERE slot = ? AND key_id = ?`;
      this.#run(sql, slot, keyId);
    }
    for (const { slot, keyId } of droppedPeers) {
      this.#run('DELETE FROM peer_keys WHERE slot = ? AND key_id = ?', slot, keyId);
    }
  }

  #read(sql: string, ...values: readonly SQLInputValue[]): Row[] {
    return translated('the step store cannot be read', () => this.#prepared(sql).all(...values));
  }

  #run(sql: string, ...values: readonly SQLInputValue[]): number {
    return Number(this.#prepared(sql).run(...values).changes);
  }

  #prepared(sql: string): StatementSync {
    const statement = this.#statements.get(sql) ?? this.#database.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}

function encoded(value: unknown): Uint8Array {
  return encodeCanonical(value);
}

function decoded<Schema extends TSchema>(
  check: Validator<Schema>,
  stored: SQLOutputValue | undefined,
) {
  invariant(stored instanceof Uint8Array, 'a stored value is there');
  const result = decodeCanonical(stored);
  const value = result.ok ? result.value : undefined;
  invariant(check.check(value), 'a stored value is of its schema');
  return value;
}

function text(value: SQLOutputValue | undefined): string {
  invariant(typeof value === 'string', 'a stored text is a text');
  return value;
}

function integer(value: SQLOutputValue | undefined): number {
  invariant(typeof value === 'number', 'a stored number is a number');
  return value;
}
