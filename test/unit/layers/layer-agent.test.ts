/**
 * Steps of a rotation at one owner and one verifier: the way forward, the way back, and fences. The
 * cryptography is the simulator's.
 */
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { AdapterError } from '#agents/layers/adapter.ts';
import type { World } from '../../support/world.ts';
import { Actor, standingIn } from './actor.ts';
import { Director, cheapStageWorld } from './director.ts';

const token = '1/session-token';
const identity = '1/identity-signature';

let world: World;
let owner: Actor;
let verifier: Actor;
let director: Director;
let rotations = 0;

beforeAll(async () => {
  world = await cheapStageWorld();
});

beforeEach(async () => {
  owner = new Actor(world, 'identity-a', 1);
  verifier = new Actor(world, 'authorization-a', 2);
  director = await newRotation();
});

afterEach(() => {
  owner.end();
  verifier.end();
});

describe('the way forward', () => {
  test('every step from the preparation to the retirement', async () => {
    const prepared = await director.succeed(owner, 'prepare');
    expect(prepared.slots.map(({ slot, version }) => `${slot}:${version}`)).toEqual([
      `${identity}:2`,
      `${token}:2`,
    ]);
    expect(prepared.slots[0]?.publicKey?.length).toBe(2592);
    expect(await owner.states(token)).toEqual(['2:prepared', '1:primary']);
    expect(owner.store.holderOf(token)).toBe(director.planId);

    const accepted = await director.succeed(verifier, 'accept');
    expect(accepted.slots.map(({ keyId }) => keyId)).toEqual(
      prepared.slots.map(({ keyId }) => keyId),
    );
    const newKey = prepared.slots[1]?.keyId ?? '';
    expect(verifier.store.peerKey(token, newKey)).toMatchObject({ version: 2, state: 'accepted' });

    const activated = await director.succeed(owner, 'activate');
    expect(activated.slots[0]?.proof?.length).toBe(4627);
    expect(await owner.states(token)).toEqual(['2:primary', '1:accepted']);

    expect((await director.succeed(owner, 'verify')).slots).toHaveLength(2);
    expect((await director.succeed(verifier, 'verify')).slots).toHaveLength(2);
    const measured = await director.succeed(owner, 'measure');
    expect(measured.slots[0]?.samples).toEqual({
      operations: 0,
      failures: 0,
      latencyPercent: 100,
    });

    const released = await director.succeed(owner, 'release');
    expect(released.slots.map(({ version, inUse }) => [version, inUse])).toEqual([
      [1, 0],
      [1, 0],
    ]);
    await director.succeed(verifier, 'release');
    expect(owner.store.holderOf(token)).toBeUndefined();
    expect((await director.succeed(owner, 'retire')).slots[0]).toMatchObject({ version: 1 });
    await director.succeed(verifier, 'retire');
    expect(await owner.states(token)).toEqual(['2:primary']);
    expect(verifier.store.holderOf(token)).toBeUndefined();
  });

  test('every kind of key, each layer by itself', async () => {
    const members = [
      [3, 'network-a'],
      [4, 'encryption-a'],
      [6, 'phi-a'],
    ] as const;
    for (const [layer, agentId] of members) {
      const actor = new Actor(world, agentId, layer);
      const dependants = layer === 4 ? [new Actor(world, 'database-a', 5)] : [];
      const single = await Director.plan(world, [actor, ...dependants], {
        planId: `layer-${layer}-alone`,
        layers: [layer],
      });
      await single.succeed(actor, 'prepare');
      for (const each of dependants) await single.succeed(each, 'accept');
      await single.succeed(actor, 'activate');
      for (const each of [actor, ...dependants]) await single.succeed(each, 'verify');
      for (const each of [actor, ...dependants]) await single.succeed(each, 'release');
      for (const each of [actor, ...dependants]) await single.succeed(each, 'retire');
      for (const { slot } of single.keys) {
        expect(await actor.states(slot)).toEqual(['2:primary']);
      }
      for (const each of [actor, ...dependants]) each.end();
    }
  });

  test('a key that is still used is not destroyed', async () => {
    await forward();
    await director.succeed(verifier, 'release');
    await director.succeed(owner, 'release');
    await director.succeed(owner, 'retire', { slots: [identity] });
    owner.begin({ adapter: (adapter) => standingIn(adapter, { usesLately: async () => 3 }) });
    const { report } = await director.step(owner, 'retire', { slots: [token] });
    expect(report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8007' });
    expect(await owner.states(token)).toEqual(['2:primary', '1:accepted']);
  });
});

describe('the way back', () => {
  test('before anything was active: the new key goes', async () => {
    await director.succeed(owner, 'prepare');
    await director.succeed(verifier, 'accept');
    const discarded = { phase: 'rolling_back' } as const;
    await director.succeed(owner, 'discard', discarded);
    await director.succeed(verifier, 'discard', discarded);
    expect(await owner.states(token)).toEqual(['1:primary']);
    expect(owner.store.holderOf(token)).toBeUndefined();
    const next = await newRotation();
    const prepared = await next.succeed(owner, 'prepare');
    expect(prepared.slots.map(({ version }) => version)).toEqual([3, 3]);
  });

  test('after an activation: the old key is primary again, the new one goes later', async () => {
    await forward();
    const back = await director.succeed(owner, 'rollback');
    expect(back.slots.map(({ version, keyId }) => [version, keyId])).toEqual(
      director.keys.map(({ version, key_id: keyId }) => [version, keyId]),
    );
    expect(await owner.states(token)).toEqual(['2:withdrawn', '1:primary']);
    await director.succeed(verifier, 'rollback');
    expect(owner.store.holderOf(token)).toBeUndefined();
    await director.succeed(owner, 'discard');
    await director.succeed(verifier, 'discard');
    expect(await owner.states(token)).toEqual(['1:primary']);
  });

  test('nothing of the rotation ever reached the agent: harmless', async () => {
    const discarded = await director.succeed(owner, 'discard');
    expect(discarded.slots).toEqual([]);
    const back = await director.succeed(owner, 'rollback');
    expect(back.slots.map(({ version }) => version)).toEqual([1, 1]);
    expect(await owner.states(token)).toEqual(['1:primary']);
  });

  test('a lockout is left only with an approved recovery', async () => {
    await forward();
    await director.succeed(owner, 'freeze');
    expect((await owner.agent.inspect()).ready).toBe(false);
    const { report } = await director.step(owner, 'rollback');
    expect(report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8006' });
    const recovery = await director.recovery();
    await director.succeed(owner, 'rollback', { change: (body) => ({ ...body, recovery }) });
    expect(await owner.states(token)).toEqual(['2:withdrawn', '1:primary']);
    expect((await owner.agent.inspect()).ready).toBe(true);
  });
});

describe('a command that comes again', () => {
  test('redelivered: the same report, one effect', async () => {
    const first = await director.step(owner, 'prepare');
    const again = await director.again(owner, first.sent);
    expect(again.disposition).toBe('ack');
    expect(again.report?.body).toEqual(first.report?.body);
    expect(again.report?.disclosure.seal).not.toEqual(first.report?.disclosure.seal);
    expect(await owner.states(token)).toEqual(['2:prepared', '1:primary']);
  });

  test('sent again under its id, after a restart and by another orchestrator', async () => {
    const body = await director.body(owner, 'prepare');
    await owner.agent.handle(director.message(owner, body));
    const [first] = owner.reports();
    owner.begin();
    const resent = { ...body, sagaIndex: body.sagaIndex + 5 };
    const other = world.principal('orchestrator-b');
    await owner.agent.handle(director.message(owner, resent, other));
    const [second] = owner.reports();
    expect(second?.body).toEqual(first?.body);
    expect(await owner.states(token)).toEqual(['2:prepared', '1:primary']);
  });

  test('the same step under a new id makes the same key', async () => {
    const first = await director.succeed(owner, 'prepare');
    const second = await director.succeed(owner, 'prepare');
    expect(second.slots.map(({ keyId }) => keyId)).toEqual(first.slots.map(({ keyId }) => keyId));
  });

  test('an overtaken command is fenced out, what is done already is only told again', async () => {
    const late = await director.body(owner, 'prepare');
    const first = await director.step(owner, 'prepare');
    const { report } = await (async () => {
      await owner.agent.handle(director.message(owner, { ...late, commandId: 'late-1' }));
      return { report: owner.reports().at(-1) };
    })();
    expect(report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8005' });
    expect((await director.again(owner, first.sent)).report?.body.status).toBe('done');
  });
});

describe('two rotations and one slot', () => {
  test('the second is refused while the first is under way', async () => {
    await director.succeed(owner, 'prepare');
    const second = await newRotation();
    const { report } = await second.step(owner, 'prepare');
    expect(report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8004' });
    expect(await owner.states(token)).toEqual(['2:prepared', '1:primary']);
  });

  test('it may begin in the overlap of the first, from the key that the first made', async () => {
    const first = director;
    await forward();
    const second = await newRotation();
    const prepared = await second.succeed(owner, 'prepare');
    expect(prepared.slots.map(({ version }) => version)).toEqual([3, 3]);
    await second.succeed(verifier, 'accept');
    const refused = await first.step(owner, 'rollback');
    expect(refused.report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8004' });
    for (const actor of [owner, verifier]) await first.succeed(actor, 'release');
    for (const actor of [owner, verifier]) await first.succeed(actor, 'retire');
    expect(owner.store.holderOf(token)).toBe(second.planId);
    await second.succeed(owner, 'activate');
    expect(await owner.states(token)).toEqual(['3:primary', '2:accepted']);
  });
});

describe('faults of the key store', () => {
  test('one that refuses a change fails the step; the next try succeeds', async () => {
    await director.succeed(owner, 'prepare');
    await director.succeed(verifier, 'accept');
    const outsider = new DatabaseSync(owner.keystorePath);
    outsider.exec(`CREATE TRIGGER refusing BEFORE UPDATE ON versions
      BEGIN SELECT RAISE(ABORT, 'not now'); END`);
    const failed = await director.step(owner, 'activate');
    expect(failed.report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8005', slots: [] });
    expect(await owner.states(token)).toEqual(['2:prepared', '1:primary']);
    const again = await director.again(owner, failed.sent);
    expect(again.report?.body).toEqual(failed.report?.body);
    outsider.exec('DROP TRIGGER refusing');
    outsider.close();
    await director.succeed(owner, 'activate');
    expect(await owner.states(token)).toEqual(['2:primary', '1:accepted']);
  });

  test('one that is locked for a while is waited for', async () => {
    const outsider = new DatabaseSync(owner.keystorePath);
    outsider.exec('BEGIN IMMEDIATE');
    const started = performance.now();
    const step = director.step(owner, 'prepare');
    setTimeout(() => outsider.exec('ROLLBACK'), 50);
    const { report } = await step;
    expect(report?.body.status).toBe('done');
    expect(performance.now() - started).toBeLessThan(10_000);
    outsider.close();
  });

  test('one that stays locked fails the step within a bounded time', async () => {
    const outsider = new DatabaseSync(owner.keystorePath);
    outsider.exec('BEGIN IMMEDIATE');
    const { report } = await director.step(owner, 'prepare');
    expect(report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8007' });
    outsider.exec('ROLLBACK');
    outsider.close();
    await director.succeed(owner, 'prepare');
  });

  test('an agent whose own store is locked keeps the command and does it later', async () => {
    const sent = director.message(owner, await director.body(owner, 'prepare'));
    owner.begin({
      store: (store) =>
        standingIn(store, {
          recordIntent: () => {
            throw new AdapterError('STORE_FAILED', 'locked', { retryable: true });
          },
        }),
    });
    expect(await owner.agent.handle(sent)).toEqual({ retryAfterMs: 1000 });
    expect(owner.reports()).toEqual([]);
    owner.begin();
    expect((await director.again(owner, sent)).report?.body.status).toBe('done');
  });
});

async function newRotation(): Promise<Director> {
  rotations += 1;
  const planId = `rotation-${rotations}`;
  return await Director.plan(world, [owner, verifier], { planId, layers: [1] });
}

/** Up to and including the verification. */
async function forward(): Promise<void> {
  await director.succeed(owner, 'prepare');
  await director.succeed(verifier, 'accept');
  await director.succeed(owner, 'activate');
  await director.succeed(owner, 'verify');
  await director.succeed(verifier, 'verify');
}
