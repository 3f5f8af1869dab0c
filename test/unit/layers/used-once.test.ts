/**
 * What is good once, at the moment of its end, after it, and when a clock goes back: nonces, login
 * challenges, codes of a second factor. And questions that are asked again because an answer was lost.
 */
import { DatabaseSync } from 'node:sqlite';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ReplayStore, repeatedWithinMs } from '#agents/layers/2-authorization/replay-store.ts';
import { checkToken } from '#agents/layers/service/token-check.ts';
import { rememberedAfterEndMs } from '#agents/layers/service/used-once.ts';
import { keySetCheck, sessionToken } from '#schemas/identity.ts';
import type { RunningService } from '../../support/layer-service.ts';
import { SetClock } from '../runtime/set-clock.ts';
import {
  capabilitiesFor,
  challengeFor,
  codeOf,
  done,
  enrol,
  introspected,
  login,
  logIn,
  settings,
  startIdentity,
  startLayers,
  TestUser,
  type Layers,
} from './identity-world.ts';

describe('a nonce', () => {
  const startMs = new SetClock().nowMs();
  const world = (spentMax = 100) => {
    const clock = new SetClock();
    const database = new DatabaseSync(':memory:');
    const store = ReplayStore.open({ database: () => database }, { clock, spentMax });
    const spend = (first: number, endMs = 1_000, question?: number) =>
      store.spend({
        id: new Uint8Array(16).fill(first),
        generation: 0,
        expiresAtMs: startMs + endMs,
        ...(question === undefined ? {} : { question: new Uint8Array(32).fill(question) }),
      });
    return { clock, store, spend };
  };

  test('is over at its end, also where that comes between the check and the use', async () => {
    const { clock, store, spend } = world();
    expect(await spend(1)).toBe('fresh');
    clock.set(999);
    expect([await spend(2), await spend(1)]).toEqual(['fresh', 'replayed']);
    const late = spend(3);
    clock.set(1);
    expect(await late).toBe('expired');
    expect([await spend(1), await spend(4)]).toEqual(['expired', 'expired']);
    store.close();
  });

  test('that was forgotten stays over when the clock goes back', async () => {
    const { clock, store, spend } = world();
    expect(await spend(1)).toBe('fresh');
    expect(await spend(2, 5_000)).toBe('fresh');
    clock.set(1_000 + rememberedAfterEndMs);
    expect(await spend(3, 60_000)).toBe('fresh');
    expect(store.count).toBe(2);
    clock.set(-rememberedAfterEndMs);
    expect(await spend(1)).toBe('expired');
    // What was not forgotten is known; what ends later is as good as ever.
    expect([await spend(2, 5_000), await spend(4, 1_001)]).toEqual(['replayed', 'fresh']);
    expect(store.generation()).toBe(0);
    // Behind the end of what was forgotten everything is over that was made before.
    clock.set(-1);
    const all = [spend(1), spend(2, 5_000), spend(5, 1_001)];
    expect(await Promise.all(all)).toEqual(['expired', 'expired', 'expired']);
    expect([store.generation(), store.count]).toEqual([1, 0]);
    store.close();
  });

  test('is remembered for longer than it lasts, and a full store refuses', async () => {
    const { clock, store, spend } = world(2);
    const outcomes = [spend(1), spend(1), spend(2, 60_000), spend(3)];
    expect(await Promise.all(outcomes)).toEqual(['fresh', 'replayed', 'fresh', 'full']);
    clock.set(1_000 + rememberedAfterEndMs - 1);
    expect(await spend(4, 60_000)).toBe('full');
    clock.set(1);
    expect([await spend(4, 60_000), await spend(2, 60_000)]).toEqual(['fresh', 'replayed']);
    expect(await spend(5, 60_000)).toBe('full');
    store.close();
  });

  test('is used once by the same question, asked again soon', async () => {
    const { clock, store, spend } = world();
    const asked = (question?: number) => spend(1, 60_000, question);
    expect(await Promise.all([asked(7), asked(7), asked(8), asked()])).toEqual([
      'fresh',
      'repeated',
      'replayed',
      'replayed',
    ]);
    clock.set(repeatedWithinMs);
    expect(await asked(7)).toBe('repeated');
    clock.set(1);
    expect(await asked(7)).toBe('replayed');
    expect(await spend(2, 60_000)).toBe('fresh');
    expect(await spend(2, 60_000, 7)).toBe('replayed');
    clock.set(-repeatedWithinMs);
    expect(await asked(7)).toBe('repeated');
    clock.set(-rememberedAfterEndMs - 2);
    expect(await asked(7)).toBe('expired');
    store.close();
  });
});

