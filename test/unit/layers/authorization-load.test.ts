/** Requests that never pause while every key of layers 1 and 2 is turned, taken back and retired. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sessionCheck } from '#schemas/identity.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import {
  capabilitiesFor,
  codeOf,
  done,
  introspected,
  login,
  sessionMs,
  settings,
  startLayers,
  until,
  type Layers,
} from './identity-world.ts';

let layers: Layers;

beforeAll(async () => {
  layers = await startLayers();
  // Without codes, which come once in half a minute.
  const lax = { policyVersion: 2, policyDigest: '2'.repeat(64), mfaRequired: false };
  const told = { ...settings, ...lax, overlapMs: sessionMs };
  for (const { control } of [layers.identity, layers.authorization]) {
    await done(control, 'POST', '/v1/control/configure', told);
  }
});
afterAll(() => layers.end());

test('turning every slot under load fails nobody', async () => {
  const { identity, authorization, user, clock } = layers;
  const failures: string[] = [];
  let [requests, isOver, isAnswered] = [0, false, false];
  const client = async (): Promise<void> => {
    while (!isOver) {
      const answer = await login(identity.client, user);
      requests += 1;
      if (answer.status === 'refused') {
        failures.push(codeOf(answer));
        continue;
      }
      const { token } = answer.body as { token: string };
      try {
        const tokens = await capabilitiesFor(layers, token, { count: 2 });
        const codes = await Promise.all(tokens.map((each) => introspected(layers, each)));
        failures.push(...codes.filter((code) => code !== 'ok'));
        requests += 3;
      } catch (error) {
        failures.push(String(error));
      }
    }
  };
  // Time goes on until the last answer: layer 2 waits on it for keys that it does not know yet.
  const time = async (): Promise<void> => {
    while (!isAnswered) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      await clock.advance(50);
    }
  };
  const answers = Promise.all([client(), client()]);
  const passing = time();
  const adapters = [await identity.adapter(), await authorization.adapter()];
  for (const [slot, layer] of [
    ['1/identity-signature', 0],
    ['1/session-token', 0],
    ['2/capability-signature', 1],
    ['2/nonce-mac', 1],
  ] as const) {
    const adapter = adapters[layer];
    await adapter?.prepare(slot, 2);
    await adapter?.activate(slot, 2, utf8('one'));
    await pass(20);
    await adapter?.rollback(slot, 1);
    await pass(20);
    await adapter?.prepare(slot, 3);
    await adapter?.activate(slot, 3, utf8('two'));
    expect(await adapter?.verify(slot, 3)).toEqual({ ok: true });
  }
  isOver = true;
  await answers;
  isAnswered = true;
  await passing;
  expect(failures).toEqual([]);
  expect(requests).toBeGreaterThan(20);
  await clock.advance(sessionMs);
  for (const [adapter, slot] of [
    [adapters[0], '1/session-token'],
    [adapters[1], '2/capability-signature'],
    [adapters[1], '2/nonce-mac'],
    [adapters[0], '1/identity-signature'],
  ] as const) {
    for (const version of [1, 2]) {
      await until(clock, async () => (await adapter?.usesLately(slot, version)) === 0);
      await adapter?.retire(slot, version);
    }
  }
  for (const adapter of adapters) adapter.close();
});

/** Requests that began before have time to meet what was changed. */
async function pass(timeMs: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, timeMs));
}

test('a session without a second factor gives nothing more once the policy asks for one', async () => {
  const { identity, authorization, user } = layers;
  const session = await login(identity.client, user);
  if (session.status === 'refused' || !sessionCheck.check(session.body))
    throw new Error('no session');
  const { token } = session.body;
  expect(await capabilitiesFor(layers, token)).toHaveLength(1);
  const strict = { ...settings, policyVersion: 3, policyDigest: '3'.repeat(64) };
  await done(authorization.control, 'POST', '/v1/control/configure', strict);
  await expect(capabilitiesFor(layers, token)).rejects.toThrow('SECOND_FACTOR_REQUIRED');
});
