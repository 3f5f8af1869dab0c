/** What one enrolled agent can send that is authentic and hostile, and that must not stop the others. */

import { afterEach, expect, it } from 'vitest';
import { AdapterError } from '#agents/layers/adapter.ts';
import type { Header } from '#schemas/frame.ts';
import { eventTypes, type EventTypeName } from '#schemas/events.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { fromHex } from '#shared/crypto/bytes.ts';
import { seal } from '#shared/crypto/envelope.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';
import { crypto } from '../support/world.ts';

let mesh: InMemoryMesh | undefined;

afterEach(async () => {
  await mesh?.stop();
  mesh = undefined;
});

/** 500 characters, 998 or so UTF-16 units: a cut at any even place splits one of them. */
const hostileText = `x${'\u{1F511}'.repeat(499)}`;

const atRest = ['committed', 'retiring', 'retired', 'rolled_back'] as const;

interface Chained {
  readonly sender: string;
  readonly type: EventTypeName;
  readonly subject: string;
  readonly channel: string;
  readonly incarnation: Uint8Array;
  readonly counter: number;
  readonly audience?: string;
  readonly aheadMs?: number;
}

/** An event of a sender who keeps no chain: every one of them claims to be the first. */
function forked(on: InMemoryMesh, chained: Chained, body: unknown) {
  const { sender, channel, aheadMs = 0, ...fields } = chained;
  const { trust, keys, clock } = on.world;
  const signingKey = keys.get(sender);
  const keyring = on.secretsOf(sender);
  const epoch = keyring.currentEpoch(channel) ?? 0;
  const channelSecret = keyring.secretOf({ channel, epoch });
  if (signingKey === undefined || channelSecret === undefined) throw new Error('no keys');
  const timeMs = clock.nowMs() + aheadMs;
  const header: Header = {
    audience: channel,
    ...fields,
    version: 1,
    suite: 1,
    lane: 'control',
    sender,
    senderKeyId: signingKey.publicKey.keyId,
    channel,
    epoch,
    previous: new Uint8Array(32),
    registryVersion: 1,
    registryDigest: fromHex(trust.registryDigest) ?? new Uint8Array(32),
    policyVersion: 1,
    policyDigest: fromHex(trust.policyDigest) ?? new Uint8Array(32),
    schemaVersion: 1,
    timeMs,
    expiresMs: timeMs + eventTypes[chained.type].validMs,
    eventId: `forked-${chained.counter}`,
  };
  return seal(crypto, { header, body, signingKey, channelSecret });
}

async function leaves(on: InMemoryMesh): Promise<number> {
  const to = { agentId: 'auditor', channel: 'operators' };
  const answer = await on.operator('op-1').ask(to, { ask: 'audit-head' }, 5_000);
  if (!answer.ok) throw new Error(answer.reason);
  return (answer.result as { treeSize: number }).treeSize;
}

it('an approval out of a forked chain is refused, and the rotation goes on without it', async () => {
  mesh = await InMemoryMesh.start({ takeoverMs: 50 });
  const { planId, planDigest } = await mesh.plan([4]);
  const bus = mesh.world.bus('op-2');
  const subject = subjectsOf(mesh.world.mesh).request('op-2');
  const incarnation = crypto.randomBytes(32);
  const chain = { sender: 'op-2', subject, channel: 'operators', incarnation } as const;
  const first = forked(
    mesh,
    { ...chain, type: 'execution-requested', counter: 1 },
    { planId, planDigest, dryRun: true },
  );
  const second = forked(
    mesh,
    { ...chain, type: 'plan-approved', counter: 2 },
    { planId, planDigest },
  );
  for (const { frame: data, messageId } of [first, second]) {
    await bus.publish({ subject, data, messageId });
  }
  const query = { ask: 'request-outcome', request: second.messageId, waitMs: 5_000 } as const;
  const deadlineMs = Date.now() + 15_000;
  let outcome: unknown;
  do outcome = await mesh.ask(query);
  while ((outcome as { status: string }).status === 'pending' && Date.now() < deadlineMs);
  expect(outcome).toMatchObject({ status: 'refused' });
  // Both orchestrators tried, a few times each; nobody goes on trying for ever.
  expect(await leaves(mesh)).toBeLessThan(60);
  expect(await mesh.request('op-2', 'plan-approved', { planId, planDigest })).toMatchObject({
    status: 'accepted',
  });
  expect(await mesh.execute({ planId, planDigest, phase: 'approved', index: 0 })).toMatchObject({
    status: 'accepted',
  });
  await mesh.until(planId, atRest);
  await bus.close();
});

