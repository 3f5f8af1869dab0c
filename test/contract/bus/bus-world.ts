/**
 * A small mesh on either bus, as the contract suite sees it: clients by name, and the misfortunes
 * and administrator's actions that both must bear alike.
 */
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errors } from '@nats-io/transport-node';
import { streamNames } from '#shared/bus/bus.ts';
import type { Bus, BusError, StreamName } from '#shared/bus/bus.ts';
import { MemoryBroker } from '#shared/bus/memory-broker.ts';
import { connectNatsBus } from '#shared/bus/nats-bus.ts';
import { allows, allowsSubscription, permissionsOf } from '#shared/bus/permissions.ts';
import type { PublisherLimits } from '#shared/bus/publisher.ts';
import { provisionPlan } from '#shared/bus/streams.ts';
import type { BusPrincipal, ProvisionPlan } from '#shared/bus/streams.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { startNatsServer } from '../../support/nats-server.ts';
import { AnswerHoldingProxy } from './held-answers.ts';

export const mesh = 'contract';
export const subjects = subjectsOf(mesh);
export const principals: readonly BusPrincipal[] = [
  { id: 'orchestrator-1', kind: 'orchestrator' },
  { id: 'orchestrator-2', kind: 'orchestrator' },
  { id: 'auditor', kind: 'auditor' },
  { id: 'signer', kind: 'signer' },
  { id: 'layer-1', kind: 'layer', layer: 1 },
  { id: 'layer-2', kind: 'layer', layer: 2 },
  { id: 'op-1', kind: 'operator' },
];

/** Three attempts and short waits, so that a test sees the end of them. */
export const attemptsMax = 3;
export const ackWaitMs = 400;

export interface FlakyClient {
  readonly bus: Bus;
  /** From now on its publishes are stored and their answers do not come. */
  holdAnswers(): void;
  releaseAnswers(): void;
}

export interface World {
  connect(id: string, limits?: Partial<PublisherLimits>): Promise<Bus>;
  connectFlaky(id: string, limits?: Partial<PublisherLimits>): Promise<FlakyClient>;
  readonly troubles: readonly BusError[];
  /** The server process dies; `up` brings it back on the same store. */
  down(): Promise<void>;
  up(): Promise<void>;
  /**
   * While it is down: takes a copy of what the streams hold. The result, while it is down again, puts
   * that back; what the server knows of its durables stays.
   */
  copy(): Promise<() => Promise<void>>;
  truncate(stream: StreamName, messagesKept?: number): Promise<void>;
  /** What the server says to a bare client with this agent's credentials. */
  mayPublish(id: string, subject: string): Promise<boolean>;
  maySubscribe(id: string, subject: string): Promise<boolean>;
  close(): Promise<void>;
}

function plan(): ProvisionPlan {
  const bytesMax = { GYRE_CONTROL: 32 << 20, GYRE_AUDIT: 32 << 20, GYRE_DEAD: 16 << 20 };
  const whole = provisionPlan({ mesh, principals, bytesMax });
  const consumers = whole.consumers.map((consumer) => ({
    ...consumer,
    ackWaitMs,
    backoffMs: [ackWaitMs],
    attemptsMax,
  }));
  return { ...whole, consumers };
}

function principalOf(id: string): BusPrincipal {
  const principal = principals.find((one) => one.id === id);
  if (principal === undefined) throw new Error(`no principal ${id}`);
  return principal;
}

export async function natsWorld(): Promise<World> {
  const server = await startNatsServer({ mesh, principals, plan: plan() });
  const troubles: BusError[] = [];
  const buses: Bus[] = [];
  const proxies: AnswerHoldingProxy[] = [];
  const connectVia = async (servers: string, id: string, limits = {}): Promise<Bus> => {
    const bus = await connectNatsBus({
      servers,
      mesh,
      principal: principalOf(id),
      seed: server.seed(id),
      limits,
      onTrouble: (error) => troubles.push(error),
    });
    buses.push(bus);
    return bus;
  };
  return {
    troubles,
    connect: (id, limits) => connectVia(server.servers, id, limits),
    connectFlaky: async (id, limits) => {
      const proxy = new AnswerHoldingProxy(server.port);
      proxies.push(proxy);
      await proxy.listen();
      return {
        bus: await connectVia(proxy.servers, id, limits),
        holdAnswers: () => proxy.hold(),
        releaseAnswers: () => proxy.release(),
      };
    },
    down: () => server.kill(),
    up: () => server.start(),
    copy: async () => {
      const copies = await Promise.all(
        streamNames.map(async (stream) => {
          const messages = join(server.folder, 'store/jetstream/$G/streams', stream, 'msgs');
          const copied = join(server.folder, `${stream}-copy`);
          await cp(messages, copied, { recursive: true });
          return { messages, copied };
        }),
      );
      return async () => {
        for (const { messages, copied } of copies) {
          await rm(messages, { recursive: true });
          await cp(copied, messages, { recursive: true });
        }
      };
    },
    truncate: (stream, messagesKept) => server.truncate(stream, messagesKept),
    mayPublish: async (id, subject) => {
      const connection = await server.connect(id);
      try {
        await connection.request(subject, new Uint8Array(), { timeout: 1_000 });
        return true;
      } catch (error) {
        return !(error instanceof Error && error.cause instanceof errors.PermissionViolationError);
      } finally {
        await connection.close();
      }
    },
    maySubscribe: async (id, subject) => {
      const connection = await server.connect(id);
      try {
        const subscription = connection.subscribe(subject, { callback: () => undefined });
        await connection.flush();
        return !subscription.isClosed();
      } finally {
        await connection.close();
      }
    },
    close: async () => {
      await Promise.all(buses.map((bus) => bus.close()));
      await Promise.all(proxies.map((proxy) => proxy.close()));
      await server.remove();
    },
  };
}

export async function memoryWorld(): Promise<World> {
  const broker = new MemoryBroker(plan());
  const troubles: BusError[] = [];
  const buses: Bus[] = [];
  const connect = (id: string, limits = {}): Promise<Bus> => {
    const bus = broker.connect({
      principal: principalOf(id),
      limits,
      onTrouble: (error) => troubles.push(error),
    });
    buses.push(bus);
    return Promise.resolve(bus);
  };
  return Promise.resolve({
    troubles,
    connect,
    connectFlaky: async (id, limits) => ({
      bus: await connect(id, limits),
      holdAnswers: () => broker.loseAnswers(1),
      releaseAnswers: () => undefined,
    }),
    down: () => Promise.resolve(broker.stop()),
    up: () => Promise.resolve(broker.start()),
    copy: () => {
      const ends = streamNames.map(
        (stream) => [stream, broker.stream(stream).lastSequence] as const,
      );
      return Promise.resolve(() => {
        for (const [stream, lastSequence] of ends) broker.rollBack(stream, lastSequence);
        return Promise.resolve();
      });
    },
    truncate: (stream, messagesKept) => Promise.resolve(broker.truncate(stream, messagesKept)),
    mayPublish: (id, subject) =>
      Promise.resolve(allows(permissionsOf(mesh, principalOf(id)).publish, subject)),
    maySubscribe: (id, subject) =>
      Promise.resolve(allowsSubscription(permissionsOf(mesh, principalOf(id)).subscribe, subject)),
    close: async () => {
      await Promise.all(buses.map((bus) => bus.close()));
    },
  });
}
