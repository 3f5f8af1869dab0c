/**
 * What somebody sees who sees everything: each message that the bus stored, opened, each durable write
 * of each agent, each life. It comes as a sequence of changes in true order, with a view of what is
 * there now; nothing in it says how the world is made, so that the recorded log of a real mesh can be
 * told in the same words (with fewer of them). The 15 checkers look at nothing else.
 */

import type { Header } from '#schemas/frame.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import type { AgentKind } from '#schemas/trust.ts';
import type { StepTask } from '#agents/layers/step-task.ts';
import type { StreamName } from '#shared/bus/bus.ts';

/** One message as the bus stored it. What is inside is read at the first look, and never thrown about. */
export interface ObservedMessage {
  readonly stream: StreamName;
  readonly sequence: number;
  readonly subject: string;
  readonly messageId: string;
  readonly data: Uint8Array;
  /** True time. */
  readonly timeMs: number;
  /** Statement hash, hexadecimal; empty for what is no frame. */
  readonly hash: string;
  /** As the header claims; empty for what is no frame. */
  readonly sender: string;
  readonly type: string;
  readonly header: Header | undefined;
  /** Whether the enrolled sender sealed exactly this. */
  readonly authentic: boolean;
  /** Undefined where no secret of the world opens it. */
  readonly body: unknown;
  /** Salt and body as they were sealed. */
  readonly plaintext: Uint8Array | undefined;
}

export interface KeyRow {
  readonly slot: string;
  readonly version: number;
  readonly keyId: string;
  readonly state: string;
}

export interface PeerRow {
  readonly slot: string;
  readonly keyId: string;
  readonly version: number;
  readonly state: string;
  readonly publicKey: Uint8Array;
}

export interface StepRow {
  /** Command id, operation, slots: what a step is remembered by. */
  readonly stepKey: string;
  readonly task: StepTask;
  /** Encoded report; undefined while only the intent is there. */
  readonly report: Uint8Array | undefined;
  readonly status: 'open' | 'done' | 'failed';
}

export interface CandidateRow {
  readonly slot: string;
  readonly sagaId: string;
  readonly version: number;
  readonly keyId: string | undefined;
}

export interface Leaf {
  readonly leafIndex: number;
  readonly hash: string;
  readonly verdict: 'accepted' | 'refused';
  /** Of the control stream, where the auditor took it from. */
  readonly sequence: number;
}

export interface TrustVersions {
  readonly root: number;
  readonly registry: number;
  readonly policy: number;
}

/** What the world let in that must change nothing. */
export type Wrong =
  'unsigned' | 'replayed' | 'stale' | 'tampered' | 'revoked' | 'of another version';

/** What is there now at one agent, after the latest change. */
export interface AgentView {
  readonly agentId: string;
  readonly kind: AgentKind;
  readonly layer: number | undefined;
  readonly capabilities: readonly string[];
  readonly keys: ReadonlyMap<string, ReadonlyMap<number, KeyRow>>;
  readonly frozen: ReadonlySet<string>;
  readonly steps: ReadonlyMap<string, StepRow>;
  /** Intents without outcome. */
  readonly openSteps: ReadonlyMap<string, StepRow>;
  /** Slot → saga. */
  readonly reservations: ReadonlyMap<string, string>;
  /** By `<slot> <saga>`. */
  readonly candidates: ReadonlyMap<string, CandidateRow>;
  /** By `<slot> <key id>`. */
  readonly peers: ReadonlyMap<string, PeerRow>;
  readonly sagas: ReadonlyMap<string, { readonly planDigest: string; readonly lastIndex: number }>;
  readonly trust: TrustVersions | undefined;
  /** Sender → end of its lockout by this agent's clock. */
  readonly lockouts: ReadonlyMap<string, number>;
  /** Epoch that the agent seals under, by channel. */
  readonly epochs: ReadonlyMap<string, number>;
  readonly leaves: readonly Leaf[];
  /** `<channel> <epoch>` of every secret that the agent holds. */
  readonly vault: ReadonlySet<string>;
  readonly closedEpochs: ReadonlySet<string>;
  readonly lives: number;
  readonly isAlive: boolean;
}

interface At {
  readonly agentId: string;
  /** True time. */
  readonly timeMs: number;
}

type Changed<Row> = { readonly before: Row | undefined; readonly after: Row | undefined };

export type ChangeOf = {
  /** The bus stored it. */
  message: { readonly message: ObservedMessage };
  /** The bus lost it after all, or let it go. */
  forgotten: { readonly stream: StreamName; readonly sequence: number; readonly timeMs: number };
  key: At & Changed<KeyRow>;
  frozen: At & { readonly slot: string; readonly isFrozen: boolean };
  peer: At & Changed<PeerRow>;
  step: At & Changed<StepRow>;
  reservation: At & { readonly slot: string } & Changed<string>;
  candidate: At & Changed<CandidateRow>;
  memory: At & { readonly sagaId: string; readonly before: number | undefined; after: number };
  /** On the auditor's disk. */
  leaf: At & { readonly leaf: Leaf };
  /** The auditor's log is shorter than it was. */
  cut: At & { readonly leaves: number };
  trust: At & { readonly before: TrustVersions | undefined; readonly after: TrustVersions };
  lockout: At & { readonly sender: string } & Changed<number>;
  epoch: At & { readonly channel: string; readonly before: number | undefined; after: number };
  /** The signer's highest epoch of a channel. */
  mark: At & { readonly channel: string; readonly before: number | undefined; after: number };
  life: At & { readonly event: 'started' | 'crashed' | 'ended' | 'paused' | 'resumed' };
  /** A log line, or the text of an error. */
  line: At & { readonly text: string };
  secret: { readonly name: string; readonly bytes: Uint8Array };
  /** `marks`: names that only the wrong thing bears: command ids, key ids, saga ids, request ids. */
  injected: { readonly why: Wrong; readonly hash: string; readonly marks: readonly string[] };
  /** A key of a slot was used: `make` signs or encrypts, `take` verifies or decrypts. */
  use: At & { readonly slot: string; readonly version: number; readonly purpose: 'make' | 'take' };
};
export type ChangeKind = keyof ChangeOf;
export type Change = {
  [Kind in ChangeKind]: { readonly kind: Kind } & ChangeOf[Kind];
}[ChangeKind];

export interface Observation {
  readonly agents: ReadonlyMap<string, AgentView>;
  /** In the order in which the bus stored them, all streams. */
  readonly messages: readonly ObservedMessage[];
  message(stream: StreamName, sequence: number): ObservedMessage | undefined;
  messageOf(hash: string): ObservedMessage | undefined;
  /** Whether the bus holds the message at this place now. */
  isThere(stream: StreamName, sequence: number): boolean;
  /** Ever in force, by digest. */
  policyOf(digest: string): PolicyBody | undefined;
  /** SHA3-256 (or what the world has in its place) of the canonical JSON of a document's body. */
  documentDigest(body: unknown): string;
  /** The same of bytes. */
  digest(bytes: Uint8Array): string;
  /** True time. */
  readonly nowMs: number;
  /** The largest error that the clock of any agent had so far. */
  readonly clockErrorMsMax: number;
  /** How far back a use of an old key holds it. */
  readonly usageWindowMs: number;
  /** Bytes of an auditor's log as they lie on its disk; empty where that was not observed. */
  auditBytes(agentId: string): Uint8Array;
}

export function isAuditor({ kind }: AgentView): boolean {
  return kind === 'auditor';
}
