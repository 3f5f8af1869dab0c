/** The ways that recorded meshes went. Each returns when what it is about has come to its end. */

import { setTimeout as delay } from 'node:timers/promises';
import { signClaim } from '#agents/layers/7-self-healing/claim-signing.ts';
import { AdapterError, type LayerAdapter } from '#agents/layers/adapter.ts';
import { members, type Member } from '#cli/mesh/members.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { adopt, amended, bytesOf, revocationOf } from '../support/documents.ts';
import { InMemoryMesh, type MeshOptions } from '../support/in-memory-mesh.ts';
import { KeyLoad } from '../support/key-load.ts';

type Scenario = () => Promise<InMemoryMesh>;

/** Late events reach the auditor within this. */
const settleMs = 1_500;
const times = { soakMs: 0, overlapMs: 300 };

export const scenarios: Readonly<Partial<Record<string, Scenario>>> = {
  'seven-layers': sevenLayers,
  rollback,
  refused,
  lockout,
  amendment,
  'epoch-change': epochChange,
  revocation,
  healing,
};

/** Kept once more as a whole export, frames and all. */
export const wholeExports: readonly string[] = ['refused'];

async function sevenLayers(): Promise<InMemoryMesh> {
  const mesh = await InMemoryMesh.start({ times });
  const plan = await mesh.approvedPlan([1, 2, 3, 4, 5, 6, 7]);
  await mesh.execute(plan);
  await mesh.until(plan.planId, ['retired']);
  return settled(mesh);
}

async function rollback(): Promise<InMemoryMesh> {
  const broken = new Set<keyof LayerAdapter>(['activate']);
  const mesh = await small([1, 2, 4], { adapterOf: failingAt(2, broken) });
  const plan = await mesh.approvedPlan([1, 2, 4]);
  await mesh.execute(plan);
  await mesh.until(plan.planId, ['rolled_back']);
  await delay(times.overlapMs + settleMs);
  return settled(mesh);
}

/** Nobody approves it, and what is asked for all the same is refused. */
async function refused(): Promise<InMemoryMesh> {
  const mesh = await small([6]);
  const { planId, planDigest } = await mesh.plan([6]);
  await mesh.execute({ planId, planDigest, phase: 'validated', index: 1 });
  await mesh.request('op-1', 'plan-approved', { planId, planDigest });
  return settled(mesh);
}

/** Layer 7 asks for an emergency rotation, which nobody has to approve, and for one more. */
async function healing(): Promise<InMemoryMesh> {
  const load = new KeyLoad();
  const mesh = await small([7], { adapterOf: load.adapterOf });
  const prompt = await amended(mesh.world, mesh.world.trust.policy, (draft) => {
    draft.policies.rotation.approvals.emergency = 0;
  });
  await adopt(mesh, 'op-1', prompt);
  const ask = async (actionId: string): Promise<Outcome> => {
    const { crypto, clock } = mesh.world;
    const rule = 'ratio' as const;
    const found = { observed: 0.5, expected: 0.005, threshold: 0.055, samples: 300, windowMs: 0 };
    const anomaly = {
      agentId: 'self-healing-a',
      layer: 7,
      metric: 'failure-ratio',
      rule,
      ...found,
    } as const;
    const anomalies = [{ ...anomaly, atMs: clock.nowMs() }];
    const action = {
      kind: 'emergency-rotation' as const,
      layers: [7 as const],
      withDependants: true as const,
    };
    const claim = { actionId, anomalies, action };
    const { hash: request } = await mesh.principal('self-healing-a').publish({
      type: 'healing-action-requested',
      subject: subjectsOf(mesh.world.mesh).healing('self-healing-a'),
      channel: 'layer-7',
      body: { claim, signature: signClaim(load.adapter(7), { crypto, clock }, claim) },
    });
    const query = { ask: 'request-outcome', request, waitMs: 5_000 } as const;
    return (await mesh.ask(query)) as Outcome;
  };
  const { planId } = await ask('heal-1');
  if (planId === undefined) throw new Error('the healing was not begun');
  await ask('heal-2');
  await mesh.until(planId, ['retired']);
  return settled(mesh);
}

interface Outcome {
  readonly planId?: string;
}

async function lockout(): Promise<InMemoryMesh> {
  const first = new Set<keyof LayerAdapter>(['rollback']);
  const second = new Set<keyof LayerAdapter>(['activate']);
  const one = failingAt(1, first);
  const other = failingAt(2, second);
  const mesh = await small([1, 2], {
    adapterOf: (layer, adapter) => (layer === 1 ? one(layer, adapter) : other(layer, adapter)),
  });
  const plan = await mesh.approvedPlan([1, 2]);
  const { planId, planDigest } = plan;
  await mesh.execute(plan);
  await mesh.until(planId, ['locked_out']);
  first.clear();
  second.clear();
  const body = { planId, planDigest };
  await mesh.request('op-1', 'recovery-requested' as never, body);
  await mesh.request('op-2', 'recovery-approved' as never, { ...body, lockout: 1 });
  await mesh.until(planId, ['rolled_back']);
  await delay(times.overlapMs + settleMs);
  return settled(mesh);
}

