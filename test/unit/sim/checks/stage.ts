/**
 * A small mesh told by hand: one slot with an owner and a verifier, a saga that goes as far as a test
 * lets it, and whatever wrong a test adds. Events are plain objects, stores are databases in memory with
 * the tables that agents make.
 */

import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import type { Header } from '#schemas/frame.ts';
import type { RotationPlanBody } from '#schemas/plan.ts';
import type { RotationEvent, RotationPhase, SlotsEvent, StepOperation } from '#schemas/saga.ts';
import type { StreamName } from '#shared/bus/bus.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { Checks } from '../../../sim/checks/all.ts';
import type { Invariant, Violation } from '../../../sim/checks/check.ts';
import type { ObservedMessage } from '../../../sim/observation.ts';
import { Observer } from '../../../sim/observer.ts';
import { policyOf } from '../../core/mesh.ts';
import {
  digest,
  digestOfBody,
  keyOf,
  owner,
  schemas,
  slot,
  startMs,
  verifier,
} from './stage-parts.ts';

export interface Saying {
  readonly authentic?: boolean;
  readonly hash?: string;
  readonly subject?: string;
  readonly stream?: StreamName;
  readonly header?: Partial<Header>;
  readonly plaintext?: Uint8Array;
}

export interface Doing {
  readonly sagaId?: string;
  readonly commandId?: string;
  readonly sagaIndex?: number;
  readonly newVersion?: number;
  readonly recovers?: boolean;
}

const policy = policyOf();
export const policyDigest = digestOfBody(policy);
const kinds = {
  'op-1': 'operator',
  'op-2': 'operator',
  'op-3': 'operator',
  'orchestrator-a': 'orchestrator',
  signer: 'signer',
  auditor: 'auditor',
  [owner]: 'layer',
  [verifier]: 'layer',
} as const;

export class Stage {
  readonly observer: Observer;
  readonly checks: Checks;
  nowMs = startMs;
  clockErrorMsMax = 0;
  readonly #databases = new Map<string, DatabaseSync>();
  readonly #chains = new Map<string, { counter: number; previous: string }>();
  readonly #sequences = new Map<StreamName, number>();
  readonly #sagas = new Map<string, { index: number; previous: string }>();
  #leaves = 0;
  #names = 0;

  constructor() {
    this.observer = new Observer({
      agents: Object.entries(kinds).map(([agentId, kind]) => ({
        agentId,
        kind,
        capabilities: kind === 'operator' && agentId !== 'op-3' ? ['mfa'] : [],
      })),
      policies: new Map([[policyDigest, policy]]),
      digest,
      nowMs: () => this.nowMs,
      clockErrorMsMax: () => this.clockErrorMsMax,
      usageWindowMs: 1_000,
    });
    this.checks = new Checks(this.observer);
    this.observer.onChange((change) => this.checks.after(change));
    for (const agentId of Object.keys(kinds)) this.observer.life(agentId, 'started');
    this.key(owner, 'primary', 1);
  }

  /** What was found so far, of one invariant. */
  found(invariant: Invariant): readonly Violation[] {
    return this.checks.violations.filter((violation) => violation.invariant === invariant);
  }

  looked(invariant: Invariant): number {
    return this.checks.looked()[invariant];
  }

