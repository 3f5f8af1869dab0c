/**
 * Rotations across epochs: the secrets of all channels change in the middle, an orchestrator joins that
 * has never run, every agent is started anew, and one is revoked. What runs is committed all the same.
 */

import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { LayerAdapter } from '#agents/layers/adapter.ts';
import { members } from '#cli/mesh/members.ts';
import type { EpochStatus } from '#schemas/epoch.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { channelsOf } from '#shared/core/channels.ts';
import { newHybridKey } from '#shared/crypto/epoch-capsule.ts';
import { parseFrame, type ParsedFrame } from '#shared/crypto/envelope.ts';
import { adopt, amended, bytesOf, revocationOf } from '../support/documents.ts';
import { InMemoryMesh, type RotationView } from '../support/in-memory-mesh.ts';
import { crypto } from '../support/world.ts';

const layers = ['identity-a', 'encryption-a', 'phi-a'];
const enrolled = members.filter(({ id, kind }) => kind !== 'layer' || layers.includes(id));

let mesh: InMemoryMesh;
/** Layer 4 prepares once it is open. */
let gate = Promise.withResolvers<void>();

function gated(adapter: LayerAdapter): LayerAdapter {
  return new Proxy(adapter, {
    get: (target, property) => {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') return value;
      if (property !== 'prepare') return value.bind(target) as unknown;
      return async (slot: string, version: number) => {
        await gate.promise;
        return target.prepare(slot, version);
      };
    },
  });
}

beforeAll(async () => {
  mesh = await InMemoryMesh.start({
    hasEpochs: true,
    members: enrolled,
    absent: ['orchestrator-b'],
    times: { soakMs: 0, overlapMs: 100 },
    adapterOf: (layer, adapter) => (layer === 4 ? gated(adapter) : adapter),
  });
  // A step may wait for as long as the secrets take, on a busy machine too.
  const patient = await amended(mesh.world, mesh.world.trust.policy, (draft) => {
    draft.policies.rotation.step_attempts_max = 20;
  });
  await adopt(mesh, 'op-1', patient);
});

beforeEach(() => {
  gate = Promise.withResolvers();
});

afterAll(async () => {
  gate.resolve();
  await mesh.stop();
});

/** A rotation that has begun and cannot go on. */
async function underWay(): Promise<RotationView> {
  const plan = await mesh.approvedPlan([1, 4]);
  expect(await mesh.execute(plan)).toMatchObject({ status: 'accepted' });
  await mesh.until(plan.planId, ['preparing']);
  return plan;
}

async function retired({ planId }: RotationView): Promise<void> {
  gate.resolve();
  await mesh.until(planId, ['retired']);
}

function epochsOf(agentId: string): number[] {
  const agent = mesh.trustOf(agentId).agent(agentId);
  const mine = agent === undefined ? [] : channelsOf(agent);
  return mine.map((channel) => mesh.keyringOf(agentId).currentEpoch(channel) ?? 0);
}

/** Waits until all channels of those who run are at least so many epochs further. */
async function furtherBy(count: number, before: readonly EpochStatus[]): Promise<void> {
  const least = new Map(before.map(({ channel, epoch }) => [channel, epoch + count]));
  const isThere = (agentId: string): boolean => {
    const agent = mesh.trustOf(agentId).agent(agentId);
    if (agent?.revokedAtMs !== undefined) return true;
    return (agent === undefined ? [] : channelsOf(agent)).every((channel) => {
      const current = mesh.keyringOf(agentId).currentEpoch(channel) ?? 0;
      return current >= (least.get(channel) ?? 1);
    });
  };
  await expect
    .poll(() => mesh.running().filter((id) => !isThere(id)), { interval: 50 })
    .toEqual([]);
}

async function status(): Promise<EpochStatus[]> {
  const answer = (await mesh.ask({ ask: 'epoch-status' })) as { channels: EpochStatus[] };
  return answer.channels;
}

/** All channels under fresh secrets, for everyone who runs. */
async function rekeyed(): Promise<void> {
  const before = await status();
  await mesh.operator('op-1').publish({
    type: 'epoch-rotation-requested',
    subject: subjectsOf(mesh.world.mesh).request('op-1'),
    channel: 'operators',
    body: { requestId: `rekey-${before[0]?.epoch}`, cause: 'operator', reason: 'test' },
  });
  await furtherBy(1, before);
}