/** Policy and registry change while the rotation waits for a layer. */
async function amendment(): Promise<InMemoryMesh> {
  const gate = Promise.withResolvers<void>();
  const mesh = await small([1, 4], { adapterOf: gatedAt(4, gate.promise) });
  const plan = await mesh.approvedPlan([1, 4]);
  await mesh.execute(plan);
  await mesh.until(plan.planId, ['preparing']);
  const { policy, registry } = mesh.world.trust;
  const stricter = await amended(mesh.world, policy, (draft) => {
    draft.policies.rotation.approvals.scheduled = 2;
  });
  await adopt(mesh, 'op-1', stricter);
  await adopt(mesh, 'op-2', await amended(mesh.world, registry));
  gate.resolve();
  await mesh.until(plan.planId, ['retired']);
  return settled(mesh);
}

/** All channels are rekeyed while the rotation waits for a layer. */
async function epochChange(): Promise<InMemoryMesh> {
  const gate = Promise.withResolvers<void>();
  const adapterOf = gatedAt(6, gate.promise);
  const mesh = await small([6], { adapterOf, hasEpochs: true });
  const plan = await mesh.approvedPlan([6]);
  await mesh.execute(plan);
  await mesh.until(plan.planId, ['preparing']);
  const subject = subjectsOf(mesh.world.mesh).request('op-1');
  const body = { requestId: 'rekey', cause: 'operator', reason: 'for the record' } as const;
  const rekey = { type: 'epoch-rotation-requested', subject, channel: 'operators', body } as const;
  await mesh.operator('op-1').publish(rekey);
  await delay(2 * settleMs);
  gate.resolve();
  await mesh.until(plan.planId, ['retired']);
  return settled(mesh);
}

/** An operator who approved is revoked, and approves another plan in vain. */
async function revocation(): Promise<InMemoryMesh> {
  const mesh = await small([6]);
  const plan = await mesh.approvedPlan([6]);
  await mesh.offer('op-1', bytesOf(await revocationOf(mesh.world, 'op-2')));
  await delay(settleMs);
  const { planId, planDigest } = plan;
  const subject = subjectsOf(mesh.world.mesh).request('op-2');
  const late = { type: 'plan-approved', subject, channel: 'operators' } as const;
  await mesh.operator('op-2').publish({ ...late, body: { planId, planDigest } });
  await mesh.execute(plan);
  await mesh.until(planId, ['retired', 'approved', 'rolled_back']);
  return settled(mesh);
}

function small(layers: readonly number[], options: MeshOptions = {}): Promise<InMemoryMesh> {
  const isThere = ({ kind, layer, id }: Member): boolean =>
    layer !== undefined ? layers.includes(layer) : kind !== 'layer' && id !== 'orchestrator-b';
  return InMemoryMesh.start({ times, members: members.filter(isThere), ...options });
}

async function settled(mesh: InMemoryMesh): Promise<InMemoryMesh> {
  await delay(settleMs);
  return mesh;
}

function failingAt(layer: number, broken: ReadonlySet<keyof LayerAdapter>) {
  return (at: number, adapter: LayerAdapter): LayerAdapter =>
    at === layer
      ? through(adapter, (operation) =>
          broken.has(operation)
            ? Promise.reject(new AdapterError('STORE_FAILED', 'the system says no'))
            : Promise.resolve(),
        )
      : adapter;
}

function gatedAt(layer: number, gate: Promise<void>) {
  return (at: number, adapter: LayerAdapter): LayerAdapter =>
    at === layer
      ? through(adapter, (operation) => (operation === 'prepare' ? gate : Promise.resolve()))
      : adapter;
}

/** An adapter whose operations are let in one by one. */
function through(
  adapter: LayerAdapter,
  admit: (operation: keyof LayerAdapter) => Promise<void>,
): LayerAdapter {
  return {
    name: adapter.name,
    fingerprint: () => adapter.fingerprint(),
    inspect: () => adapter.inspect(),
    prepare: async (slot, version) => {
      await admit('prepare');
      return adapter.prepare(slot, version);
    },
    activate: async (slot, version, challenge) => {
      await admit('activate');
      return adapter.activate(slot, version, challenge);
    },
    verify: (slot, version) => adapter.verify(slot, version),
    rollback: async (slot, version) => {
      await admit('rollback');
      return adapter.rollback(slot, version);
    },
    retire: (slot, version) => adapter.retire(slot, version),
    usesLately: (slot, version) => adapter.usesLately(slot, version),
    samples: (slot) => adapter.samples(slot),
    freeze: (slot, frozen) => adapter.freeze(slot, frozen),
  };
}
