/**
 * An orchestrator that was stolen begins rotations for healing actions as it likes: dated back or ahead,
 * several for one action, for actions that are old, or under keys that are gone. The auditor accepts none
 * of them, and whoever verifies the log later comes to the same.
 */

import { afterAll, beforeAll, expect, it } from 'vitest';
import type { HealingClaim } from '#schemas/healing.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import { members } from '#cli/mesh/members.ts';
import { requestOfClaim } from '#shared/core/healing.ts';
import { planRotation } from '#shared/core/planner.ts';
import { localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import { checkMaterial, checkpointOver } from './exports.ts';
import { crypto, inspection, Stage, tell, type Told } from './story.ts';

const minuteMs = 60_000;
const healer = 'self-healing-a';
const few = members.filter(
  ({ kind, layer }) => kind !== 'layer' || (layer ?? 0) >= 6 || layer === 4,
);
const keyInUse = 'a'.repeat(64);

let stage: Stage;
let turned: Told;
let plans = 0;
/** Leaf of the last entry. */
let last = 0;

beforeAll(async () => {
  stage = await Stage.open({ members: few });
  // Of an operator; it destroys the key that layer 7 signed with so far.
  turned = await tell(stage, { planId: 'plan-a', layers: [7] });
});

afterAll(async () => {
  await stage.close();
});

function claimOf(actionId: string, found: { layers?: LayerNumber[]; agoMs?: number } = {}) {
  const numbers = { observed: 1, expected: 0, threshold: 0.1, samples: 9, windowMs: 0 };
  const place = { agentId: 'phi-a', layer: 6, metric: 'failure-ratio', rule: 'ratio' } as const;
  const atMs = stage.world.clock.nowMs() - (found.agoMs ?? 0);
  const action = { kind: 'emergency-rotation', withDependants: true } as const;
  return {
    actionId,
    anomalies: [{ ...place, ...numbers, atMs }],
    action: { ...action, layers: found.layers ?? [6] },
  } satisfies HealingClaim;
}

/** In the name of layer 7's agent. What the slot's key says is for orchestrators to check. */
function ask(claim: HealingClaim, keyId = keyInUse): Promise<string> {
  const signature = {
    version: 1,
    keyId,
    publicKey: new Uint8Array(2592),
    value: new Uint8Array(4627),
  };
  return stage.say(healer, {
    type: 'healing-action-requested',
    subject: stage.subjects.healing(healer),
    channel: 'layer-7',
    body: { claim, signature },
  });
}

/** A plan as the signer states it at `plannedMs` from now, and its entry, dated `datedMs` from now. */
async function draft(
  request: string,
  claim: HealingClaim,
  { plannedMs = 0, datedMs = 0 }: { plannedMs?: number; datedMs?: number } = {},
) {
  const { trust, clock, mesh, keys } = stage.world;
  const nowMs = clock.nowMs() + plannedMs;
  const agents = trust
    .agents()
    .flatMap(({ agentId, layer }) => (layer === undefined ? [] : [{ agentId, layer }]));
  plans += 1;
  const planId = `healing-${plans}`;
  const planned = planRotation({
    request: requestOfClaim(claim, agents),
    isHealing: true,
    requestHash: request,
    requester: { agentId: healer, capabilities: [] },
    requestedAtMs: nowMs,
    planId,
    mesh,
    nowMs,
    inspections: agents.map(inspection),
    agents,
    policy: trust.policy,
    registry: trust.registry,
    digests: {
      registry: trust.registryDigest,
      policy: trust.policyDigest,
      enrolments: trust.enrolmentsDigest,
    },
  });
  const key = keys.get('orchestration');
  if ('refused' in planned || key === undefined) throw new Error('nothing is planned');
  const plan = await signDocument(planned.plan, [localSigner(crypto, key)]);
  const place = { saga: 'rotation', sagaId: planId, index: 0, previous: '0'.repeat(64) } as const;
  const event = { type: 'plan-drafted', plan, atMs: clock.nowMs() + datedMs } as const;
  const { hash, receipt } = await stage.offer({ ...place, consumed: [request], event });
  last = receipt.leafIndex;
  return { planId, hash, verdict: receipt.verdict };
}

async function comesToNothing(sagaId: string, previous: string): Promise<void> {
  const atMs = stage.world.clock.nowMs();
  const refusal = { code: 'ORCH-8007', reason: 'not ready', atMs } as const;
  const place = { saga: 'rotation', sagaId, index: 1, previous } as const;
  await stage.append({ ...place, consumed: [], event: { type: 'plan-refused', ...refusal } });
}

it('an entry that is dated otherwise than its plan or its event begins nothing', async () => {
  const claim = claimOf('heal-dates');
  const request = await ask(claim);
  for (const dates of [
    // So long ago that the next rotation would be free to begin.
    { datedMs: -16 * minuteMs },
    // So late that the one before would count as long ago.
    { datedMs: 16 * minuteMs },
    // Both as one wants them: the event itself was received when it was.
    { plannedMs: -16 * minuteMs, datedMs: -16 * minuteMs },
    { plannedMs: 16 * minuteMs, datedMs: 16 * minuteMs },
    // A plan that was kept for later.
    { plannedMs: -5 * minuteMs },
  ]) {
    expect((await draft(request, claim, dates)).verdict, JSON.stringify(dates)).toBe('refused');
  }
});

it('a claim that is old, or under a key that was destroyed, begins nothing', async () => {
  const old = claimOf('heal-old', { agoMs: 16 * minuteMs });
  expect((await draft(await ask(old), old)).verdict).toBe('refused');
  const early = claimOf('heal-early', { agoMs: -2 * minuteMs });
  expect((await draft(await ask(early), early)).verdict).toBe('refused');
  const slot = turned.state.slots.find((each) => each.slot === '7/healing-signature');
  expect(slot?.retired.length).toBeGreaterThan(0);
  const claim = claimOf('heal-gone');
  const gone = await ask(claim, slot?.checkpoint.keyId);
  expect((await draft(gone, claim)).verdict).toBe('refused');
});

it('a layer whose dependants nobody serves is turned without them', async () => {
  const claim = claimOf('heal-alone', { layers: [4] });
  const { planId, hash, verdict } = await draft(await ask(claim), claim);
  expect(verdict).toBe('accepted');
  await comesToNothing(planId, hash);
});

it('an action is answered by one plan, however often it is asked for', async () => {
  const claim = claimOf('heal-once', { layers: [6] });
  const request = await ask(claim, turned.state.slots[0]?.candidate?.keyId);
  const first = await draft(request, claim);
  expect(first.verdict).toBe('accepted');
  // It comes to nothing, so that only the action itself speaks against another.
  await comesToNothing(first.planId, first.hash);
  const elsewhere = { ...claim, action: { ...claim.action, layers: [7 as const] } };
  expect((await draft(request, elsewhere)).verdict).toBe('refused');
  expect((await draft(await ask(elsewhere), elsewhere)).verdict).toBe('refused');
  const other = { ...elsewhere, actionId: 'heal-twice' };
  expect((await draft(await ask(other), other)).verdict).toBe('accepted');
});

it('the log holds on its own, and does not where it says that one of them counted', async () => {
  const checkpoint = await stage.checkpoint();
  const records = (await stage.records()).slice(0, checkpoint.body.tree_size);
  const verdict = await checkMaterial({ world: stage.world, records, checkpoints: [checkpoint] });
  expect(verdict).toMatchObject({ ok: true, refused: 10 });
  const refused = records.filter((record) => record.verdict === 'refused');
  for (const { leafIndex } of [refused.at(0), refused.at(5), refused.at(-1)].map(
    (each) => each ?? { leafIndex: -1 },
  )) {
    const turned = records.map((record) =>
      record.leafIndex === leafIndex ? { ...record, verdict: 'accepted' as const } : record,
    );
    const checkpoints = [await checkpointOver(stage.world, turned)];
    const { meaning } = await checkMaterial({ world: stage.world, records: turned, checkpoints });
    expect(meaning).toMatchObject({ ok: false, code: 'NOT_ACCEPTABLE', leafIndex });
  }
  expect(last).toBeGreaterThan(0);
});
