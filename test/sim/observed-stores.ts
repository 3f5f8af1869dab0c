/**
 * Databases of agents, read beside their owners: rows against what was there before, as changes. The
 * statements are prepared once per database; of the table that grows, the steps, only new rows and
 * those without outcome are read.
 */

import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite';
import { decode } from '@msgpack/msgpack';
import type { StepTask } from '#agents/layers/step-task.ts';
import type { Change, KeyRow, PeerRow, StepRow } from './observation.ts';
import type { AgentRecord } from './observer.ts';

export interface At {
  readonly agentId: string;
  readonly timeMs: number;
}
type Row = Record<string, SQLOutputValue>;

const queries = {
  versions: 'SELECT slot, version, key_id, state FROM versions',
  slots: 'SELECT slot, frozen FROM slots',
  newSteps:
    'SELECT rowid AS place, step_key, task, report FROM steps WHERE rowid > ? ORDER BY rowid',
  report: 'SELECT report FROM steps WHERE step_key = ?',
  stepCount: 'SELECT count(*) AS steps FROM steps',
  stepKeys: 'SELECT step_key FROM steps',
  reservations: 'SELECT slot, saga_id FROM reservations',
  candidates: 'SELECT slot, saga_id, version, key_id FROM candidates',
  peers: 'SELECT slot, key_id, version, state, public_key FROM peer_keys',
  sagas: 'SELECT saga_id, plan_digest, last_index FROM sagas',
  marks: 'SELECT channel, highest FROM epoch_mark',
  closed: 'SELECT channel, epoch FROM epoch_closed',
  tables: `SELECT count(*) AS found FROM sqlite_master WHERE type = 'table' AND name = ?`,
} as const;
type QueryName = keyof typeof queries;

const prepared = new WeakMap<DatabaseSync, Partial<Record<QueryName, StatementSync>>>();
const complete = new WeakSet<DatabaseSync>();

/** A commit, and what it is held against. */
export interface Committed {
  readonly database: DatabaseSync;
  readonly record: AgentRecord;
  readonly at: At;
  /** Whether rows of a table can have changed. */
  readonly isOf: (table: string) => boolean;
}

export function readKeyStore({ database, record, at, isOf }: Committed): Change[] {
  const changes: Change[] = [];
  if (isOf('versions') && hasTable(database, 'versions')) {
    readVersions(database, record, { at, changes });
  }
  if (isOf('slots') && hasTable(database, 'slots')) {
    for (const row of all(database, 'slots')) {
      const slot = String(row['slot']);
      const isFrozen = row['frozen'] === 1;
      if (record.frozen.has(slot) === isFrozen) continue;
      if (isFrozen) record.frozen.add(slot);
      else record.frozen.delete(slot);
      changes.push({ kind: 'frozen', ...at, slot, isFrozen });
    }
  }
  return changes;
}

export function readStepStore({ database, record, at, isOf }: Committed): Change[] {
  const changes: Change[] = [];
  for (const [table, read] of stepTables) {
    // The outbox makes its tables first.
    if (!isOf(table) || !hasTable(database, 'peer_keys')) continue;
    read(database, record, { at, changes });
  }
  return changes;
}

export function readSignerStore({ database, record, at, isOf }: Committed): Change[] {
  const changes: Change[] = [];
  if (isOf('epoch_mark') && hasTable(database, 'epoch_closed')) {
    for (const row of all(database, 'marks')) {
      const channel = String(row['channel']);
      const after = Number(row['highest']);
      const before = record.marks.get(channel);
      if (before === after) continue;
      record.marks.set(channel, after);
      changes.push({ kind: 'mark', ...at, channel, before, after });
    }
  }
  if (isOf('epoch_closed') && hasTable(database, 'epoch_closed')) {
    for (const row of all(database, 'closed')) {
      record.closedEpochs.add(`${String(row['channel'])} ${String(row['epoch'])}`);
    }
  }
  return changes;
}

interface Into {
  readonly at: At;
  readonly changes: Change[];
}

type Reader = (database: DatabaseSync, record: AgentRecord, into: Into) => void;

/** What is read where rows of these tables changed; told in this order. */
const stepTables: readonly (readonly [string, Reader])[] = [
  ['sagas', readMemories],
  ['steps', readSteps],
  ['reservations', readReservations],
  ['candidates', readCandidates],
  ['peer_keys', readPeers],
];

function readVersions(database: DatabaseSync, record: AgentRecord, { at, changes }: Into): void {
  const rows = all(database, 'versions').map(keyRowOf);
  for (const after of rows) {
    const versions = record.keys.get(after.slot) ?? new Map<number, KeyRow>();
    record.keys.set(after.slot, versions);
    const before = versions.get(after.version);
    if (before?.state === after.state && before.keyId === after.keyId) continue;
    versions.set(after.version, after);
    changes.push({ kind: 'key', ...at, before, after });
  }
  for (const versions of record.keys.values()) {
    for (const [version, before] of versions) {
      if (rows.some((row) => row.slot === before.slot && row.version === version)) continue;
      versions.delete(version);
      changes.push({ kind: 'key', ...at, before, after: undefined });
    }
  }
}

function readMemories(database: DatabaseSync, record: AgentRecord, { at, changes }: Into): void {
  for (const row of all(database, 'sagas')) {
    const sagaId = String(row['saga_id']);
    const after = Number(row['last_index']);
    const before = record.sagas.get(sagaId)?.lastIndex;
    if (before === after) continue;
    record.sagas.set(sagaId, { planDigest: String(row['plan_digest']), lastIndex: after });
    changes.push({ kind: 'memory', ...at, sagaId, before, after });
  }
}

