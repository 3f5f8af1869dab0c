/**
 * A layer's service: the system whose keys the layer's agent turns. It is a process of its own that
 * holds the keys and serves clients on, whatever happens to its agent, an orchestrator, the signer or
 * the bus. The agent reaches it through the same adapter interface as every other system.
 */

import type { Hono } from 'hono';
import type { LayerNumber } from '#schemas/layers.ts';
import type { ServiceConfig, ServiceSettings } from '#schemas/service.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import type { LayerAdapter } from '../adapter.ts';
import type { UsageCount } from '../embedded/key-usage.ts';
import type { CertifiedKeys } from './certificate-authority.ts';
import type { ServiceClient } from './service-client.ts';

/** Where a service has its topmost key, and what every place that shows it must print. */
export interface KeyCustody {
  readonly kind: 'token' | 'file';
  readonly notice: string;
}

export interface LayerService {
  /** What the agent turns, over the control socket. */
  readonly adapter: LayerAdapter;
  /** What anybody may ask for, on the service socket: public routes, under /v1/. */
  readonly routes: Hono;
  /** What one other layer may ask for beside them, on the socket of that layer alone: under /internal/. */
  readonly peerRoutes?: Readonly<Partial<Record<LayerNumber, Hono>>>;
  /** What administrators may do, on the control socket alone. */
  readonly adminRoutes?: Hono;
  /** Keys that its agent has certified, where there are such. */
  readonly certificates?: CertifiedKeys;
  /** Where its topmost key is, for services that can have it in a token. */
  custody?(): KeyCustody;
  /** Settings of the policy in force, kept before they hold. Repeated at every start of the agent. */
  configure(settings: ServiceSettings): Promise<void>;
  /** Metric to value since the start, at most 16: refusals by code, objects, sessions. */
  measure(): Readonly<Record<string, number>>;
  /** Uses of the keys since they were last taken. */
  takeCounts(): readonly UsageCount[];
  /** Begins what runs beside the requests: re-wrapping, clean-up. */
  start(): Promise<void>;
  /** Ends it at the next safe point, and closes the stores. */
  stop(): Promise<void>;
}

/** What a service is made from. Peers are asked when they are needed; none has to be up at the start. */
export interface ServicePorts {
  readonly layer: LayerNumber;
  readonly config: ServiceConfig;
  readonly disk: Disk;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Log;
  /** Client of another layer's service. @throws ServiceError PEER_UNKNOWN where none is configured */
  readonly peer: (layer: LayerNumber) => ServiceClient;
  /** Absolute path of a path in the configuration. */
  readonly resolve: (relative: string) => string;
}

export type OpenService = (ports: ServicePorts) => Promise<LayerService>;