/** What was said and stands in the streams, in order. */
function frames(): ParsedFrame[] {
  return (['GYRE_CONTROL', 'GYRE_AUDIT'] as const).flatMap((name) => {
    const stream = mesh.world.broker.stream(name);
    const found: ParsedFrame[] = [];
    for (let sequence = 1; sequence <= stream.lastSequence; sequence += 1) {
      const message = stream.get(sequence);
      const parsed = message ? parseFrame(message.data) : undefined;
      if (parsed?.ok === true) found.push(parsed.frame);
    }
    return found;
  });
}

function epochsOfSaga(planId: string): number[] {
  const subject = subjectsOf(mesh.world.mesh).sagaRotation(planId);
  const found = frames().filter(({ header }) => header.subject === subject);
  return [...new Set(found.map(({ header }) => header.epoch))];
}

it('an orchestrator that never ran joins in the middle, reads on, takes over and commits', async () => {
  const plan = await underWay();
  await rekeyed();
  await mesh.startAgent('orchestrator-b');
  await mesh.stopAgent('orchestrator-a');
  expect((await mesh.show(plan.planId)).phase).toBe('preparing');
  await retired(plan);
  const { timeline } = (await mesh.ask({
    ask: 'rotation-show',
    planId: plan.planId,
    waitMs: 0,
  })) as { timeline: { event: string; author: string }[] };
  const decided = timeline.find(({ event }) => event === 'commit-decided');
  expect(decided?.author).toBe('orchestrator-b');
  // What it joined with was more than the epoch in use: the saga began under the one before.
  expect(epochsOfSaga(plan.planId).length).toBeGreaterThan(1);
  await mesh.startAgent('orchestrator-a');
});

it('the secrets of all channels change in the middle of a rotation, and it is committed', async () => {
  const plan = await underWay();
  await rekeyed();
  await rekeyed();
  await retired(plan);
  expect(epochsOfSaga(plan.planId).length).toBeGreaterThan(1);
  for (const { pending, open } of await status()) {
    expect(pending).toBeUndefined();
    expect(open.length).toBeGreaterThan(2);
  }
});

it('every agent is started anew, one by one, while secrets change and a rotation runs', async () => {
  const plan = await underWay();
  const before = await mesh.versions();
  const again = async (agentId: string): Promise<void> => {
    await mesh.stopAgent(agentId);
    await mesh.startAgent(agentId);
  };
  await again('signer');
  await again('auditor');
  await rekeyed();
  await again('orchestrator-a');
  await again('identity-a');
  await again('orchestrator-b');
  // It ends after the step that it is at.
  const stopping = mesh.stopAgent('encryption-a');
  gate.resolve();
  await stopping;
  await mesh.startAgent('encryption-a');
  await retired(plan);
  const after = await mesh.versions();
  expect(after['4/kek']).toBe((before['4/kek'] ?? 0) + 1);
  const now = await status();
  await furtherBy(0, now);
  expect(epochsOf('signer')).toEqual(now.map(({ epoch }) => epoch));
});

it('who is revoked in the middle reads nothing that is said from then on', async () => {
  const plan = await underWay();
  const before = await status();
  const ofMesh = before.filter(({ channel }) => channel === 'mesh' || channel === 'layer-6');
  await mesh.offer('op-1', bytesOf(await revocationOf(mesh.world, 'phi-a')));
  await furtherBy(1, ofMesh);
  for (const { channel, cause, members: those } of await status()) {
    if (channel !== 'mesh' && channel !== 'layer-6') continue;
    expect(cause).toBe('membership');
    expect(those).not.toContain('phi-a');
  }
  await retired(plan);
  const thief = mesh.principal('phi-a');
  const renewed = new Map(ofMesh.map(({ channel, epoch }) => [channel, epoch + 1]));
  const isLater = ({ header }: ParsedFrame): boolean =>
    header.epoch >= (renewed.get(header.channel) ?? Infinity);
  const ofThem = frames().filter(({ header }) => renewed.has(header.channel));
  const isOpen = ({ bytes }: ParsedFrame): boolean => thief.openRecord(bytes) !== undefined;
  expect(ofThem.filter((frame) => !isLater(frame)).some(isOpen)).toBe(true);
  expect(ofThem.filter(isLater).length).toBeGreaterThan(0);
  expect(ofThem.filter(isLater).filter(isOpen)).toEqual([]);
  const { publicKey } = newHybridKey(crypto);
  for (const agentId of ['signer', 'orchestrator-a', 'orchestrator-b']) {
    const query = { ask: 'epoch-secrets', publicKey } as const;
    const asked = thief.ask({ agentId, channel: 'notices' }, query, 400);
    await expect(asked).rejects.toMatchObject({ name: 'BusError' });
  }
});