it.each([{ audience: 'auditor' }, { aheadMs: 3_600_000 }])(
  'an entry that the auditor alone would read, by %o, is an entry for all',
  async (hostile) => {
    mesh = await InMemoryMesh.start();
    const plan = await mesh.approvedPlan([4]);
    const { planId, planDigest } = plan;
    const dry = { planId, planDigest, dryRun: true };
    await mesh.request('op-1', 'execution-requested', dry);
    const { timeline } = (await mesh.ask({ ask: 'rotation-show', planId, waitMs: 0 })) as {
      timeline: { index: number; hash: string; event: string }[];
    };
    const last = timeline.at(-1);
    if (last?.event !== 'dry-run-completed') throw new Error('no dry run');
    const bus = mesh.world.bus('orchestrator-b');
    const subject = subjectsOf(mesh.world.mesh).sagaRotation(planId);
    const request = await consumedBy(bus, mesh, subject);
    const chain = { sender: 'orchestrator-b', subject, channel: 'saga', counter: 1 } as const;
    const entry = forked(
      mesh,
      { ...chain, ...hostile, type: 'saga-entry', incarnation: crypto.randomBytes(32) },
      {
        saga: 'rotation',
        sagaId: planId,
        index: last.index + 1,
        previous: last.hash,
        consumed: [request],
        event: { type: 'dry-run-completed', operatorId: 'op-1', ok: true, atMs: 1 },
      },
    );
    await bus.publish({ subject, data: entry.frame, messageId: entry.messageId });
    expect(await mesh.execute(plan)).toMatchObject({ status: 'accepted' });
    await mesh.until(planId, atRest);
    await bus.close();
  },
);

/** What the last entry of a saga rests on. */
async function consumedBy(bus: Bus, on: InMemoryMesh, subject: string): Promise<string> {
  const message = await bus.lastMessage('GYRE_CONTROL', subject);
  const event = message && on.principal('orchestrator-b', { bus }).openRecord(message.data);
  const consumed = event?.type === 'saga-entry' ? event.body.consumed[0] : undefined;
  if (consumed === undefined) throw new Error('nothing is consumed');
  return consumed;
}

it('an orchestrator that starts goes live, however much is said meanwhile', async () => {
  mesh = await InMemoryMesh.start();
  await mesh.stopAgent('orchestrator-a');
  const bus = mesh.world.bus('phi-a');
  const subject = subjectsOf(mesh.world.mesh).report(6, 'phi-a');
  let count = 0;
  const chatter = setInterval(() => {
    count += 1;
    void bus.publish({ subject, data: crypto.randomBytes(64), messageId: `chatter-${count}` });
  }, 50);
  const starting = mesh.startAgent('orchestrator-a').then(() => 'live');
  const waiting = new Promise((resolve) => setTimeout(() => resolve('not live'), 5_000));
  const outcome = await Promise.race([starting, waiting]);
  clearInterval(chatter);
  await starting;
  await bus.close();
  expect(outcome).toBe('live');
});

it('a text that ends in the middle of a character crashes nobody', async () => {
  let calls = 0;
  mesh = await InMemoryMesh.start({
    adapterOf: (layer, adapter) =>
      layer !== 2
        ? adapter
        : new Proxy(adapter, {
            get: (target, name) => {
              const value: unknown = Reflect.get(target, name, target);
              if (typeof value !== 'function') return value;
              if (name !== 'inspect') return value.bind(target) as unknown;
              calls += 1;
              return () => Promise.reject(new AdapterError('STORE_FAILED', hostileText));
            },
          }),
  });
  expect(calls).toBeGreaterThan(0);
  const body = { requestId: 'one', rotationType: 'scheduled', layers: [2], reason: 'test' };
  expect(await mesh.request('op-1', 'rotation-requested', body)).toMatchObject({
    status: 'refused',
    code: 'ORCH-8007',
  });
  await mesh.ask({ ask: 'mesh-status' });
});

it('the reason of a rotation that went back can be shown, whatever it is', async () => {
  mesh = await InMemoryMesh.start();
  const { planId, planDigest } = await mesh.plan([4]);
  const asked = { planId, planDigest, reason: hostileText };
  await mesh.request('op-1', 'rollback-requested' as never, asked);
  await mesh.until(planId, ['rolled_back']);
  const list = (await mesh.ask({ ask: 'rotation-list' })) as { failure: { reason: string } }[];
  expect(list[0]?.failure.reason.isWellFormed()).toBe(true);
});
