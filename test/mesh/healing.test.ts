/** Anomalies in telemetry become one emergency rotation, under the policy's approvals of emergencies. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { signClaim } from '#agents/layers/7-self-healing/claim-signing.ts';
import type { HealingActionRequested, HealingClaim } from '#schemas/healing.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { writeExport } from '#shared/crypto/audit-export.ts';
import { verifyAuditFile } from '#shared/crypto/audit-verify.ts';
import { auditOf } from '../histories/audit-of.ts';
import { adopt, amended, bytesOf, revocationOf } from '../support/documents.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';
import { KeyLoad } from '../support/key-load.ts';
import { crypto } from '../support/world.ts';

interface Listed {
  readonly planId: string;
  readonly planDigest: string;
  readonly phase: RotationPhase;
  readonly rotationType: string;
  readonly layers: number[];
  readonly requestedBy: string;
  readonly awaitsApprovals?: number;
}

let mesh: InMemoryMesh;
let load: KeyLoad;

const done = ['committed', 'retiring', 'retired'] as const;

async function started(emergencyApprovals: number, takeoverMs = 500): Promise<void> {
  load = new KeyLoad();
  const { adapterOf } = load;
  mesh = await InMemoryMesh.start({ heartbeatMs: 20, takeoverMs, adapterOf });
  const { policy } = mesh.world.trust;
  const next = await amended(mesh.world, policy, (draft) => {
    draft.policies.rotation.approvals.emergency = emergencyApprovals;
  });
  await adopt(mesh, 'op-1', next);
}

async function learnt(): Promise<void> {
  load.start({ turnMs: 20, usesPerTurn: 4 });
  await load.learnt(mesh);
}

function claimOf(actionId: string, layers: LayerNumber[]): HealingClaim {
  const anomaly = {
    agentId: 'phi-a',
    layer: 6,
    metric: 'failure-ratio',
    rule: 'ratio',
    observed: 1,
    expected: 0,
    threshold: 0.1,
    samples: 1,
    windowMs: 0,
    atMs: mesh.world.clock.nowMs(),
  } as const;
  const action = { kind: 'emergency-rotation', layers, withDependants: true } as const;
  return { actionId, anomalies: [anomaly], action };
}

const signingPorts = () => ({ crypto, clock: mesh.world.clock });

/** In the name of layer 7's agent, as who has stolen it. */
async function ask(body: HealingActionRequested): Promise<string> {
  const subject = subjectsOf(mesh.world.mesh).healing('self-healing-a');
  const event = { type: 'healing-action-requested', subject, channel: 'layer-7', body } as const;
  return (await mesh.principal('self-healing-a').publish(event)).hash;
}

/** What anyone who holds the export alone makes of it. */
async function verified() {
  const { checkpoint, records } = await auditOf(mesh);
  const { bundle, rootDigest, mesh: name } = mesh.world;
  const { auditor } = checkpoint.body;
  const checkpoints = () => [checkpoint];
  const chunks = writeExport({ auditor, mesh: name, bundle, records, checkpoints });
  const addressesOf = (of: string) => (subject: string) => subjectsOf(of).parse(subject);
  return verifyAuditFile(crypto, { chunks, rootDigest, addressesOf });
}

const rotations = async (): Promise<Listed[]> =>
  (await mesh.ask({ ask: 'rotation-list' })) as Listed[];

