/**
 * A clock that was ahead for a while and is put right: what is made from then on is good at once, and what
 * was made or used before is not accepted again, in time or not, by this process or a later one.
 */
import { rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CertificateRegister } from '#agents/layers/1-identity/certificate-register.ts';
import { ReplayStore } from '#agents/layers/2-authorization/replay-store.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { isInTime } from '#agents/layers/service/key-certificate.ts';
import { challengeLifetimeMs } from '#agents/layers/1-identity/challenges.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { serviceFolder, type RunningService } from '../../support/layer-service.ts';
import { crypto } from '../../support/world.ts';
import { SetClock } from '../runtime/set-clock.ts';
import {
  capabilitiesFor,
  challengeFor,
  codeOf,
  done,
  enrol,
  introspected,
  login,
  settings,
  startLayers,
  TestUser,
  until,
  type Layers,
} from './identity-world.ts';

const dayMs = 86_400_000;
const folders: string[] = [];

function newFolder(): string {
  const folder = serviceFolder();
  folders.push(folder);
  return folder;
}

afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

describe('used nonces', () => {
  const world = (spentMax = 100) => {
    const clock = new SetClock();
    const disk = new SystemDisk(newFolder());
    let store = ReplayStore.open(disk, { clock, spentMax });
    let made = 0;
    const make = () => {
      made += 1;
      const id = new Uint8Array(16);
      new DataView(id.buffer).setUint32(0, made);
      return { id, generation: store.generation(), expiresAtMs: clock.nowMs() + 60_000 };
    };
    const restart = () => {
      store.close();
      store = ReplayStore.open(disk, { clock, spentMax });
    };
    const spend = (one: ReturnType<typeof make>) => store.spend(one);
    return { clock, make, restart, spend, close: () => store.close() };
  };

  test('a day ahead for 80 s, then right', async () => {
    const { clock, make, restart, spend, close } = world();
    const before = [make(), make()];
    expect(await Promise.all(before.map(spend))).toEqual(['fresh', 'fresh']);
    const unused = make();
    clock.set(dayMs);
    const ahead = [make(), make()];
    expect(await Promise.all(ahead.map(spend))).toEqual(['fresh', 'fresh']);
    clock.set(80_000);
    expect(await spend(make())).toBe('fresh');
    clock.set(-dayMs - 80_000);
    const fresh = make();
    expect([await spend(fresh), await spend(fresh)]).toEqual(['fresh', 'replayed']);
    const gone = [...before, ...ahead, unused];
    const refused = gone.map(() => 'expired');
    for (const laterMs of [0, 30_000, dayMs - 60_000, 80_000]) {
      clock.set(laterMs);
      expect(await Promise.all(gone.map(spend))).toEqual(refused);
      restart();
      expect(await Promise.all(gone.map(spend))).toEqual(refused);
      expect(await spend(make())).toBe('fresh');
    }
    close();
  });

  test('a day ahead for a moment does not keep the store full', async () => {
    const { clock, make, restart, spend, close } = world(2);
    clock.set(dayMs);
    const ahead = [make(), make()];
    expect(await Promise.all(ahead.map(spend))).toEqual(['fresh', 'fresh']);
    clock.set(-dayMs);
    restart();
    const fresh = make();
    expect([await spend(fresh), await spend(fresh)]).toEqual(['fresh', 'replayed']);
    clock.set(dayMs);
    expect(await Promise.all([...ahead, fresh].map(spend))).toEqual([
      'expired',
      'expired',
      'expired',
    ]);
    close();
  });

  test('a clock that jumps back and forth gives no second use, and new ones are always good', async () => {
    const { clock, make, restart, spend, close } = world();
    const used: ReturnType<typeof make>[] = [];
    const jumps = [dayMs, -dayMs, 90_000, -30_000, -90_000, 3_600_000, -3_500_000, 5_000, -8_000];
    for (const [index, jumpMs] of [...jumps, ...jumps].entries()) {
      clock.set(jumpMs);
      const fresh = make();
      expect(await spend(fresh)).toBe('fresh');
      used.push(fresh);
      if (index % 3 === 0) restart();
      const again = await Promise.all(used.map(spend));
      expect(again.filter((outcome) => outcome === 'fresh')).toEqual([]);
      expect(['replayed', 'expired']).toContain(again.at(-1));
    }
    close();
  });
});

