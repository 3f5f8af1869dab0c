/** Layers 2 and 5 as layer 6 sees them, with faults where a test asks for them. */
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { Refused, serviceApp } from '#agents/layers/service/http-app.ts';
import type { LayerService, ServicePorts } from '#agents/layers/service/service.ts';

export const peers = {
  /** What layer 5 holds; a test may change it. */
  records: new Map<string, { owner: string; resource: string }>(),
  isDatabaseDown: false,
  /** Layer 5 does what it is asked for, and nobody hears of it. */
  isAnswerLost: false,
};

let tokens = 0;

export function tokenOf(subject: string, scope: string[], roles: string[] = []): string {
  tokens += 1;
  const claims = { subject, scope, roles, nonce: tokens };
  return Buffer.from(JSON.stringify(claims)).toString('base64url');
}

/** What layer 6 alone is served. */

function bare(ports: ServicePorts, app: LayerService['routes']): LayerService {
  const { layer, disk, crypto, clock } = ports;
  const keys = EmbeddedAdapter.open({ layer, disk, crypto, clock, usageWindowMs: 0 });
  return {
    adapter: keys,
    routes: serviceApp({ log: ports.log, status: {} }).app,
    peerRoutes: { 6: app },
    configure: async () => undefined,
    measure: () => ({}),
    takeCounts: () => [],
    start: async () => undefined,
    stop: async () => keys.close(),
  };
}

export async function openSimulatedAuthorization(ports: ServicePorts): Promise<LayerService> {
  const used = new Set<string>();
  const status = { CAPABILITY_INVALID: 401, NONCE_REPLAYED: 401, SCOPE_EXCEEDED: 403 } as const;
  const { app } = serviceApp<keyof typeof status>({ log: ports.log, status });
  app.post('/internal/v1/introspections', async (context) => {
    const { token, scope } = await context.req.json();
    const text = Buffer.from(String(token), 'base64url').toString();
    if (!text.startsWith('{')) throw new Refused('CAPABILITY_INVALID', 'no capability');
    const { nonce: _, ...bearer } = JSON.parse(text);
    if (!bearer.scope.includes(scope)) throw new Refused('SCOPE_EXCEEDED', 'another scope');
    if (used.has(token)) throw new Refused('NONCE_REPLAYED', 'used before');
    used.add(token);
    return context.json(bearer);
  });
  return bare(ports, app);
}

export async function openSimulatedRecords(ports: ServicePorts): Promise<LayerService> {
  const status = { RECORD_UNKNOWN: 404 } as const;
  const { app } = serviceApp<keyof typeof status>({ log: ports.log, status });
  const path = '/internal/v1/records/:id';
  app.put(path, async (context) => {
    if (peers.isDatabaseDown) throw new Refused('OVERLOADED', 'down');
    const { owner, columns } = await context.req.json();
    peers.records.set(context.req.param('id'), { owner, resource: columns.resource });
    if (peers.isAnswerLost) throw new Refused('OVERLOADED', 'lost');
    return context.json({});
  });
  app.get(path, (context) => {
    if (peers.isDatabaseDown) throw new Refused('OVERLOADED', 'down');
    const record = peers.records.get(context.req.param('id'));
    if (record?.owner !== context.req.query('owner')) {
      throw new Refused('RECORD_UNKNOWN', 'no such record');
    }
    return context.json({ columns: { resource: record?.resource } });
  });
  return bare(ports, app);
}