  /** The bus stores an event; it links into its sender's chain unless the header says otherwise. */
  say(sender: string, type: string, body: unknown, saying: Saying = {}): string {
    const chain = this.#chains.get(sender) ?? { counter: 0, previous: '0'.repeat(64) };
    this.#names += 1;
    const hash = saying.hash ?? digest(Buffer.from(`event ${this.#names}`));
    chain.counter += 1;
    const header = headerOf(sender, type, { chain, timeMs: this.nowMs });
    const stream = saying.stream ?? 'GYRE_CONTROL';
    const sequence = (this.#sequences.get(stream) ?? 0) + 1;
    this.#sequences.set(stream, sequence);
    const message: ObservedMessage = {
      stream,
      sequence,
      subject: saying.subject ?? `test.${type}`,
      messageId: hash,
      data: new Uint8Array(64),
      timeMs: this.nowMs,
      hash,
      sender,
      type,
      header: { ...header, ...saying.header },
      authentic: saying.authentic ?? true,
      body,
      plaintext: saying.plaintext,
    };
    this.#chains.set(sender, { ...chain, previous: hash });
    this.observer.stored(message);
    return hash;
  }

  /** The auditor has it on its disk. */
  leaf(hash: string, verdict: 'accepted' | 'refused' = 'accepted', leafIndex = this.#leaves): void {
    const sequence = this.observer.messageOf(hash)?.sequence ?? 0;
    this.observer.leaf('auditor', { leafIndex, hash, verdict, sequence });
    this.#leaves = Math.max(this.#leaves, leafIndex + 1);
  }

  /** Said and audited. */
  tell(sender: string, type: string, body: unknown, saying: Saying = {}): string {
    const hash = this.say(sender, type, body, saying);
    this.leaf(hash);
    return hash;
  }

  /** An entry of a saga, its leaf, and the receipt that names the phase. */
  entry(
    event: RotationEvent,
    phase: RotationPhase,
    { consumed = [], id = 'plan-1', isAudited = true, header }: EntryChoices = {},
  ): string {
    const { index, previous } = this.#sagas.get(id) ?? { index: 0, previous: '0'.repeat(64) };
    const place = { saga: 'rotation', sagaId: id, index, previous, consumed };
    const saying = header === undefined ? {} : { header };
    const hash = this.say('orchestrator-a', 'saga-entry', { ...place, event }, saying);
    this.#sagas.set(id, { index: index + 1, previous: hash });
    if (!isAudited) return hash;
    this.leaf(hash);
    const entry = { statementHash: hash, leafIndex: this.#leaves - 1, verdict: 'accepted' };
    const entries = [{ ...entry, sagaId: id, sagaIndex: index, phase }];
    const body = { treeSize: this.#leaves, rootHash: '0'.repeat(64), entries };
    const subject = 'test.audit.verdict';
    this.say('auditor', 'receipts-issued', body, { subject, stream: 'GYRE_AUDIT' });
    return hash;
  }

  ledger(event: SlotsEvent): string {
    const { index, previous } = this.#sagas.get('slots') ?? { index: 0, previous: '0'.repeat(64) };
    const place = { saga: 'slots', sagaId: 'slots', index, previous, consumed: [] };
    const hash = this.tell('orchestrator-a', 'saga-entry', { ...place, event });
    this.#sagas.set('slots', { index: index + 1, previous: hash });
    return hash;
  }

  /** Index of the latest entry. */
  index(id = 'plan-1'): number {
    return (this.#sagas.get(id)?.index ?? 0) - 1;
  }

  /** An agent writes down what it is about to do. */
  intent(agentId: string, operation: StepOperation, doing: Doing = {}): string {
    const { sagaId = 'plan-1', sagaIndex = this.index(sagaId), recovers = false } = doing;
    this.#names += 1;
    const commandId = doing.commandId ?? `${sagaId}-${sagaIndex}-${this.#names}`;
    const newVersion = doing.newVersion ?? (operation === 'prepare' ? 2 : undefined);
    const checkpoint = { version: 1, keyId: keyOf(1).keyId };
    const role = agentId === owner ? 'owner' : 'verifier';
    const task = { slot, keyKind: 'signature', role, checkpoint };
    const slots = [newVersion === undefined ? task : { ...task, newVersion }];
    const planDigest = '0'.repeat(64);
    const step = { commandId, sagaId, sagaIndex, planDigest, operation, recovers, slots };
    const stepKey = `${commandId} ${operation} ${slot}`;
    this.sql(agentId, 'store.db', [
      [
        `INSERT INTO sagas VALUES (?, ?, ?) ON CONFLICT (saga_id)
          DO UPDATE SET last_index = max(last_index, excluded.last_index)`,
        sagaId,
        planDigest,
        sagaIndex,
      ],
      ['INSERT INTO steps VALUES (?, ?, NULL)', stepKey, encodeCanonical(step)],
      ...(newVersion === undefined
        ? []
        : [candidateRow('OR IGNORE', { sagaId, version: newVersion, keyId: null })]),
    ]);
    return stepKey;
  }

  /** What became of it; a report of it that says done stands on the bus at once. */
  outcome(
    agentId: string,
    stepKey: string,
    reported: readonly object[] = [],
    status = 'done',
  ): void {
    const [commandId, operation] = stepKey.split(' ');
    const sagaId = commandId?.split('-').slice(0, 2).join('-');
    const report = { commandId, operation, status, sagaId, slots: reported };
    this.sql(agentId, 'store.db', [
      ['UPDATE steps SET report = ? WHERE step_key = ?', encodeCanonical(report), stepKey],
    ]);
    this.tell(agentId, 'step-reported', report);
  }

  /** A version of the owner's key takes a state; the primary one before is accepted. */
  key(agentId: string, state: string, version: number, keyId = keyOf(version).keyId): void {
    this.sql(agentId, 'keystore.db', [
      ['INSERT OR IGNORE INTO slots VALUES (?, 0)', slot],
      ...(state === 'primary'
        ? [[`UPDATE versions SET state = 'accepted' WHERE state = 'primary'`] as const]
        : []),
      ['INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?)', slot, version, state, keyId],
    ]);
  }

  candidate(agentId: string, version: number, id = 'plan-1'): void {
    const { keyId } = keyOf(version);
    const row = candidateRow('OR REPLACE', { sagaId: id, version, keyId });
    this.sql(agentId, 'store.db', [row]);
  }

  peer(agentId: string, version: number, publicKey = keyOf(version).publicKey): void {
    const { keyId } = keyOf(version);
    const insert = `INSERT OR REPLACE INTO peer_keys VALUES (?, ?, ?, ?, 'accepted')`;
    this.sql(agentId, 'store.db', [[insert, slot, keyId, version, publicKey]]);
  }

  /** One transaction. */
  sql(agentId: string, name: string, statements: readonly Statement[]): void {
    const database = this.#databases.get(`${agentId} ${name}`) ?? new DatabaseSync(':memory:');
    if (!this.#databases.has(`${agentId} ${name}`)) database.exec(schemas[name] ?? '');
    this.#databases.set(`${agentId} ${name}`, database);
    database.exec('BEGIN');
    for (const [sql, ...values] of statements) database.prepare(sql).run(...values);
    database.exec('COMMIT');
    this.observer.committed(agentId, name, database);
  }
}

export type Statement = readonly [sql: string, ...values: SQLInputValue[]];

interface EntryChoices {
  readonly consumed?: string[];
  readonly id?: string;
  readonly isAudited?: boolean;
  readonly header?: Saying['header'];
}

export function signed<Body>(body: Body) {
  return { body, signatures: [] };
}

export type Plan = RotationPlanBody;

function candidateRow(
  or: string,
  { sagaId, version, keyId }: { sagaId: string; version: number; keyId: string | null },
): Statement {
  return [`INSERT ${or} INTO candidates VALUES (?, ?, ?, ?)`, slot, sagaId, version, keyId];
}

function headerOf(
  sender: string,
  type: string,
  { chain, timeMs }: { chain: { counter: number; previous: string }; timeMs: number },
): Header {
  const zeros = new Uint8Array(32);
  return {
    version: 1,
    suite: 1,
    lane: 'control',
    sender,
    senderKeyId: zeros,
    audience: 'saga',
    subject: 'test',
    channel: 'saga',
    epoch: 1,
    incarnation: zeros,
    counter: chain.counter,
    previous: new Uint8Array(Buffer.from(chain.previous, 'hex')),
    registryVersion: 1,
    registryDigest: zeros,
    policyVersion: 1,
    policyDigest: zeros,
    type,
    schemaVersion: 1,
    timeMs,
    expiresMs: timeMs + 86_400_000,
    eventId: `event-${chain.counter}`,
  };
}
