/** What whoever has stolen layer 7's agent gets past an orchestrator by repeating what was said before. */

import { beforeAll, beforeEach, expect, it } from 'vitest';
import type { HealingClaim } from '#schemas/healing.ts';
import { nothingAdvertised } from '#schemas/negotiation.ts';
import { HealingDesk } from '#agents/orchestrator/healing-desk.ts';
import { beginRotation } from '#shared/core/rotation/begin.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { healingContext, healingMessage } from '#shared/crypto/healing-signature.ts';
import type { ReceivedEvent } from '#shared/runtime/exchange.ts';
import { crypto, makeWorld, type World } from '../../support/world.ts';
import { agentsOf, inspectionOf, planOf, requestOf, signed } from '../core/mesh.ts';
import { ManualClock } from '../runtime/manual-clock.ts';

const minuteMs = 60_000;
const healer = 'self-healing-a';
const key = crypto.importSigningSeed(crypto.randomBytes(32));
const oldKey = crypto.importSigningSeed(crypto.randomBytes(32));
const keyIdOf = ({ publicKey }: typeof key) => toHex(crypto.sha3_256(publicKey.raw));

let world: World;
let clock: ManualClock;
let desk: HealingDesk;
let rotations: RotationState[];
let events = 0;

beforeAll(async () => {
  world = await makeWorld();
});

beforeEach(() => {
  clock = new ManualClock();
  rotations = [];
  // Layer 7 says of itself that both keys are primary in its slot.
  const slots = [key, oldKey].map((each) => ({
    ...inspectionOf({ agentId: healer, layer: 7 }).slots[0],
    keyId: keyIdOf(each),
  }));
  const result = { ...inspectionOf({ agentId: healer, layer: 7 }), ...nothingAdvertised, slots };
  const exchange = { ask: async () => ({ ok: true as const, result }) };
  const ports = { trust: world.trust, clock, crypto, exchange };
  desk = new HealingDesk(ports, () => rotations);
});

function claimOf(actionId: string, agoMs = 0): HealingClaim {
  const numbers = { observed: 1, expected: 0, threshold: 0.1, samples: 9, windowMs: 0 };
  const place = { agentId: 'phi-a', layer: 6, metric: 'failure-ratio', rule: 'ratio' } as const;
  return {
    actionId,
    anomalies: [{ ...place, ...numbers, atMs: clock.nowMs() - agoMs }],
    action: { kind: 'emergency-rotation', layers: [6], withDependants: true },
  };
}

/** An event of its own with the claim; what becomes of it. */
async function ask(claim: HealingClaim, by = key, hash = `event-${(events += 1)}`) {
  const value = crypto.sign(by, { message: healingMessage(claim), context: healingContext });
  const signature = { version: 1, keyId: keyIdOf(by), publicKey: by.publicKey.raw, value };
  const event = { hash, header: { timeMs: clock.nowMs() }, body: { claim, signature } };
  return desk.attend(event as ReceivedEvent<'healing-action-requested'>, async () => undefined);
}

/** A rotation of layer 7 that has turned `oldKey` into `key`; destroyed it, where it says so. */
function turned(isRetired: boolean): RotationState {
  const agents = agentsOf([7]);
  const inspections = agents.map(inspectionOf);
  const plan = planOf({ agents, inspections, request: requestOf([7]) });
  const opening = { sagaId: plan.rotation_plan_id, planDigest: '', entryHash: '' };
  const event = { type: 'plan-drafted', atMs: 0, plan: signed(plan) } as const;
  const state = beginRotation(opening, { index: 0, consumed: [], event });
  const acknowledged = [{ agentId: healer, report: 'report' }];
  const slots = state.slots.map((progress) => ({
    ...progress,
    checkpoint: { keyId: keyIdOf(oldKey), version: 1 },
    candidate: { keyId: keyIdOf(key), version: 2, publicDigest: '' },
    activated: acknowledged,
    retired: isRetired ? acknowledged : [],
  }));
  return { ...state, phase: isRetired ? 'retired' : 'committed', slots };
}

it('an action is asked for by one event, and the same event may come again', async () => {
  const claim = claimOf('heal-1');
  expect(await ask(claim, key, 'first')).toBeUndefined();
  expect(await ask(claim, key, 'first')).toBeUndefined();
  expect(await ask(claim)).toMatchObject({ code: 'ORCH-8009' });
  expect(await ask({ ...claim, actionId: 'heal-2' })).toBeUndefined();
  await clock.advance(14 * minuteMs);
  expect(await ask(claim)).toMatchObject({ code: 'ORCH-8009' });
});

it('anomalies that are older than an emergency may last ask for nothing', async () => {
  expect(await ask(claimOf('heal-1', 14 * minuteMs))).toBeUndefined();
  const refusal = { code: 'ORCH-8015', reason: 'an anomaly of the claim is old' };
  expect(await ask(claimOf('heal-2', 16 * minuteMs))).toEqual(refusal);
  const { anomalies, ...claim } = claimOf('heal-3');
  const mixed = [...anomalies, ...claimOf('heal-3', 16 * minuteMs).anomalies];
  expect(await ask({ ...claim, anomalies: mixed })).toEqual(refusal);
  expect(await ask(claimOf('heal-4', -minuteMs))).toMatchObject({ code: 'ORCH-8015' });
});

it('a key that a rotation destroyed vouches for nothing, whatever layer 7 says of itself', async () => {
  rotations = [turned(false)];
  expect(await ask(claimOf('heal-1'), oldKey)).toBeUndefined();
  rotations = [turned(true)];
  expect(await ask(claimOf('heal-2'), oldKey)).toMatchObject({ code: 'ORCH-8015' });
  expect(await ask(claimOf('heal-3'))).toBeUndefined();
  // A rotation that went back left the same key where it was; another destroyed it since.
  rotations = [{ ...turned(false), phase: 'rolled_back' }, turned(true)];
  expect(await ask(claimOf('heal-4'), oldKey)).toMatchObject({ code: 'ORCH-8015' });
});
