/**
 * Layer 2 as far as other services see it: says whose capability it is and what it is good for, once.
 * The token says both in the clear, as nobody here has to be kept from forging one.
 */
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { Bearer, capabilityStatus } from '#agents/layers/service/capability-check.ts';
import { HookedAdapter } from '#agents/layers/service/hooked-adapter.ts';
import { Refused, serviceApp } from '#agents/layers/service/http-app.ts';
import type { LayerService, ServicePorts } from '#agents/layers/service/service.ts';
import type { Static } from '#schemas/primitives.ts';

let made = 0;

/** A capability of `subject`, good for one use of `scope`. */
export function capabilityOf(subject: string, scope: string): Record<string, string> {
  made += 1;
  return { authorization: `Capability ${subject}~${scope.replace(':', '.')}~${made}` };
}

export async function openCapabilityDesk(ports: ServicePorts): Promise<LayerService> {
  const { layer, disk, crypto, clock, log } = ports;
  const keys = EmbeddedAdapter.open({ layer, disk, crypto, clock, usageWindowMs: 1_000 });
  const { app } = serviceApp({ log, status: capabilityStatus });
  const used = new Set<string>();
  app.post('/internal/v1/introspections', async (context) => {
    const { token, scope } = (await context.req.json()) as { token: string; scope: string };
    const [subject = '', granted = ''] = token.split('~');
    if (used.has(token)) throw new Refused('NONCE_REPLAYED', 'the capability was used');
    if (granted.replace('.', ':') !== scope) throw new Refused('SCOPE_EXCEEDED', 'not for this');
    used.add(token);
    return context.json({ subject, roles: [], scope: [scope] } satisfies Static<typeof Bearer>);
  });
  return {
    adapter: new HookedAdapter('capability-desk', keys, {}),
    routes: serviceApp({ log, status: {} }).app,
    peerRoutes: { 4: app, 5: app, 6: app, 7: app },
    configure: async () => undefined,
    measure: () => ({}),
    takeCounts: () => [],
    start: async () => undefined,
    stop: async () => keys.close(),
  };
}