describe('an introspection', () => {
  let layers: Layers;
  beforeAll(async () => {
    layers = await startLayers();
  });
  afterAll(() => layers.end());

  test('that is asked again gets the same answer, and nobody else does', async () => {
    const session = await logIn(layers);
    const scope = ['record:read', 'record:write'];
    const [token = '', other = ''] = await capabilitiesFor(layers, session, { scope, count: 2 });
    const asked = { requestId: 'r-1' };
    expect(await introspected(layers, token, asked)).toBe('ok');
    const before = layers.authorization.service.measure()['capabilities-accepted'];
    expect(await introspected(layers, token, asked)).toBe('ok');
    expect(layers.authorization.service.measure()['capabilities-accepted']).toBe(before);
    // Layer 2 may have been started anew meanwhile.
    await layers.authorization.stop();
    await layers.authorization.start();
    expect(await introspected(layers, token, asked)).toBe('ok');
    expect(await introspected(layers, token)).toBe('NONCE_REPLAYED');
    expect(await introspected(layers, token, { requestId: 'r-2' })).toBe('NONCE_REPLAYED');
    const written = { ...asked, scope: 'record:write' };
    expect(await introspected(layers, token, written)).toBe('NONCE_REPLAYED');
    expect(await introspected(layers, token, { ...asked, by: 6 })).toBe('AUDIENCE_WRONG');
    // The id is one question's, not one caller's.
    expect(await introspected(layers, other, asked)).toBe('ok');
    await layers.clock.advance(repeatedWithinMs + 1);
    expect(await introspected(layers, token, asked)).toBe('NONCE_REPLAYED');
  });

  test('and a session are over where they end while a key or a signature is looked at', async () => {
    const session = await logIn(layers);
    const answer = await done(layers.identity.client, 'GET', '/v1/jwks');
    if (!keySetCheck.check(answer)) throw new Error('no keys');
    const endMs = Number(decodeJwt(session).exp) * 1_000;
    let nowMs = endMs - 1;
    const verdict = (looks: number[]) =>
      checkToken(session, {
        ...sessionToken,
        clock: { nowMs: () => (nowMs = looks.shift() ?? nowMs) },
        keyOf: async (keyId) => {
          if (looks.length === 0) nowMs = endMs;
          return answer.keys.find(({ kid }) => kid === keyId);
        },
      });
    expect(await verdict([endMs - 1, endMs - 1])).toMatchObject({ status: 'valid' });
    expect(await verdict([endMs - 1, endMs])).toMatchObject({ fault: 'expired' });
    expect(await verdict([])).toMatchObject({ fault: 'expired' });
  });
});

describe('a login', () => {
  const clock = new SetClock();
  const user = new TestUser('nora');
  let identity: RunningService;
  beforeAll(async () => {
    ({ identity } = await startIdentity({ clock }));
    await enrol(identity.control, user);
  });
  afterAll(() => identity.end());

  test('code stays used up when its user is taken away, or gets another secret, and comes back', async () => {
    const { client, control } = identity;
    const used = async () => {
      await clock.advance(90_000);
      const otp = user.code(clock.nowMs());
      expect(codeOf(await login(client, user, { otp }))).toBe('ok');
      return { otp };
    };
    const removed = await used();
    await done(control, 'DELETE', '/v1/admin/users/nora');
    await enrol(control, user);
    expect(codeOf(await login(client, user, removed))).toBe('SECOND_FACTOR_INVALID');
    const changed = await used();
    const { key, subject } = user;
    const other: TestUser = Object.assign(new TestUser(subject), { key });
    await enrol(control, other);
    // Another secret has codes of its own.
    const first = { otp: other.code(clock.nowMs()) };
    expect(codeOf(await login(client, other, first))).toBe('ok');
    await enrol(control, user);
    expect(codeOf(await login(client, user, changed))).toBe('SECOND_FACTOR_INVALID');
    await enrol(control, other);
    expect(codeOf(await login(client, other, first))).toBe('SECOND_FACTOR_INVALID');
    await enrol(control, user);
    // Nor does a clock that goes back bring one back.
    const late = await used();
    clock.set(-20_000);
    expect(codeOf(await login(client, user, late))).toBe('SECOND_FACTOR_INVALID');
    clock.set(20_000);
    await used();
  });

  test('challenge is over at its end, and stays used when the clock goes back', async () => {
    const { client, control } = identity;
    const lax = { policyVersion: 2, policyDigest: '2'.repeat(64), mfaRequired: false };
    await done(control, 'POST', '/v1/control/configure', { ...settings, ...lax });
    const asked = async () => {
      const { challengeId, nonce, expiresAtMs } = await challengeFor(client, 'nora');
      const body = { challengeId, signature: user.sign(nonce) };
      const path = '/v1/sessions';
      const ask = async () => codeOf(await client.ask({ method: 'POST', path, body }));
      return { ask, expiresAtMs };
    };
    const first = await asked();
    expect(await first.ask()).toBe('ok');
    const span = first.expiresAtMs - clock.nowMs() + rememberedAfterEndMs;
    clock.set(span);
    // With this one the first is forgotten.
    expect(await (await asked()).ask()).toBe('ok');
    clock.set(-span);
    expect(await first.ask()).toBe('CHALLENGE_EXPIRED');
    clock.set(span);
    // It ends while the signature is looked at.
    const late = await asked();
    clock.goesOnAfterNextLook(60_000);
    expect(await late.ask()).toBe('CHALLENGE_EXPIRED');
    // Somebody who has a used one does not get its session by setting the clock back.
    const again = await asked();
    expect([await again.ask(), await again.ask()]).toEqual(['ok', 'ok']);
    clock.set(-10_000);
    expect(await again.ask()).toBe('ok');
    clock.set(-30_000);
    expect(await again.ask()).toBe('CHALLENGE_EXPIRED');
  });
});
