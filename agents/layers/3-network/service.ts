/**
 * Layer 3 as a service: ends TLS for all layers and carries the requests on. Its keys: the certificate's
 * (certified by whoever the agent asks, before it is reported as prepared), and the one that the ticket
 * keys are derived from. Turning either changes what new connections get, and ends none. The hybrid KEM key
 * is kept and turned like every other; see docs/layers/3-network.md.
 */

import { layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { healthOf, metricsOf } from '../service/health.ts';
import { HookedAdapter, type SlotHooks } from '../service/hooked-adapter.ts';
import { RefusalCounts, serviceApp } from '../service/http-app.ts';
import { KeptSettings } from '../service/kept-settings.ts';
import type { LayerService, OpenService, ServicePorts } from '../service/service.ts';
import { CertificateShelf } from '../service/certificate-shelf.ts';
import { Forwarder, type ForwarderLimits } from './forwarder.ts';
import { certificateSlot, Front, ticketSlot } from './front.ts';
import { LocalAuthority } from './local-authority.ts';
import { TlsListener, type ListenerLimits } from './tls-listener.ts';

const layer = 3;
const recentUseMsDefault = 1_000;
const listenDefault = { host: '127.0.0.1', port: 0 };

export interface NetworkLimits {
  /** An open descriptor to listen on, of whoever started the service. */
  readonly listensOn?: number;
  readonly listener?: Partial<ListenerLimits>;
  readonly forwarder?: Partial<ForwarderLimits>;
}

export const openService: OpenService = serviceWith({});

/** The service with other bounds than its own: only for trying them. */
export function serviceWith(limits: NetworkLimits): OpenService {
  return (ports) => open(ports, limits);
}

async function open(ports: ServicePorts, limits: NetworkLimits): Promise<LayerService> {
  const { config, disk, crypto, clock } = ports;
  const usageWindowMs = config.recentUseMs ?? recentUseMsDefault;
  const settings = KeptSettings.open(disk);
  const keys = EmbeddedAdapter.open({ layer, disk, crypto, clock, usageWindowMs });
  try {
    return await serviceOf(ports, { settings, keys, limits });
  } catch (error) {
    keys.close();
    throw error;
  }
}

async function serviceOf(
  ports: ServicePorts,
  {
    settings,
    keys,
    limits,
  }: {
    readonly settings: KeptSettings;
    readonly keys: EmbeddedAdapter;
    readonly limits: NetworkLimits;
  },
): Promise<LayerService> {
  const { config, disk, crypto, clock, log } = ports;
  const { host, port } = config.listen ?? listenDefault;
  const names = config.listen?.names ?? [host];
  const shared = { disk, crypto, clock, log, names };
  const shelf = CertificateShelf.open({ ...shared, keys: keys.store, slot: certificateSlot });
  const own = await LocalAuthority.open(shared);
  const refused = new RefusalCounts();
  const forwarder = new Forwarder({
    log,
    clock,
    crypto,
    refusals: refused,
    socketOf: socketsOf(ports),
    ...(limits.forwarder === undefined ? {} : { limits: limits.forwarder }),
  });
  const listener = new TlsListener({
    host,
    port,
    ...(limits.listensOn === undefined ? {} : { listensOn: limits.listensOn }),
    clock,
    log,
    refusals: refused,
    onRequest: (request, response) => forwarder.handle(request, response),
    onHandshake: (seen) => front.note(seen),
    ...(limits.listener === undefined ? {} : { limits: limits.listener }),
  });
  const front = new Front({ ...shared, keys, settings, shelf, own, listener, refusals: refused });
  const { app, refusals } = routesOf(ports, keys, settings);
  return {
    adapter: new HookedAdapter('network-service', keys, hooksOf(front)),
    routes: app,
    certificates: front,
    configure: async (told) => {
      settings.adopt(told);
      front.renew();
    },
    measure: () =>
      metricsOf({ ...front.counts(), ...forwarder.counts(), ...refusals.metrics() }, refused),
    takeCounts: () => keys.usage.takeCounts(),
    start: () => front.start(),
    stop: async () => {
      await front.stop();
      forwarder.close();
      own.close();
      keys.close();
    },
  };
}

function hooksOf(front: Front): Readonly<Record<string, SlotHooks>> {
  const renew = async (): Promise<void> => front.renew();
  return {
    [certificateSlot]: {
      prepared: (version) => front.certified(version),
      activating: async (version) => front.requireCertificate(version),
      activated: renew,
      verify: (version) => front.verify(version),
      rolledBack: renew,
      users: async (version) => front.users(version),
      retiring: async (version) => front.drop(version),
    },
    // Whoever comes with a ticket of the old key makes a full handshake: the old key has no users.
    [ticketSlot]: { activated: renew, rolledBack: renew, verify: () => front.verifyTickets() },
  };
}

function routesOf({ log }: ServicePorts, keys: EmbeddedAdapter, settings: KeptSettings) {
  const { app, refusals } = serviceApp({ log, status: {} });
  app.get('/v1/health', (context) => context.json(healthOf(layer, keys, settings)));
  app.get('/v1/key-exchange-keys', (context) =>
    context.json({
      keys: keys.store
        .versions('3/key-exchange')
        .flatMap(({ keyId, version, state, publicKey }) =>
          publicKey === undefined || state === 'destroyed'
            ? []
            : [{ keyId, version, state, publicKey: toBase64Url(publicKey) }],
        ),
    }),
  );
  return { app, refusals };
}

/** Service sockets by layer; its own is one of them. */
function socketsOf({ config, resolve }: ServicePorts) {
  const sockets = new Map<LayerNumber, string>([[layer, resolve(config.serviceSocket)]]);
  for (const other of layerNumbers) {
    const peer = config.peers[String(other)];
    if (peer !== undefined && other !== layer) sockets.set(other, resolve(peer));
  }
  return (other: LayerNumber): string | undefined => sockets.get(other);
}
