/**
 * Streams and durable consumers as data. `provisionPlan` says what a mesh needs; an administrator's
 * connection puts it in place (`nats-provision.ts`), and the in-memory broker starts from it.
 *
 * Control events are kept: file storage, no deletion, no purge, and a full control stream refuses
 * new messages rather than dropping old ones. Dead letters give way to newer ones, so that a flood
 * of them cannot stop the mesh.
 */
import assert from 'node:assert';
import type { AgentKind } from '#schemas/trust.ts';
import { messageBytesMax, publishBytesMax } from './bus.ts';
import { bucketNames, bucketValueBytesMax } from './bus.ts';
import type { BucketName, StreamName } from './bus.ts';
import { durableName, streamSubjects, subjectsOf } from './subjects.ts';
import type { ConsumerPurpose, Subjects } from './subjects.ts';

/** One principal on the bus. `layer` is set for layer agents and for nobody else. */
export interface BusPrincipal {
  readonly id: string;
  readonly kind: AgentKind;
  readonly layer?: number;
}

export interface StreamDefinition {
  readonly name: StreamName;
  readonly subjects: readonly string[];
  readonly replicas: number;
  readonly ageMaxMs: number;
  readonly bytesMax: number;
  readonly messageBytesMax: number;
  readonly consumersMax: number;
  readonly duplicateWindowMs: number;
  /** `new`: a full stream refuses what is published; `old`: it drops its oldest. */
  readonly discard: 'new' | 'old';
}

export interface ConsumerDefinition {
  readonly stream: StreamName;
  readonly name: string;
  readonly filters: readonly string[];
  /** Silence after which a delivered message is delivered again. */
  readonly ackWaitMs: number;
  /** The same for the second, third … delivery; the last one repeats. */
  readonly backoffMs: readonly number[];
  /** Deliveries of one message before it becomes a dead letter. */
  readonly attemptsMax: number;
  /** Delivered and unsettled messages at once; 1 keeps strict order across redeliveries. */
  readonly unackedMax: number;
}

/** Keeps the last value of each key; reads go to the leader. */
export interface BucketDefinition {
  readonly name: BucketName;
  readonly replicas: number;
  readonly bytesMax: number;
  readonly valueBytesMax: number;
}

export interface ProvisionPlan {
  readonly mesh: string;
  readonly streams: readonly StreamDefinition[];
  readonly buckets: readonly BucketDefinition[];
  readonly consumers: readonly ConsumerDefinition[];
}

export interface ProvisionOptions {
  readonly mesh: string;
  readonly principals: readonly BusPrincipal[];
  /** 1, 3 or 5; production uses 3. */
  readonly replicas?: number;
  /** Bytes reserved for each stream. */
  readonly bytesMax?: Readonly<Partial<Record<StreamName, number>>>;
}

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

/** Longer than all attempts of one publish together: ten minutes. */
export const duplicateWindowMs = 10 * minuteMs;
/** Deliveries of one message before it becomes a dead letter. */
export const attemptsMax = 20;
export const ackWaitMs = 5_000;

/** Bytes reserved unless told: 1 GiB, 256 MiB, 256 MiB, 64 MiB. */
export const streamBytesMax: Readonly<Record<StreamName, number>> = {
  GYRE_CONTROL: 1024 * 1024 * 1024,
  GYRE_AUDIT: 256 * 1024 * 1024,
  GYRE_BULK: 256 * 1024 * 1024,
  GYRE_DEAD: 64 * 1024 * 1024,
};

/** Bytes reserved for a bucket: 64 MiB. */
export const bucketBytesMax = 64 * 1024 * 1024;

/** Everything that the bus must hold before the agents of a mesh start. */
export function provisionPlan(options: ProvisionOptions): ProvisionPlan {
  const { mesh, principals, replicas = 1, bytesMax = {} } = options;
  assert([1, 3, 5].includes(replicas), 'replicas are 1, 3 or 5');
  const subjects = subjectsOf(mesh);
  const filters = streamSubjects(subjects);
  const stream = (name: StreamName, discard: 'new' | 'old'): StreamDefinition => ({
    name,
    subjects: filters[name],
    replicas,
    ageMaxMs: 30 * dayMs,
    bytesMax: bytesMax[name] ?? streamBytesMax[name],
    messageBytesMax: name === 'GYRE_DEAD' ? publishBytesMax : messageBytesMax,
    consumersMax: 1024,
    duplicateWindowMs,
    discard,
  });
  return {
    mesh,
    streams: [
      stream('GYRE_CONTROL', 'new'),
      stream('GYRE_AUDIT', 'new'),
      stream('GYRE_BULK', 'old'),
      stream('GYRE_DEAD', 'old'),
    ],
    buckets: bucketNames.map((name) => ({
      name,
      replicas,
      bytesMax: bucketBytesMax,
      valueBytesMax: bucketValueBytesMax,
    })),
    consumers: principals.flatMap((principal) => consumersOf(subjects, principal)),
  };
}

/**
 * The durable consumers of one principal. Layer agents work off theirs; orchestrators, auditors and
 * the signer follow streams from a place that they know themselves, and operators only ask.
 */
export function consumersOf(subjects: Subjects, principal: BusPrincipal): ConsumerDefinition[] {
  const { id } = principal;
  switch (principal.kind) {
    case 'layer': {
      assert(principal.layer !== undefined, 'a layer agent has a layer');
      return [
        durable(id, 'steps', 'GYRE_CONTROL', [subjects.step(principal.layer, id)], 1),
        durable(id, 'receipts', 'GYRE_AUDIT', [subjects.auditReceipt()], 64),
        durable(id, 'notices', 'GYRE_CONTROL', noticesOf(subjects), 64),
      ];
    }
    case 'orchestrator':
    case 'auditor':
    case 'signer':
    case 'operator':
      return [];
  }
}

/** What every agent reads beside its own work: documents, epochs, negotiations. */
export function noticesOf({ patterns }: Subjects): readonly string[] {
  return [patterns.trust, patterns.epoch, patterns.negotiation];
}

/** How long a delivered message may stay silent, by its delivery count (from 1). */
export function redeliveryAfterMs(consumer: ConsumerDefinition, deliveryCount: number): number {
  const { backoffMs } = consumer;
  return backoffMs[Math.min(deliveryCount, backoffMs.length) - 1] ?? consumer.ackWaitMs;
}

function durable(
  agentId: string,
  purpose: ConsumerPurpose,
  stream: StreamName,
  filters: readonly string[],
  unackedMax: number,
): ConsumerDefinition {
  return {
    stream,
    name: durableName(agentId, purpose),
    filters,
    ackWaitMs,
    backoffMs: [ackWaitMs, ackWaitMs, 2 * ackWaitMs, 6 * ackWaitMs],
    attemptsMax,
    unackedMax,
  };
}
