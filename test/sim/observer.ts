/**
 * The observer of a world: is told of each message, each commit, each durable byte as it happens, holds
 * it against what was there before, and tells the difference as changes. Of a database only the rows
 * that can have changed are read; a commit's rows change together, before the first change is told.
 */

import type { DatabaseSync } from 'node:sqlite';
import type { PolicyBody } from '#schemas/policy.ts';
import type { AgentKind } from '#schemas/trust.ts';
import type { StreamName } from '#shared/bus/bus.ts';
import { canonicalJson } from '#shared/crypto/canonical-json.ts';
import type {
  AgentView,
  CandidateRow,
  Change,
  KeyRow,
  Leaf,
  Observation,
  ObservedMessage,
  PeerRow,
  StepRow,
  TrustVersions,
  Wrong,
} from './observation.ts';
import type { Tables } from './disk-access.ts';
import { readKeyStore, readSignerStore, readStepStore } from './observed-stores.ts';
import { readTrustFile } from './observed-files.ts';

export interface ObserverOptions {
  readonly agents: readonly {
    readonly agentId: string;
    readonly kind: AgentKind;
    readonly layer?: number | undefined;
    readonly capabilities: readonly string[];
  }[];
  /** Of genesis; later ones come with `policy`. */
  readonly policies: ReadonlyMap<string, PolicyBody>;
  /** SHA3-256 as the agents of the world compute it, hexadecimal. */
  readonly digest: (bytes: Uint8Array) => string;
  /** True time. */
  readonly nowMs: () => number;
  readonly clockErrorMsMax?: () => number;
  readonly usageWindowMs?: number;
}

/** The view of one agent, as the observer changes it. */
export interface AgentRecord extends AgentView {
  readonly keys: Map<string, Map<number, KeyRow>>;
  readonly frozen: Set<string>;
  readonly steps: Map<string, StepRow>;
  readonly openSteps: Map<string, StepRow>;
  readonly reservations: Map<string, string>;
  readonly candidates: Map<string, CandidateRow>;
  readonly peers: Map<string, PeerRow>;
  readonly sagas: Map<string, { planDigest: string; lastIndex: number }>;
  trust: TrustVersions | undefined;
  lockouts: Map<string, number>;
  readonly epochs: Map<string, number>;
  readonly leaves: Leaf[];
  vault: ReadonlySet<string>;
  readonly closedEpochs: Set<string>;
  readonly marks: Map<string, number>;
  lives: number;
  isAlive: boolean;
  /** Rows of the step store that were read already. */
  stepRows: number;
  auditBytes: Uint8Array;
}

export class Observer implements Observation {
  readonly agents: Map<string, AgentRecord>;
  readonly messages: ObservedMessage[] = [];
  readonly #options: ObserverOptions;
  readonly #policies: Map<string, PolicyBody>;
  readonly #places = new Map<string, ObservedMessage>();
  readonly #forgotten = new Set<string>();
  readonly #byHash = new Map<string, ObservedMessage>();
  readonly #listeners: ((change: Change) => void)[] = [];

  constructor(options: ObserverOptions) {
    this.#options = options;
    this.#policies = new Map(options.policies);
    this.agents = new Map(options.agents.map((agent) => [agent.agentId, emptyRecord(agent)]));
  }

  /** Called at once at each change, in order. */
  onChange(listener: (change: Change) => void): void {
    this.#listeners.push(listener);
  }

  get nowMs(): number {
    return this.#options.nowMs();
  }

  get clockErrorMsMax(): number {
    return this.#options.clockErrorMsMax?.() ?? 0;
  }

  get usageWindowMs(): number {
    return this.#options.usageWindowMs ?? 0;
  }

  message(stream: StreamName, sequence: number): ObservedMessage | undefined {
    return this.#places.get(placeOf(stream, sequence));
  }

  messageOf(hash: string): ObservedMessage | undefined {
    return this.#byHash.get(hash);
  }

  isThere(stream: StreamName, sequence: number): boolean {
    const place = placeOf(stream, sequence);
    return this.#places.has(place) && !this.#forgotten.has(place);
  }

  policyOf(digest: string): PolicyBody | undefined {
    return this.#policies.get(digest);
  }

  documentDigest(body: unknown): string {
    return this.digest(canonicalJson(body));
  }

  digest(bytes: Uint8Array): string {
    return this.#options.digest(bytes);
  }

  auditBytes(agentId: string): Uint8Array {
    return this.agents.get(agentId)?.auditBytes ?? new Uint8Array(0);
  }

  /** The bus stored it. */
  stored(message: ObservedMessage): void {
    const place = placeOf(message.stream, message.sequence);
    this.#forgotten.delete(place);
    this.#places.set(place, message);
    this.messages.push(message);
    if (message.hash !== '' && !this.#byHash.has(message.hash)) {
      this.#byHash.set(message.hash, message);
    }
    this.#tell({ kind: 'message', message });
  }

  forgot(stream: StreamName, sequence: number): void {
    this.#forgotten.add(placeOf(stream, sequence));
    this.#tell({ kind: 'forgotten', stream, sequence, timeMs: this.nowMs });
  }

