/**
 * Bad documents in the names of those whose keys were stolen: each agent refuses them by itself, the
 * thief is not heard any more, the mesh keeps its last good documents, and what runs ends.
 */

import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { OfferedDocument } from '#schemas/trust.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { adopt, amended, bytesOf, revocationOf } from '../support/documents.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';

let mesh: InMemoryMesh;

const ended = ['committed', 'retiring', 'retired'] as const;
const floodOffers = 300;

beforeEach(async () => {
  mesh = await InMemoryMesh.start();
});

afterEach(async () => {
  await mesh.stop();
});

function offer(thief: Principal, document: Uint8Array<ArrayBuffer>) {
  const subject = subjectsOf(mesh.world.mesh).trust(thief.agentId);
  const body = { document };
  return thief.publish({ type: 'document-offered', subject, channel: 'notices', body });
}

function locked(agentId: string): Promise<void> {
  return expect
    .poll(() => mesh.running().every((id) => mesh.deskOf(id).isLockedOut(agentId)))
    .toBe(true);
}

async function flood(thief: Principal, document: OfferedDocument): Promise<void> {
  for (let count = 0; count < floodOffers; count += 1) {
    const body = { ...document.body, expires_at: new Date(Date.now() + 1e9 + count).toISOString() };
    const forged = { ...document, body } as OfferedDocument;
    await offer(thief, bytesOf(forged));
  }
}

it.each(['phi-a', 'op-2'])('a flood in the name of %s does not stop a rotation', async (id) => {
  const plan = await mesh.approvedPlan([1, 4]);
  const bus = mesh.world.bus(id);
  const thief = mesh.principal(id, { bus });
  const { policyDigest } = mesh.world.trust;
  const forged = await amended(mesh.world, mesh.world.trust.policy, () => undefined, ['op-2']);
  const flooding = flood(thief, forged);
  expect(await mesh.execute(plan)).toMatchObject({ status: 'accepted' });
  await mesh.until(plan.planId, [...ended]);
  await flooding;
  await locked(id);
  for (const agentId of mesh.running()) {
    expect([agentId, mesh.trustOf(agentId).policyDigest]).toEqual([agentId, policyDigest]);
  }
  await bus.close();
});

/** As it says itself to an operator, or to an orchestrator that tells him. */
async function lockedOutBy(agentId: 'auditor' | 'signer' | 'phi-a'): Promise<string[]> {
  interface Said {
    readonly agentId: string;
    readonly lockouts?: readonly { readonly sender: string }[];
  }
  const sendersOf = (said: Said | undefined) => (said?.lockouts ?? []).map(({ sender }) => sender);
  if (agentId === 'phi-a') {
    const { layers } = (await mesh.ask({ ask: 'mesh-status' })) as { layers: Said[] };
    return sendersOf(layers.find((each) => each.agentId === agentId));
  }
  const ask = agentId === 'signer' ? 'signer-describe' : 'audit-head';
  const to = { agentId, channel: 'operators' };
  const answer = await mesh.operator('op-2').ask(to, { ask }, 8_000);
  return answer.ok ? sendersOf(answer.result as Said) : [];
}

it('who offers what is old, expired, of another role or no document is locked out, over a restart', async () => {
  const { policy, registry } = mesh.world.trust;
  const next = await amended(mesh.world, policy);
  await adopt(mesh, 'op-1', next);
  const old = { ...mesh.world.bundle.policy } as OfferedDocument;
  const expired = await amended(mesh.world, registry, (draft) => {
    draft.expires_at = new Date(Date.now() - 1).toISOString();
    draft.issued_at = new Date(Date.now() - 500).toISOString();
  });
  const byOne = await amended(mesh.world, registry, () => undefined, ['op-1']);
  const offers = [
    ['identity-a', bytesOf(old), 'ORCH-8011'],
    ['authorization-a', bytesOf(expired), 'ORCH-8010'],
    ['network-a', bytesOf(byOne), 'ORCH-8010'],
    ['encryption-a', new Uint8Array([123, 125]), 'ORCH-8010'],
  ] as const;
  for (const [id, document] of offers) {
    const bus = mesh.world.bus(id);
    await offer(mesh.principal(id, { bus }), document);
    await bus.close();
  }
  for (const [id, , code] of offers) {
    await expect
      .poll(
        () =>
          mesh
            .deskOf('signer')
            .lockouts()
            .find(({ sender }) => sender === id)?.code,
      )
      .toBe(code);
  }
  await mesh.stopAgent('signer');
  await mesh.startAgent('signer');
  expect(mesh.deskOf('signer').isLockedOut('network-a')).toBe(true);
  expect(mesh.trustOf('signer').policy.version).toBe(2);
  mesh.world.clock.offsetMs += 899_000;
  expect(mesh.deskOf('signer').isLockedOut('network-a')).toBe(true);
  mesh.world.clock.offsetMs += 2_000;
  expect(mesh.deskOf('signer').isLockedOut('network-a')).toBe(false);
});

