/** Documents that change while a rotation runs: it ends as it began, and everything else moves on. */

import { afterEach, beforeEach, expect, it } from 'vitest';
import type { LayerAdapter } from '#agents/layers/adapter.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { documentDigest } from '#shared/crypto/signed-document.ts';
import { adopt, amended, bytesOf } from '../support/documents.ts';
import { InMemoryMesh, type RotationView } from '../support/in-memory-mesh.ts';
import { crypto } from '../support/world.ts';

let mesh: InMemoryMesh;
let gate: PromiseWithResolvers<void>;

const ended = ['committed', 'retiring', 'retired'] as const;

/** Layer 4 prepares once the gate is open. */
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

beforeEach(async () => {
  gate = Promise.withResolvers();
  mesh = await InMemoryMesh.start({
    adapterOf: (layer, adapter) => (layer === 4 ? gated(adapter) : adapter),
  });
});

afterEach(async () => {
  gate.resolve();
  await mesh.stop();
});

async function preparing(): Promise<RotationView> {
  const plan = await mesh.approvedPlan([1, 4]);
  expect(await mesh.execute(plan)).toMatchObject({ status: 'accepted' });
  await mesh.until(plan.planId, ['preparing']);
  return plan;
}

/** What becomes of a plan that is asked for now: its phase, or why it is refused. */
function planned(): Promise<string> {
  return mesh.plan([1]).then(({ phase }) => phase, String);
}

/** Waits until every running agent is at that version of the policy. */
async function everywhere(version: number): Promise<void> {
  const versions = (): number[] => mesh.running().map((id) => mesh.trustOf(id).policy.version);
  await expect.poll(versions).toEqual(mesh.running().map(() => version));
}

it('policy and registry amended in the middle: the rotation commits, a plan made before does not run', async () => {
  const waiting = await mesh.approvedPlan([2]);
  const { policy, registry } = mesh.world.trust;
  const stricter = await amended(mesh.world, policy, (draft) => {
    draft.policies.rotation.approvals.scheduled = 2;
  });
  const other = await amended(mesh.world, registry);
  const running = await preparing();
  await adopt(mesh, 'op-1', stricter);
  await adopt(mesh, 'op-2', other);
  gate.resolve();
  expect(ended).toContain((await mesh.until(running.planId, [...ended])).phase);
  await mesh.execute(waiting);
  const details = (await mesh.until(waiting.planId, ['refused', 'approved'])) as RotationView & {
    state: { refusal: { code: string } | null };
  };
  expect(details.state.refusal).toMatchObject({ code: 'ORCH-8004' });
  const fresh = await mesh.plan([2]);
  expect(fresh.phase).toBe('validated');
});

it('a root amended in the middle: the rotation commits', async () => {
  const successor = await amended(mesh.world, mesh.world.trust.root);
  const running = await preparing();
  await adopt(mesh, 'op-1', successor);
  gate.resolve();
  expect(ended).toContain((await mesh.until(running.planId, [...ended])).phase);
});

it('a policy that applies at once is what the running rotation is judged by', async () => {
  const document = await amended(mesh.world, mesh.world.trust.policy, (draft) => {
    draft.applies = 'at-once';
  });
  const running = await preparing();
  await adopt(mesh, 'op-1', document);
  const basis = mesh.world.trust.policyDigest;
  for (const agentId of mesh.running()) {
    expect([agentId, mesh.trustOf(agentId).policyFor(basis)?.version]).toEqual([agentId, 2]);
  }
  gate.resolve();
  expect(ended).toContain((await mesh.until(running.planId, [...ended])).phase);
});

it('orchestrators that start again fold a rotation by the policies it was judged by, and end it', async () => {
  const stricter = await amended(mesh.world, mesh.world.trust.policy, (draft) => {
    draft.applies = 'at-once';
    draft.policies.rotation.approvals.scheduled = 2;
  });
  const running = await preparing();
  await adopt(mesh, 'op-1', stricter);
  for (const agentId of ['orchestrator-a', 'orchestrator-b']) {
    await mesh.stopAgent(agentId);
    await mesh.startAgent(agentId);
  }
  gate.resolve();
  // It has one approval, and from now on needs two: the signer states no commit.
  expect((await mesh.until(running.planId, ['rolled_back'])).phase).toBe('rolled_back');
});