  /** A policy was adopted by somebody. */
  policy(digest: string, body: PolicyBody): void {
    this.#policies.set(digest, body);
  }

  /**
   * A commit in `keystore.db`, `store.db` or `signer.db`, or the loss of some; of which tables, where
   * that is known. Does nothing inside a transaction, and for other databases.
   */
  committed(
    agentId: string,
    name: string,
    database: DatabaseSync,
    tables: Tables | 'any' = 'any',
  ): void {
    const read = readers[name];
    if (read === undefined || !database.isOpen || database.isTransaction) return;
    const record = this.#record(agentId);
    if (tables === 'lost') record.stepRows = 0;
    const at = { agentId, timeMs: this.nowMs };
    const isOf = (table: string): boolean => typeof tables === 'string' || tables.has(table);
    for (const change of read({ database, record, at, isOf })) this.#tell(change);
  }

  /** `trust.json` was replaced. */
  trustFile(agentId: string, content: Uint8Array): void {
    const at = { agentId, timeMs: this.nowMs };
    const { changes, policies } = readTrustFile(content, this.#record(agentId), at);
    for (const body of policies) this.policy(this.documentDigest(body), body);
    for (const change of changes) this.#tell(change);
  }

  /** Versions that the agent began with. */
  trustVersions(agentId: string, after: TrustVersions): void {
    const record = this.#record(agentId);
    const before = record.trust;
    record.trust = after;
    this.#tell({ kind: 'trust', agentId, timeMs: this.nowMs, before, after });
  }

  /** A record lies on the auditor's disk. */
  leaf(agentId: string, leaf: Leaf): void {
    this.#record(agentId).leaves[leaf.leafIndex] = leaf;
    this.#tell({ kind: 'leaf', agentId, timeMs: this.nowMs, leaf });
  }

  /** The auditor's log was cut; told where leaves went that had been on the disk. */
  cut(agentId: string, leaves: number): void {
    this.#tell({ kind: 'cut', agentId, timeMs: this.nowMs, leaves });
    this.#record(agentId).leaves.length = leaves;
  }

  /** The durable bytes of the auditor's log: looked through for secrets at rest. */
  auditLog(agentId: string, bytes: Uint8Array): void {
    this.#record(agentId).auditBytes = bytes;
  }

  /** The epoch under which an agent seals what it says on a channel. */
  epoch(agentId: string, channel: string, after: number): void {
    const { epochs } = this.#record(agentId);
    const before = epochs.get(channel);
    if (before === after) return;
    epochs.set(channel, after);
    this.#tell({ kind: 'epoch', agentId, timeMs: this.nowMs, channel, before, after });
  }

  /** Secrets that an agent holds: `<channel> <epoch>`. */
  vault(agentId: string, names: Iterable<string>): void {
    this.#record(agentId).vault = new Set(names);
  }

  life(agentId: string, event: 'started' | 'crashed' | 'ended' | 'paused' | 'resumed'): void {
    const record = this.#record(agentId);
    if (event === 'started') record.lives += 1;
    if (event !== 'paused') record.isAlive = event === 'started' || event === 'resumed';
    this.#tell({ kind: 'life', agentId, timeMs: this.nowMs, event });
  }

  line(agentId: string, text: string): void {
    this.#tell({ kind: 'line', agentId, timeMs: this.nowMs, text });
  }

  /** A secret was drawn. Takes a copy: its owner wipes it. */
  secret(name: string, bytes: Uint8Array): void {
    this.#tell({ kind: 'secret', name, bytes: bytes.slice() });
  }

  injected(why: Wrong, hash: string, marks: readonly string[] = []): void {
    this.#tell({ kind: 'injected', why, hash, marks });
  }

  use(agentId: string, slot: string, version: number, purpose: 'make' | 'take'): void {
    this.#tell({ kind: 'use', agentId, timeMs: this.nowMs, slot, version, purpose });
  }

  #record(agentId: string): AgentRecord {
    const record = this.agents.get(agentId);
    if (record === undefined) throw new Error(`${agentId} is not observed`);
    return record;
  }

  #tell(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }
}

const readers: Readonly<Partial<Record<string, typeof readKeyStore>>> = {
  'keystore.db': readKeyStore,
  'store.db': readStepStore,
  'signer.db': readSignerStore,
};

function placeOf(stream: StreamName, sequence: number): string {
  return `${stream} ${sequence}`;
}

function emptyRecord(agent: ObserverOptions['agents'][number]): AgentRecord {
  return {
    agentId: agent.agentId,
    kind: agent.kind,
    layer: agent.layer,
    capabilities: agent.capabilities,
    keys: new Map(),
    frozen: new Set(),
    steps: new Map(),
    openSteps: new Map(),
    reservations: new Map(),
    candidates: new Map(),
    peers: new Map(),
    sagas: new Map(),
    trust: undefined,
    lockouts: new Map(),
    epochs: new Map(),
    leaves: [],
    vault: new Set(),
    closedEpochs: new Set(),
    marks: new Map(),
    lives: 0,
    isAlive: false,
    stepRows: 0,
    auditBytes: new Uint8Array(0),
  };
}