async function firstRotation(): Promise<Listed> {
  const deadlineMs = Date.now() + 30_000;
  for (;;) {
    const [first] = await rotations();
    if (first !== undefined) return first;
    if (Date.now() > deadlineMs) throw new Error('nothing was asked for');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

afterEach(async () => {
  load.stop();
  await mesh.stop();
});

describe('where the policy wants no approvals of emergencies', () => {
  beforeEach(() => started(0));
  beforeEach(() => learnt());

  it('a storm over all layers is one rotation of all of them, at once', async () => {
    load.fail([1, 2, 3, 4, 5, 6, 7], 0.6);
    const { planId, rotationType, requestedBy } = await firstRotation();
    expect([rotationType, requestedBy]).toEqual(['emergency', 'self-healing-a']);
    expect(done).toContain((await mesh.until(planId, [...done, 'rolled_back'])).phase);
    // The new keys fail as well: within the emergency time nothing is turned again.
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const { layers } = (await firstRotation()) as Listed;
    expect(await rotations()).toHaveLength(1);
    expect(layers).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(await verified()).toMatchObject({ ok: true, undisclosed: 0 });
  });

  it('an anomaly of identity turns what depends on it too, and nothing else', async () => {
    load.fail([1], 0.6);
    const { planId, layers } = await firstRotation();
    expect(layers).toEqual([1, 2]);
    load.heal();
    expect(done).toContain((await mesh.until(planId, [...done, 'rolled_back'])).phase);
    expect(await mesh.versions()).toMatchObject({
      '1/identity-signature': 2,
      '2/nonce-mac': 2,
      '3/tls-certificate': 1,
    });
  });

  it('a claim that no key of the slot signed is refused', async () => {
    const signature = {
      version: 1,
      keyId: '0'.repeat(64),
      publicKey: crypto.randomBytes(2592),
      value: crypto.randomBytes(4627),
    };
    const request = await ask({ claim: claimOf('heal-forged', [6]), signature });
    const query = { ask: 'request-outcome', request, waitMs: 5_000 } as const;
    expect(await mesh.ask(query)).toMatchObject({ status: 'refused', code: 'ORCH-8015' });
    expect(await rotations()).toEqual([]);
  });
});

describe('where the only agent of a dependent layer was revoked', () => {
  beforeEach(() => started(0));

  it.each([
    { revoked: 'database-a', layer: 4 },
    { revoked: 'authorization-a', layer: 1 },
  ] as const)('layer $layer is turned without $revoked', async ({ revoked, layer }) => {
    await mesh.offer('op-1', bytesOf(await revocationOf(mesh.world, revoked)));
    const know = () => mesh.running().every((id) => mesh.trustOf(id).isRevoked(revoked));
    await expect.poll(know).toBe(true);
    const claim = claimOf('heal-1', [layer]);
    const request = await ask({
      claim,
      signature: signClaim(load.adapter(7), signingPorts(), claim),
    });
    const query = { ask: 'request-outcome', request, waitMs: 5_000 } as const;
    expect(await mesh.ask(query)).toMatchObject({ status: 'accepted' });
    const { planId, layers } = await firstRotation();
    expect(layers).toEqual([layer]);
    expect(done).toContain((await mesh.until(planId, [...done, 'rolled_back'])).phase);
    expect(await verified()).toMatchObject({ ok: true });
  });
});

describe('a thief of layer 7, with its keys', () => {
  // Both orchestrators act on everything at once, so that each begins what the other does not know of.
  beforeEach(() => started(0, 0));

  it('turns each layer once, however often and for whatever layers he asks', async () => {
    const keys = load.adapter(7);
    const asked = ([[1], [2], [1, 2], [6], [6, 7], [5], [1, 6]] as LayerNumber[][]).map(
      async (layers, index) => {
        const claim = claimOf(`heal-${index}`, layers);
        return ask({ claim, signature: signClaim(keys, signingPorts(), claim) });
      },
    );
    const requests = await Promise.all(asked);
    const outcomes: { status: string; planId?: string; code?: string }[] = [];
    for (const request of requests) {
      const query = { ask: 'request-outcome', request, waitMs: 5_000 } as const;
      let outcome = (await mesh.ask(query)) as (typeof outcomes)[number];
      while (outcome.status === 'pending') outcome = (await mesh.ask(query)) as typeof outcome;
      outcomes.push(outcome);
      if (outcome.planId === undefined) continue;
      await mesh.until(outcome.planId, [...done, 'rolled_back']);
    }
    expect(outcomes.some(({ status }) => status === 'accepted')).toBe(true);
    const begun = await rotations();
    const turned = begun.flatMap(({ layers }) => layers);
    expect(new Set(turned).size).toBe(turned.length);
    const versions = Object.values(await mesh.versions());
    expect(Math.max(...versions)).toBe(2);
  });
});

describe('where the policy wants an approval', () => {
  beforeEach(() => started(1));
  beforeEach(() => learnt());

  it('the rotation waits for it, and then waits for nobody', async () => {
    load.fail([6], 0.6);
    const { planId } = await firstRotation();
    const { planDigest } = await mesh.until(planId, ['validated']);
    expect(await firstRotation()).toMatchObject({ phase: 'validated', awaitsApprovals: 1 });
    load.heal();
    const outcome = await mesh.request('op-2', 'plan-approved', { planId, planDigest });
    expect(outcome).toMatchObject({ status: 'accepted' });
    expect(done).toContain((await mesh.until(planId, [...done, 'rolled_back'])).phase);
  });
});