test('a certificate of a clock that was ahead is not given out again', () => {
  const clock = new SetClock();
  const ports = { disk: new SystemDisk(newFolder()), crypto, clock };
  const keys = EmbeddedAdapter.open({ ...ports, layer: 1, usageWindowMs: 0 });
  const database = new DatabaseSync(':memory:');
  const register = CertificateRegister.open({ database, keys, crypto, clock });
  const issued = () => register.issue('2/capability-signature', 'a'.repeat(64));
  clock.set(dayMs);
  const ahead = issued();
  expect(issued()).toEqual(ahead);
  clock.set(-dayMs);
  expect([isInTime(ahead, clock.nowMs()), isInTime(issued(), clock.nowMs())]).toEqual([
    false,
    true,
  ]);
  keys.close();
});

describe('layers 1 and 2', () => {
  const clock = new SetClock();
  let layers: Layers;
  let identity: RunningService;
  beforeAll(async () => {
    layers = await startLayers({ clock });
    ({ identity } = layers);
    const lax = { policyVersion: 2, policyDigest: '2'.repeat(64), mfaRequired: false };
    for (const { control } of [identity, layers.authorization]) {
      await done(control, 'POST', '/v1/control/configure', { ...settings, ...lax });
    }
  });
  afterAll(() => layers.end());

  const asked = async () => {
    const { challengeId, nonce } = await challengeFor(identity.client, 'nora');
    const body = { challengeId, signature: layers.user.sign(nonce) };
    return () => identity.client.ask({ method: 'POST', path: '/v1/sessions', body });
  };
  const session = async (): Promise<string> => {
    const answer = await (await asked())();
    if (answer.status === 'refused') throw new Error(answer.code);
    return (answer.body as { token: string }).token;
  };

  test('logins and capabilities are good at once where the clock is put right', async () => {
    const [used, open] = [await asked(), await asked()];
    expect(codeOf(await used())).toBe('ok');
    clock.set(dayMs);
    const aheadUsed = await asked();
    expect(codeOf(await aheadUsed())).toBe('ok');
    const tokens = await capabilitiesFor(layers, await session(), { count: 2 });
    expect(await introspected(layers, tokens[0] ?? '')).toBe('ok');
    clock.set(80_000);
    const aheadOpen = await asked();
    // With these the first ones are forgotten.
    const late = await capabilitiesFor(layers, await session(), { count: 2 });
    expect(await introspected(layers, late[0] ?? '')).toBe('ok');
    clock.set(-dayMs - 80_000);
    const [token = ''] = await capabilitiesFor(layers, await session());
    expect(await introspected(layers, token)).toBe('ok');
    expect(await introspected(layers, token)).toBe('NONCE_REPLAYED');
    const refusals = async () => {
      for (const each of [used, open, aheadUsed, aheadOpen]) {
        expect(codeOf(await each())).toBe('CHALLENGE_EXPIRED');
      }
      for (const each of [...tokens, ...late]) {
        // From the future, or over.
        const code = await introspected(layers, each);
        expect(['CAPABILITY_INVALID', 'CAPABILITY_EXPIRED']).toContain(code);
      }
    };
    await refusals();
    for (const service of [identity, layers.authorization]) {
      await service.stop();
      await service.start();
    }
    await refusals();
    // The time comes once more in which they would have been good.
    clock.set(dayMs + 60_000);
    await refusals();
    const [another = ''] = await capabilitiesFor(layers, await session());
    expect(await introspected(layers, another)).toBe('ok');
    clock.set(-dayMs - 60_000);
    await until(clock, async () => (await capabilitiesFor(layers, await session())).length === 1);
  });

  test('a challenge of a clock that is ahead is over once that is put right', async () => {
    clock.set(dayMs);
    const open = await asked();
    clock.set(-dayMs);
    expect(codeOf(await open())).toBe('CHALLENGE_EXPIRED');
    clock.set(dayMs + challengeLifetimeMs);
    expect(codeOf(await open())).toBe('CHALLENGE_EXPIRED');
    clock.set(-dayMs - challengeLifetimeMs);
    expect(codeOf(await (await asked())())).toBe('ok');
  });

  test('who was locked out by a clock that was ahead waits no longer than any other', async () => {
    const user = new TestUser('paul');
    await enrol(identity.control, user);
    const { client } = identity;
    clock.set(dayMs);
    for (let tries = 0; tries < 5; tries += 1) await login(client, user, { otp: '00000000' });
    clock.set(-dayMs);
    const entered = async () =>
      codeOf(await login(client, user, { otp: user.code(clock.nowMs()) }));
    expect(await entered()).toBe('SECOND_FACTOR_LOCKED');
    await clock.advance(59_999);
    expect(await entered()).toBe('SECOND_FACTOR_LOCKED');
    await clock.advance(1);
    expect(await entered()).toBe('ok');
  });
});
