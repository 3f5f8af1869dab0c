/**
 * Puts a provisioning plan in place on a nats-server, as its administrator. Safe to repeat: what
 * exists is updated to the plan, nothing is removed, and no message is lost by it.
 */
import { jetstream, jetstreamManager, JetStreamApiError, StorageType } from '@nats-io/jetstream';
import type { ConsumerConfig, JetStreamManager, StreamConfig } from '@nats-io/jetstream';
import { Kvm } from '@nats-io/kv';
import { BusError } from './bus.ts';
import { attemptsMetadataKey } from './nats-consume.ts';
import { apiCodes, apiFault, translate } from './nats-errors.ts';
import { nanos, NatsLink } from './nats-link.ts';
import type {
  BucketDefinition,
  ConsumerDefinition,
  ProvisionPlan,
  StreamDefinition,
} from './streams.ts';
import { jetstreamSubjects } from './subjects.ts';

export interface ProvisionConnection {
  /** `host:port`, one or several. */
  readonly servers: string | readonly string[];
  /** NKEY seed of the administrator, in its text form. Copied; the caller wipes its own. */
  readonly adminSeed: Uint8Array;
  readonly connectTimeoutMs?: number;
}

const streamNotFound = 10059;

/** @throws BusError */
export async function provision(
  connection: ProvisionConnection,
  plan: ProvisionPlan,
): Promise<void> {
  const { servers, adminSeed: seed, connectTimeoutMs } = connection;
  const link = await NatsLink.open({
    servers,
    agentId: 'admin',
    seed,
    onTrouble: () => undefined,
    ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
  });
  try {
    // A server takes connections a moment before its JetStream answers.
    await link.persistently(() => link.api(jetstreamSubjects.accountInfo()));
    const manager = await jetstreamManager(link.connection, { checkAPI: false });
    for (const stream of plan.streams) await putStream(manager, stream);
    const buckets = new Kvm(jetstream(link.connection));
    for (const bucket of plan.buckets) await putBucket(buckets, bucket);
    for (const consumer of plan.consumers) await putConsumer(manager, consumer);
  } catch (error) {
    throw fault(error);
  } finally {
    await link.close();
  }
}

async function putStream(manager: JetStreamManager, stream: StreamDefinition): Promise<void> {
  const config = streamConfig(stream);
  try {
    await manager.streams.update(stream.name, config);
  } catch (error) {
    if (!isApiError(error, streamNotFound)) throw error;
    await manager.streams.add(config);
  }
}

/** Direct reads stay off: a replica may answer with what is no longer true. */
async function putBucket(manager: Kvm, bucket: BucketDefinition): Promise<void> {
  await manager.create(bucket.name, {
    history: 1,
    storage: StorageType.File,
    replicas: bucket.replicas,
    max_bytes: bucket.bytesMax,
    maxValueSize: bucket.valueBytesMax,
    allow_direct: false,
  });
}

async function putConsumer(manager: JetStreamManager, consumer: ConsumerDefinition): Promise<void> {
  const config = consumerConfig(consumer);
  try {
    await manager.consumers.update(consumer.stream, consumer.name, config);
  } catch (error) {
    if (!isApiError(error, apiCodes.consumerNotFound)) throw error;
    await manager.consumers.add(consumer.stream, config);
  }
}

function streamConfig(stream: StreamDefinition): Partial<StreamConfig> & { name: string } {
  return {
    name: stream.name,
    subjects: [...stream.subjects],
    storage: 'file',
    retention: 'limits',
    discard: stream.discard,
    num_replicas: stream.replicas,
    max_age: nanos(stream.ageMaxMs),
    max_bytes: stream.bytesMax,
    max_msg_size: stream.messageBytesMax,
    max_msgs: -1,
    max_msgs_per_subject: -1,
    max_consumers: stream.consumersMax,
    duplicate_window: nanos(stream.duplicateWindowMs),
    deny_delete: true,
    deny_purge: true,
    allow_direct: true,
    allow_rollup_hdrs: false,
  };
}

/** The server's own bound on deliveries stays off: it would drop the last one silently. */
function consumerConfig(consumer: ConsumerDefinition): Partial<ConsumerConfig> & { name: string } {
  const [only, ...others] = consumer.filters;
  return {
    name: consumer.name,
    durable_name: consumer.name,
    deliver_policy: 'all',
    ack_policy: 'explicit',
    replay_policy: 'instant',
    ack_wait: nanos(consumer.ackWaitMs),
    backoff: consumer.backoffMs.map(nanos),
    max_deliver: -1,
    max_ack_pending: consumer.unackedMax,
    metadata: { [attemptsMetadataKey]: String(consumer.attemptsMax) },
    ...(others.length === 0 && only !== undefined
      ? { filter_subject: only }
      : { filter_subjects: [...consumer.filters] }),
  };
}

function isApiError(error: unknown, errCode: number): boolean {
  return error instanceof JetStreamApiError && error.code === errCode;
}

function fault(error: unknown): BusError {
  if (error instanceof JetStreamApiError) {
    const { code, status, message } = error;
    const { code: busCode } = apiFault({ errCode: code, status });
    return new BusError(busCode, `provisioning: ${message} (JetStream error ${code})`, error);
  }
  return translate(error);
}
