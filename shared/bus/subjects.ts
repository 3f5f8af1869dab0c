/**
 * Every name on the bus: subjects, stream filters, durable consumers, inboxes and the subjects of
 * the JetStream API. Subject strings are written in this file and nowhere else.
 *
 * All of gyre's own subjects begin with `gyre.v1.<mesh>.`. Tokens hold no dot, space or wildcard, so
 * that an identifier from outside can never widen a subject; builders assert it.
 */
import assert from 'node:assert';
import { AGENT_ID_PATTERN, IDENTIFIER_PATTERN } from '#schemas/primitives.ts';
import type { BucketName, StreamName } from './bus.ts';

const agentIdPattern = new RegExp(AGENT_ID_PATTERN);
const identifierPattern = new RegExp(IDENTIFIER_PATTERN);
const meshPattern = /^[a-z][a-z0-9-]{0,30}$/;

/** What a subject says, once parsed. */
export type SubjectAddress =
  | { readonly kind: 'saga-rotation'; readonly sagaId: string }
  | { readonly kind: 'saga-slots' }
  | { readonly kind: 'saga-requests' }
  | { readonly kind: 'saga-epoch'; readonly channel: string }
  | { readonly kind: 'step'; readonly layer: number; readonly agentId: string }
  | { readonly kind: 'report'; readonly layer: number; readonly agentId: string }
  | { readonly kind: 'capability'; readonly layer: number; readonly agentId: string }
  | { readonly kind: 'healing'; readonly agentId: string }
  | { readonly kind: 'request'; readonly operatorId: string }
  | { readonly kind: 'trust' | 'prekey' | 'epoch-report'; readonly agentId: string }
  | { readonly kind: 'negotiation'; readonly negotiationId: string }
  | { readonly kind: 'telemetry'; readonly layer: number; readonly agentId: string }
  | { readonly kind: 'signer-log' }
  | { readonly kind: 'audit-receipt' }
  | { readonly kind: 'audit-verdict' }
  | { readonly kind: 'audit-checkpoint' }
  | { readonly kind: 'query'; readonly agentId: string }
  | { readonly kind: 'dead'; readonly agentId: string };

/** Builders of the subjects of one mesh. */
export interface Subjects {
  readonly mesh: string;
  /** `gyre.v1.<mesh>.` */
  readonly prefix: string;
  sagaRotation(sagaId: string): string;
  sagaSlots(): string;
  /** Requests that did not become an entry of a saga, and why. */
  sagaRequests(): string;
  /** The log of one channel's epochs. */
  sagaEpoch(channel: string): string;
  step(layer: number, agentId: string): string;
  report(layer: number, agentId: string): string;
  capability(layer: number, agentId: string): string;
  /** Actions that an agent of layer 7 asks for. */
  healing(agentId: string): string;
  request(operatorId: string): string;
  /** Documents that an agent offers to everyone. */
  trust(agentId: string): string;
  /** One-time prekeys of an agent. */
  prekey(agentId: string): string;
  /** What an agent says of epochs. */
  epochReport(agentId: string): string;
  negotiation(negotiationId: string): string;
  telemetry(layer: number, agentId: string): string;
  signerLog(): string;
  /** Receipts for what waits in outboxes: soon, in batches. */
  auditReceipt(): string;
  /** Receipts for saga entries: at once, because they let the entries take effect. */
  auditVerdict(): string;
  auditCheckpoint(): string;
  query(agentId: string): string;
  dead(agentId: string): string;
  readonly patterns: SubjectPatterns;
  /** The address behind a subject of this mesh, or null for anything else. */
  parse(subject: string): SubjectAddress | null;
}

/** Patterns with wildcards, for filters and permissions. */
export interface SubjectPatterns {
  readonly saga: string;
  readonly step: string;
  readonly report: string;
  readonly capability: string;
  readonly healing: string;
  readonly request: string;
  readonly trust: string;
  readonly prekey: string;
  /** Epoch logs of all channels. */
  readonly epoch: string;
  readonly epochReport: string;
  readonly negotiation: string;
  readonly telemetry: string;
  readonly signer: string;
  readonly audit: string;
  readonly query: string;
  readonly dead: string;
}