function readSteps(database: DatabaseSync, record: AgentRecord, into: Into): void {
  const { at, changes } = into;
  for (const row of all(database, 'newSteps', record.stepRows)) {
    record.stepRows = Number(row['place']);
    const after = stepRowOf(String(row['step_key']), row['task'], row['report']);
    noteStep(record, after, into);
  }
  for (const before of record.openSteps.values()) {
    const [row] = all(database, 'report', before.stepKey);
    const report = row?.['report'];
    if (!(report instanceof Uint8Array)) continue;
    noteStep(record, { ...before, report, status: statusOf(report) }, into);
  }
  if (Number(all(database, 'stepCount')[0]?.['steps']) === record.steps.size) return;
  const left = new Set(all(database, 'stepKeys').map((row) => String(row['step_key'])));
  // Places of rows that went are given again.
  record.stepRows = 0;
  for (const [stepKey, before] of record.steps) {
    if (left.has(stepKey)) continue;
    record.steps.delete(stepKey);
    record.openSteps.delete(stepKey);
    changes.push({ kind: 'step', ...at, before, after: undefined });
  }
}

function noteStep(record: AgentRecord, after: StepRow, { at, changes }: Into): void {
  const before = record.steps.get(after.stepKey);
  if (before?.status === after.status && isSame(before.report, after.report)) return;
  record.steps.set(after.stepKey, after);
  if (after.status === 'open') record.openSteps.set(after.stepKey, after);
  else record.openSteps.delete(after.stepKey);
  changes.push({ kind: 'step', ...at, before, after });
}

function readReservations(
  database: DatabaseSync,
  record: AgentRecord,
  { at, changes }: Into,
): void {
  const held = new Map<string, string>();
  for (const row of all(database, 'reservations')) {
    held.set(String(row['slot']), String(row['saga_id']));
  }
  for (const slot of new Set([...held.keys(), ...record.reservations.keys()])) {
    const [before, after] = [record.reservations.get(slot), held.get(slot)];
    if (before === after) continue;
    if (after === undefined) record.reservations.delete(slot);
    else record.reservations.set(slot, after);
    changes.push({ kind: 'reservation', ...at, slot, before, after });
  }
}

function readCandidates(database: DatabaseSync, record: AgentRecord, { at, changes }: Into): void {
  for (const row of all(database, 'candidates')) {
    const keyId = row['key_id'];
    const after = {
      slot: String(row['slot']),
      sagaId: String(row['saga_id']),
      version: Number(row['version']),
      keyId: typeof keyId === 'string' ? keyId : undefined,
    };
    const name = `${after.slot} ${after.sagaId}`;
    const before = record.candidates.get(name);
    if (before?.version === after.version && before.keyId === after.keyId) continue;
    record.candidates.set(name, after);
    changes.push({ kind: 'candidate', ...at, before, after });
  }
}

function readPeers(database: DatabaseSync, record: AgentRecord, { at, changes }: Into): void {
  const rows = all(database, 'peers').map(peerRowOf);
  for (const after of rows) {
    const name = `${after.slot} ${after.keyId}`;
    const before = record.peers.get(name);
    if (before?.state === after.state && before.version === after.version) continue;
    record.peers.set(name, after);
    changes.push({ kind: 'peer', ...at, before, after });
  }
  if (rows.length === record.peers.size) return;
  const left = new Set(rows.map(({ slot, keyId }) => `${slot} ${keyId}`));
  for (const [name, before] of record.peers) {
    if (left.has(name)) continue;
    record.peers.delete(name);
    changes.push({ kind: 'peer', ...at, before, after: undefined });
  }
}

function keyRowOf(row: Row): KeyRow {
  return {
    slot: String(row['slot']),
    version: Number(row['version']),
    keyId: String(row['key_id']),
    state: String(row['state']),
  };
}

function peerRowOf(row: Row): PeerRow {
  const publicKey = row['public_key'];
  return { ...keyRowOf(row), publicKey: publicKey instanceof Uint8Array ? publicKey : none };
}

function stepRowOf(
  stepKey: string,
  task: SQLOutputValue | undefined,
  stored: SQLOutputValue | undefined,
): StepRow {
  const report = stored instanceof Uint8Array ? stored : undefined;
  const status = report === undefined ? 'open' : statusOf(report);
  return { stepKey, task: decoded(task) as StepTask, report, status };
}

function statusOf(report: Uint8Array): 'done' | 'failed' {
  const { status } = decoded(report) as { readonly status: string };
  return status === 'done' ? 'done' : 'failed';
}

function decoded(stored: unknown): unknown {
  if (!(stored instanceof Uint8Array)) throw new Error('a stored step is bytes');
  return decode(stored);
}

function isSame(one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return Buffer.compare(one, other) === 0;
}

const none = new Uint8Array(0);

/** Whether the owner has made its tables; the last one stands for all. */
function hasTable(database: DatabaseSync, name: string): boolean {
  if (complete.has(database)) return true;
  if (Number(all(database, 'tables', name)[0]?.['found']) === 0) return false;
  complete.add(database);
  return true;
}

function all(database: DatabaseSync, name: QueryName, ...values: (string | number)[]): Row[] {
  const statements = prepared.get(database) ?? {};
  prepared.set(database, statements);
  statements[name] ??= database.prepare(queries[name]);
  return statements[name].all(...values);
}