it('an agent that was away learns of everything before it works again', async () => {
  await mesh.stopAgent('encryption-a');
  await mesh.stopAgent('orchestrator-b');
  const { policy, registry } = mesh.world.trust;
  await adopt(mesh, 'op-1', await amended(mesh.world, registry));
  await adopt(mesh, 'op-1', await amended(mesh.world, policy));
  await mesh.startAgent('encryption-a');
  await mesh.startAgent('orchestrator-b');
  for (const agentId of ['encryption-a', 'orchestrator-b']) {
    const { root, registry: newest, policy: own } = mesh.trustOf(agentId).highest();
    expect([root.version, newest.version, own.version]).toEqual([1, 2, 2]);
  }
  gate.resolve();
  const plan = await mesh.approvedPlan([1, 4]);
  expect(await mesh.execute(plan)).toMatchObject({ status: 'accepted' });
  await mesh.until(plan.planId, [...ended]);
});

it('a document that is kept and was never offered is offered by the auditor', async () => {
  const next = await amended(mesh.world, mesh.world.trust.policy);
  const digest = documentDigest(crypto, next.body);
  // The bus dropped the offer and kept what somebody wrote down for late comers.
  const bucket = mesh.world.bus('orchestrator-b').bucket('gyre_trust');
  await bucket.put(`policy.2.${digest}`, bytesOf(next), 0);
  await mesh.stopAgent('orchestrator-a');
  await mesh.startAgent('orchestrator-a');
  expect(mesh.trustOf('orchestrator-a').policy.version).toBe(2);
  gate.resolve();
  await expect.poll(planned).toBe('validated');
});

it('one that expired before its loss is noticed is offered all the same, and the next one follows it', async () => {
  const lifeMs = 600_000;
  const short = await amended(mesh.world, mesh.world.trust.policy, (draft) => {
    draft.expires_at = new Date(mesh.world.clock.nowMs() + lifeMs).toISOString();
  });
  const next = await amended(mesh.world, short.body as PolicyBody);
  mesh.world.clock.offsetMs += lifeMs;
  const bucket = mesh.world.bus('orchestrator-b').bucket('gyre_trust');
  await bucket.put(`policy.2.${documentDigest(crypto, short.body)}`, bytesOf(short), 0);
  await mesh.stopAgent('orchestrator-a');
  await mesh.startAgent('orchestrator-a');
  await everywhere(2);
  expect(mesh.running().filter((id) => mesh.deskOf(id).isLockedOut('auditor'))).toEqual([]);
  await adopt(mesh, 'op-1', next);
  gate.resolve();
  await expect.poll(planned).toBe('validated');
});

it('one that reaches everybody too late counts in the log, and so comes into force everywhere', async () => {
  const next = await amended(mesh.world, mesh.world.trust.policy);
  const bus = mesh.world.bus('identity-a');
  const { subject, frame, hash } = mesh.principal('identity-a', { bus }).seal({
    type: 'document-offered',
    subject: subjectsOf(mesh.world.mesh).trust('identity-a'),
    channel: 'notices',
    body: { document: bytesOf(next) },
  });
  // Offers are valid for a day.
  mesh.world.clock.offsetMs += 30 * 3_600_000;
  await bus.publish({ subject, data: frame, messageId: hash });
  await everywhere(2);
  expect(mesh.running().filter((id) => mesh.deskOf(id).isLockedOut('auditor'))).toEqual([]);
  const known = { rootVersion: 1, registryVersion: 1, policyVersion: 1 };
  const told = await mesh
    .principal('identity-a', { bus })
    .ask({ agentId: 'auditor', channel: 'notices' }, { ask: 'trust-documents', ...known }, 8_000);
  expect(told).toMatchObject({ ok: true, result: { isWhole: true } });
  await bus.close();
});

it('expired documents begin nothing, and what runs ends', async () => {
  const running = await preparing();
  const { policies } = mesh.world.trust.policy;
  const lifeMs = policies.rotation.clock_skew_ms + 60_000;
  const soon = await amended(mesh.world, mesh.world.trust.policy, (draft) => {
    draft.expires_at = new Date(mesh.world.clock.nowMs() + lifeMs).toISOString();
  });
  await adopt(mesh, 'op-1', soon);
  mesh.world.clock.offsetMs += lifeMs;
  await expect
    .poll(() => mesh.trustOf('orchestrator-a').staleness(mesh.world.clock.nowMs()))
    .toEqual(['policy']);
  const body = { requestId: 'late', rotationType: 'scheduled', layers: [2], reason: 'test' };
  expect(await mesh.request('op-1', 'rotation-requested', body)).toMatchObject({
    status: 'refused',
    code: 'ORCH-8011',
  });
  gate.resolve();
  expect(ended).toContain((await mesh.until(running.planId, [...ended])).phase);
});