/** The subjects of `mesh` (lower case, digits and hyphens, 1 to 31 characters). */
export function subjectsOf(mesh: string): Subjects {
  assert(meshPattern.test(mesh), 'the mesh name is not a subject token');
  const prefix = `gyre.v1.${mesh}.`;
  return {
    mesh,
    prefix,
    sagaRotation: (sagaId) => `${prefix}saga.rotation.${identifier(sagaId)}`,
    sagaSlots: () => `${prefix}saga.slots`,
    sagaRequests: () => `${prefix}saga.requests`,
    step: (layer, agentId) => `${prefix}step.${layerToken(layer)}.${agent(agentId)}`,
    report: (layer, agentId) => `${prefix}report.${layerToken(layer)}.${agent(agentId)}`,
    capability: (layer, agentId) => `${prefix}capability.${layerToken(layer)}.${agent(agentId)}`,
    healing: (agentId) => `${prefix}healing.${agent(agentId)}`,
    request: (operatorId) => `${prefix}request.${agent(operatorId)}`,
    sagaEpoch: (channel) => `${prefix}saga.epoch.${agent(channel)}`,
    trust: (agentId) => `${prefix}trust.${agent(agentId)}`,
    prekey: (agentId) => `${prefix}prekey.${agent(agentId)}`,
    epochReport: (agentId) => `${prefix}epoch.${agent(agentId)}`,
    negotiation: (negotiationId) => `${prefix}negotiation.${identifier(negotiationId)}`,
    telemetry: (layer, agentId) => `${prefix}telemetry.${layerToken(layer)}.${agent(agentId)}`,
    signerLog: () => `${prefix}signer.log`,
    auditReceipt: () => `${prefix}audit.receipt`,
    auditVerdict: () => `${prefix}audit.verdict`,
    auditCheckpoint: () => `${prefix}audit.checkpoint`,
    query: (agentId) => `${prefix}query.${agent(agentId)}`,
    dead: (agentId) => `${prefix}dead.${agent(agentId)}`,
    patterns: {
      saga: `${prefix}saga.>`,
      step: `${prefix}step.>`,
      report: `${prefix}report.>`,
      capability: `${prefix}capability.>`,
      healing: `${prefix}healing.*`,
      request: `${prefix}request.>`,
      trust: `${prefix}trust.*`,
      prekey: `${prefix}prekey.*`,
      epoch: `${prefix}saga.epoch.*`,
      epochReport: `${prefix}epoch.*`,
      negotiation: `${prefix}negotiation.*`,
      telemetry: `${prefix}telemetry.>`,
      signer: `${prefix}signer.>`,
      audit: `${prefix}audit.>`,
      query: `${prefix}query.*`,
      dead: `${prefix}dead.>`,
    },
    parse: (subject) =>
      subject.startsWith(prefix) ? parseTokens(subject.slice(prefix.length).split('.')) : null,
  };
}

/** Subject filters of each stream: together they cover every subject that is stored. */
export function streamSubjects(
  subjects: Subjects,
): Readonly<Record<StreamName, readonly string[]>> {
  const { patterns } = subjects;
  return {
    GYRE_CONTROL: [
      patterns.saga,
      patterns.step,
      patterns.report,
      patterns.capability,
      patterns.healing,
      patterns.request,
      patterns.signer,
      patterns.trust,
      patterns.prekey,
      patterns.epochReport,
      patterns.negotiation,
    ],
    GYRE_AUDIT: [patterns.audit],
    GYRE_BULK: [patterns.telemetry],
    GYRE_DEAD: [patterns.dead],
  };
}

/** The stream that stores a subject, or null for one that is not stored (queries) or not ours. */
export function streamOf(subjects: Subjects, subject: string): StreamName | null {
  const address = subjects.parse(subject);
  if (address === null || address.kind === 'query') return null;
  if (address.kind === 'dead') return 'GYRE_DEAD';
  if (address.kind === 'telemetry') return 'GYRE_BULK';
  return address.kind === 'audit-receipt' ||
    address.kind === 'audit-verdict' ||
    address.kind === 'audit-checkpoint'
    ? 'GYRE_AUDIT'
    : 'GYRE_CONTROL';
}

export const consumerPurposes = ['steps', 'receipts', 'notices'] as const;
export type ConsumerPurpose = (typeof consumerPurposes)[number];

/** Name of an agent's durable consumer: `<agent>_<purpose>`. */
export function durableName(agentId: string, purpose: ConsumerPurpose): string {
  return `${agent(agentId)}_${purpose}`;
}

/** Streams that one process can follow at once, per stream: the names are fixed so that
 * permissions can list them (a wildcard cannot stand for part of a token). */
export const followSlotsMax = 6;

/** Name of the consumer behind a `follow`: `<agent>_follow<slot>`, slot 0 to 5. */
export function followConsumerName(agentId: string, slot: number): string {
  assert(Number.isInteger(slot) && slot >= 0 && slot < followSlotsMax, 'no such follow slot');
  return `${agent(agentId)}_follow${slot}`;
}

/** Prefix of an agent's own inboxes; the client appends `.<random>`. */
export function inboxPrefix(agentId: string): string {
  return `_INBOX_${agent(agentId)}`;
}

/** Where a bucket's values stand: `$KV.<bucket>.<key>`, in a stream of its own. */
export const bucketSubjects = {
  stream: (bucket: BucketName) => `KV_${bucket}`,
  prefix: (bucket: BucketName) => `$KV.${bucket}.`,
  all: (bucket: BucketName) => `$KV.${bucket}.>`,
} as const;

