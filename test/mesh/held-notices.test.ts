/**
 * An enrolled agent that names documents which nobody else has, in as many events as it likes: each layer
 * agent waits for a few of them, and hears what the others say behind them.
 */

import { afterEach, beforeEach, expect, it } from 'vitest';
import { heldMax } from '#shared/runtime/behind-allowance.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { durableName, subjectsOf } from '#shared/bus/subjects.ts';
import { adopt, amended } from '../support/documents.ts';
import { forwardingTo } from '#shared/bus/forwarding-bus.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';

let mesh: InMemoryMesh;

const hostileEvents = 400;
/** Of the 64 places that a consumer has; twice, because a few more may be held after 30 seconds. */
const heldTogetherMax = 2 * heldMax;
/** Notices that wait, of each layer agent: now, and the most at once. */
const held = new Map<string, { readonly now: Set<number>; most: number }>();

beforeEach(async () => {
  held.clear();
  mesh = await InMemoryMesh.start({ busOf: counting });
});

afterEach(async () => {
  await mesh.stop();
});

/** Counts what an agent hands back of its notices to be given it once more. */
function counting(agentId: string, bus: Bus): Bus {
  const counts = { now: new Set<number>(), most: 0 };
  const consume: Bus['consume'] = (options, handler) => {
    if (options.consumer !== durableName(agentId, 'notices')) return bus.consume(options, handler);
    held.set(agentId, counts);
    return bus.consume(options, async (message) => {
      const disposition = await handler(message);
      const isHeld = typeof disposition === 'object' && 'retryAfterMs' in disposition;
      if (isHeld) counts.now.add(message.sequence);
      else counts.now.delete(message.sequence);
      counts.most = Math.max(counts.most, counts.now.size);
      return disposition;
    });
  };
  return { ...forwardingTo(bus), consume };
}

async function negotiate(negotiationId: string): Promise<void> {
  const body = { negotiationId, client: 'network-a', server: 'encryption-a', constraints: {} };
  const outcome = await mesh.request('op-1', 'negotiation-requested' as never, body);
  expect(outcome).toMatchObject({ status: 'accepted' });
  const shown = () => mesh.ask({ ask: 'negotiation-show', negotiationId, waitMs: 250 });
  await expect.poll(shown).toMatchObject({ isOver: true });
}

it('who names unknown documents without end delays nobody else', async () => {
  const unheard = mesh.world.newTrust();
  unheard.adopt(await amended(mesh.world, mesh.world.trust.policy), mesh.world.clock.nowMs());
  const bus = mesh.world.bus('phi-a');
  const thief = mesh.principal('phi-a', { bus, trust: unheard });
  const subject = subjectsOf(mesh.world.mesh).negotiation('n-0');
  for (let count = 0; count < hostileEvents; count += 1) {
    const body = { negotiationId: 'n-0', code: 'ORCH-8002', reason: `${count}` };
    await thief.publish({ type: 'negotiation-failed', subject, channel: 'mesh', body } as never);
  }
  await negotiate('n-1');
  expect(held.size).toBe(7);
  for (const { most } of held.values()) {
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(heldTogetherMax);
  }
  await bus.close();
});

it('what an honest sender says under new documents is heard once they are known', async () => {
  const next = await amended(mesh.world, mesh.world.trust.policy);
  const ahead = mesh.world.newTrust();
  ahead.adopt(next, mesh.world.clock.nowMs());
  const bus = mesh.world.bus('encryption-a');
  const early = mesh.principal('encryption-a', { bus, trust: ahead });
  const subject = subjectsOf(mesh.world.mesh).negotiation('n-0');
  for (let count = 0; count < heldMax; count += 1) {
    const body = { negotiationId: 'n-0', code: 'ORCH-8002', reason: `${count}` };
    await early.publish({ type: 'negotiation-failed', subject, channel: 'mesh', body } as never);
  }
  await adopt(mesh, 'op-1', next);
  await bus.close();
  await new Promise((resolve) => setTimeout(resolve, 600));
  const { lastSequence } = await mesh.world.bus('auditor').streamState('GYRE_DEAD');
  expect(lastSequence).toBe(0);
});

it('who finds nothing where documents are kept asks the orchestrators', async () => {
  await mesh.stopAgent('signer');
  const next = await amended(mesh.world, mesh.world.trust.policy);
  await adopt(mesh, 'op-1', next);
  const bus = mesh.world.bus('orchestrator-b');
  const bucket = bus.bucket('gyre_trust');
  const isKept = () => bucket.keys().then(({ length }) => length > 0);
  await expect.poll(isKept).toBe(true);
  for (const key of await bucket.keys()) {
    const kept = await bucket.get(key);
    await bucket.put(key, new Uint8Array([1]), kept?.revision ?? 0);
  }
  await bus.close();
  await mesh.startAgent('signer');
  expect(mesh.trustOf('signer').policy.version).toBe(1);
  // The log asks the signer for statements under the new policy.
  const planned = mesh.plan([1]);
  const learned = () => mesh.trustOf('signer').policy.version;
  await expect.poll(learned).toBe(2);
  await planned;
});