it('a locked-out operator asks for nothing new, and a rotation that runs by his request ends', async () => {
  const plan = await mesh.approvedPlan([1]);
  expect(await mesh.execute(plan)).toMatchObject({ status: 'accepted' });
  const bus = mesh.world.bus('op-1');
  const thief = mesh.principal('op-1', { bus });
  await offer(thief, new Uint8Array([1, 2, 3]));
  await locked('op-1');
  for (const whom of ['auditor', 'signer', 'phi-a'] as const) {
    await expect.poll(() => lockedOutBy(whom)).toContain('op-1');
  }
  await mesh.until(plan.planId, [...ended]);
  const subject = subjectsOf(mesh.world.mesh).request('op-1');
  const body = { requestId: 'again', rotationType: 'scheduled', layers: [2], reason: 'x' } as never;
  const { hash } = await thief.publish({
    type: 'rotation-requested',
    subject,
    channel: 'operators',
    body,
  });
  const outcome = await mesh.ask({ ask: 'request-outcome', request: hash, waitMs: 1_500 });
  expect(outcome).toMatchObject({ status: 'refused', code: 'ORCH-8010' });
  await bus.close();
});

it('the key of one orchestrator does not keep the other from having agents negotiate', async () => {
  const bus = mesh.world.bus('orchestrator-a');
  await offer(mesh.world.principal('orchestrator-a', { bus }), new Uint8Array([1, 2, 3]));
  await bus.close();
  await locked('orchestrator-a');
  const pair = { client: 'network-a', server: 'encryption-a', constraints: {} };
  for (const negotiationId of ['n-1', 'n-2', 'n-3', 'n-4']) {
    const body = { negotiationId, ...pair };
    const outcome = await mesh.request('op-1', 'negotiation-requested' as never, body);
    expect(outcome).toEqual({ status: 'accepted', planId: negotiationId });
    await expect
      .poll(() => mesh.ask({ ask: 'negotiation-show', negotiationId, waitMs: 500 }))
      .toMatchObject({ isOver: true });
  }
  const plan = await mesh.approvedPlan([1]);
  expect(await mesh.execute(plan)).toMatchObject({ status: 'accepted' });
  await mesh.until(plan.planId, [...ended]);
});

it('who is revoked is not heard any more, nor waited for', async () => {
  await mesh.offer('op-1', bytesOf(await revocationOf(mesh.world, 'phi-a')));
  await expect
    .poll(() =>
      mesh.running().every((id) => mesh.trustOf(id).agent('phi-a')?.revokedAtMs !== undefined),
    )
    .toBe(true);
  const plan = await mesh.approvedPlan([1]);
  expect(await mesh.execute(plan)).toMatchObject({ status: 'accepted' });
  await mesh.until(plan.planId, [...ended]);
  const keys = (await mesh.ask({ ask: 'keys-list' })) as { layers: { agentId: string }[] };
  expect(keys.layers.map(({ agentId }) => agentId)).not.toContain('phi-a');
  await expect(mesh.plan([6])).rejects.toThrow('ORCH-8007: layer 6 has no agent');
});

it('a stored copy that was altered is refused at the start, and moving it away leads back', async () => {
  const next = await amended(mesh.world, mesh.world.trust.policy);
  await adopt(mesh, 'op-1', next);
  await mesh.stopAgent('signer');
  const file = `${mesh.folder}/signer/trust.json`;
  writeFileSync(file, readFileSync(file, 'utf8').replace('development-pqc', 'development-xyz'));
  await expect(mesh.startAgent('signer')).rejects.toMatchObject({ code: 'ORCH-8010', file });
  rmSync(file);
  await mesh.startAgent('signer');
  expect(mesh.trustOf('signer').policy.version).toBe(2);
});