/** Subjects of the JetStream API and of acknowledgements. */
export const jetstreamSubjects = {
  accountInfo: () => '$JS.API.INFO',
  streamInfo: (stream: string) => `$JS.API.STREAM.INFO.${stream}`,
  messageGet: (stream: string) => `$JS.API.STREAM.MSG.GET.${stream}`,
  /** Last message of one subject (or pattern, in a permission), readable by its subject. */
  directGetLast: (stream: string, subject: string) => `$JS.API.DIRECT.GET.${stream}.${subject}`,
  consumerInfo: (stream: string, consumer: string) => `$JS.API.CONSUMER.INFO.${stream}.${consumer}`,
  consumerNext: (stream: string, consumer: string) =>
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`,
  /** Without a filter the request's body names the filters; with one, the server holds it to it. */
  consumerCreate: (stream: string, consumer: string, filter?: string) =>
    `$JS.API.CONSUMER.CREATE.${stream}.${consumer}${filter === undefined ? '' : `.${filter}`}`,
  consumerDelete: (stream: string, consumer: string) =>
    `$JS.API.CONSUMER.DELETE.${stream}.${consumer}`,
  streamCreate: (stream: string) => `$JS.API.STREAM.CREATE.${stream}`,
  streamUpdate: (stream: string) => `$JS.API.STREAM.UPDATE.${stream}`,
  streamPurge: (stream: string) => `$JS.API.STREAM.PURGE.${stream}`,
  streamDelete: (stream: string) => `$JS.API.STREAM.DELETE.${stream}`,
  streamRestore: (stream: string) => `$JS.API.STREAM.RESTORE.${stream}`,
  messageDelete: (stream: string) => `$JS.API.STREAM.MSG.DELETE.${stream}`,
  /** Both forms of acknowledgement subject: with and without domain and account hash. */
  acks: (stream: string, consumer: string): readonly string[] => [
    `$JS.ACK.${stream}.${consumer}.>`,
    `$JS.ACK.*.*.${stream}.${consumer}.>`,
  ],
} as const;

/** Whether a NATS pattern (`*` one token, `>` one or more at the end) covers a subject. */
export function subjectMatches(pattern: string, subject: string): boolean {
  const expected = pattern.split('.');
  const actual = subject.split('.');
  for (const [index, token] of expected.entries()) {
    if (token === '>') return index === expected.length - 1 && actual.length > index;
    const found = actual[index];
    if (found === undefined || (token !== '*' && token !== found)) return false;
  }
  return expected.length === actual.length;
}

function parseTokens(tokens: readonly string[]): SubjectAddress | null {
  const [first, second, third] = tokens;
  if (tokens.length === 3) {
    if (first === 'saga' && second === 'rotation') {
      return third !== undefined && identifierPattern.test(third)
        ? { kind: 'saga-rotation', sagaId: third }
        : null;
    }
    if (first === 'saga' && second === 'epoch') {
      return third !== undefined && agentIdPattern.test(third)
        ? { kind: 'saga-epoch', channel: third }
        : null;
    }
    const isOfLayer = first === 'step' || first === 'report' || first === 'capability';
    if (!isOfLayer && first !== 'telemetry') return null;
    if (second === undefined || third === undefined || !/^[1-7]$/.test(second)) return null;
    return agentIdPattern.test(third)
      ? { kind: first, layer: Number(second), agentId: third }
      : null;
  }
  if (tokens.length !== 2 || second === undefined) return null;
  if (first === 'saga') {
    if (second === 'requests') return { kind: 'saga-requests' };
    return second === 'slots' ? { kind: 'saga-slots' } : null;
  }
  if (first === 'signer') return second === 'log' ? { kind: 'signer-log' } : null;
  if (first === 'audit') {
    if (second === 'receipt') return { kind: 'audit-receipt' };
    if (second === 'verdict') return { kind: 'audit-verdict' };
    return second === 'checkpoint' ? { kind: 'audit-checkpoint' } : null;
  }
  if (first === 'negotiation') {
    return identifierPattern.test(second) ? { kind: 'negotiation', negotiationId: second } : null;
  }
  if (!agentIdPattern.test(second)) return null;
  if (first === 'trust' || first === 'prekey') return { kind: first, agentId: second };
  if (first === 'epoch') return { kind: 'epoch-report', agentId: second };
  if (first === 'healing') return { kind: first, agentId: second };
  if (first === 'request') return { kind: 'request', operatorId: second };
  return first === 'query' || first === 'dead' ? { kind: first, agentId: second } : null;
}

function agent(id: string): string {
  assert(agentIdPattern.test(id), 'the agent id is not a subject token');
  return id;
}

function identifier(id: string): string {
  assert(identifierPattern.test(id), 'the identifier is not a subject token');
  return id;
}

function layerToken(layer: number): string {
  assert(Number.isInteger(layer) && layer >= 1 && layer <= 7, 'the layer is not 1 to 7');
  return String(layer);
}
