/**
 * An enrolled agent that names documents which nobody else has, in as many events as it likes: each layer
 * agent waits for a few of them, and hears what the others say behind them.
 */

import { afterEach, beforeEach, expect, it } from 'vitest';
import { heldMax } from '#shared/runtime/behind-allowance.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { adopt, amended } from '../support/documents.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';

let mesh: InMemoryMesh;

const hostileEvents = 400;
/** Without a bound it takes longer: five seconds for every 64 of them. */
const heldTogetherMs = 8_000;

beforeEach(async () => {
  mesh = await InMemoryMesh.start();
});

afterEach(async () => {
  await mesh.stop();
});

async function negotiate(negotiationId: string): Promise<number> {
  const sinceMs = Date.now();
  const body = { negotiationId, client: 'network-a', server: 'encryption-a', constraints: {} };
  const outcome = await mesh.request('op-1', 'negotiation-requested' as never, body);
  expect(outcome).toMatchObject({ status: 'accepted' });
  const shown = () => mesh.ask({ ask: 'negotiation-show', negotiationId, waitMs: 250 });
  await expect.poll(shown, { timeout: 30_000 }).toMatchObject({ isOver: true });
  return Date.now() - sinceMs;
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
  expect(await negotiate('n-1')).toBeLessThan(heldTogetherMs);
  await bus.close();
}, 60_000);

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
}, 60_000);

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
  await expect.poll(learned, { timeout: 10_000 }).toBe(2);
  await planned;
}, 60_000);
