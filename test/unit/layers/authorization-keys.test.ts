/**
 * Layer 2 and keys of layer 1 that it does not know yet: prepared ones, ones that sign at once, made-up
 * ones by the hundred; answers of layer 1 that are late, and a disk that does not take them.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Hono } from 'hono';
import { decodeProtectedHeader } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  IdentityView,
  waitingMax,
  waitMsMax,
} from '#agents/layers/2-authorization/identity-view.ts';
import { GuardedClient } from '#agents/layers/service/circuit-breaker.ts';
import { ServiceClient } from '#agents/layers/service/service-client.ts';
import { SocketServer } from '#agents/layers/service/socket-server.ts';
import { sessionCheck, type AkpKey } from '#schemas/identity.ts';
import { toBase64Url, toHex, utf8 } from '#shared/crypto/bytes.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { serviceFolder } from '../../support/layer-service.ts';
import { crypto } from '../../support/world.ts';
import { ManualClock } from '../runtime/manual-clock.ts';
import {
  capabilitiesFor,
  codeOf,
  done,
  login,
  moving,
  settings,
  startLayers,
  until,
  type Layers,
} from './identity-world.ts';

const slot = '1/session-token';

describe('a session key', () => {
  let layers: Layers;
  let crowd: ServiceClient;
  beforeAll(async () => {
    layers = await startLayers();
    // Without codes, which come once in half a minute.
    const lax = { policyVersion: 2, policyDigest: '2'.repeat(64), mfaRequired: false };
    for (const { control } of [layers.identity, layers.authorization]) {
      await done(control, 'POST', '/v1/control/configure', { ...settings, ...lax });
    }
    const socketPath = join(layers.authorization.folder, '2.service.sock');
    crowd = new ServiceClient({ socketPath, socketsMax: 256, timeoutMs: 30_000 });
  });
  afterAll(async () => {
    crowd.close();
    await layers.end();
  });

  const session = async (): Promise<string> => {
    const answer = await login(layers.identity.client, layers.user);
    if (answer.status === 'done' && sessionCheck.check(answer.body)) return answer.body.token;
    throw new Error('no session');
  };
  const asked = (token: string) => {
    const body = { session: token, scope: ['record:read'], audience: 'database' };
    return crowd.ask({ method: 'POST', path: '/v1/capabilities', body });
  };
  const given = async (token: string) => codeOf(await asked(token));
  /** Requests at once, over as many connections as layer 3 has; the codes so far. */
  const flood = (count: number, token: () => string) => {
    const codes: string[] = [];
    const all = Array.from({ length: count }, () =>
      given(token()).then((code) => codes.push(code)),
    );
    return { codes, all: Promise.all(all) };
  };
  /** The clock goes on as time does until all has come. */
  const passing = async <Result>(work: Promise<Result>): Promise<Result> => {
    let isOver = false;
    const settled = work.finally(() => {
      isOver = true;
    });
    while (!isOver) {
      await pause(5);
      await layers.clock.advance(10);
    }
    return await settled;
  };
  /** Signed by nobody, under a key that nobody has. */
  const madeUp = (token: string): string => {
    const header = { ...decodeProtectedHeader(token), kid: toHex(crypto.randomBytes(32)) };
    return [toBase64Url(utf8(JSON.stringify(header))), ...token.split('.').slice(1)].join('.');
  };
  test('is known from when it is prepared, and its first token needs nobody', async () => {
    const { clock, identity, authorization } = layers;
    const adapter = await identity.adapter();
    const { keyId, state } = await adapter.prepare(slot, 2);
    expect(state).toBe('prepared');
    const kept = join(authorization.folder, 'layer-2', 'identity-keys.json');
    await until(clock, async () => readFileSync(kept, 'utf8').includes(keyId));
    await adapter.activate(slot, 2, utf8('challenge'));
    const token = await session();
    expect(decodeProtectedHeader(token).kid).toBe(keyId);
    await identity.stop();
    expect(await capabilitiesFor(layers, token)).toHaveLength(1);
    await identity.start();
    adapter.close();
  });

  test('that signs at once: all its first tokens are good, made-up ones beside them or not', async () => {
    const { identity } = layers;
    const old = await session();
    const adapter = await identity.adapter();
    await adapter.prepare(slot, 3);
    await adapter.activate(slot, 3, utf8('challenge'));
    const token = await session();
    const [genuine, others] = [flood(320, () => token), flood(50, () => madeUp(old))];
    await passing(Promise.all([genuine.all, others.all]));
    expect(genuine.codes).toEqual(Array.from({ length: 320 }, () => 'ok'));
    expect(new Set(others.codes)).toEqual(new Set(['SESSION_KEY_UNKNOWN']));
    adapter.close();
  });

  test('that does not exist, by the hundred, turns nobody else away for good', async () => {
    const { identity } = layers;
    const old = await session();
    const adapter = await identity.adapter();
    await adapter.prepare(slot, 4);
    await adapter.activate(slot, 4, utf8('challenge'));
    const token = await session();
    const one = madeUp(old);
    const floods = [flood(waitingMax + 300, () => madeUp(old)), flood(300, () => one)];
    const known = flood(5, () => old);
    const all = [known, ...floods].map((each) => each.all);
    await passing(Promise.all(all));
    expect(known.codes).toEqual(Array.from({ length: 5 }, () => 'ok'));
    for (const code of new Set(floods.flatMap(({ codes }) => codes))) {
      expect(['SESSION_KEY_PENDING', 'SESSION_KEY_UNKNOWN']).toContain(code);
    }
    expect(await passing(given(token))).toBe('ok');
    adapter.close();
  });

  test('that does not exist, by the hundred while layer 1 is away, keeps nobody else waiting', async () => {
    const { identity } = layers;
    const old = await session();
    await identity.stop();
    expect(await passing(given(madeUp(old)))).toBe('SESSION_KEY_PENDING');
    const one = madeUp(old);
    const beganMs = performance.now();
    const floods = [flood(400, () => madeUp(old)), flood(400, () => one)];
    const known = flood(5, () => old);
    await passing(known.all);
    // A layer 1 that went a moment ago is waited for by its client, for a quarter of a minute.
    expect(performance.now() - beganMs).toBeLessThan(10_000);
    expect(known.codes).toEqual(Array.from({ length: 5 }, () => 'ok'));
    await passing(Promise.all(floods.map((each) => each.all)));
    const codes = new Set(floods.flatMap((each) => each.codes));
    expect(codes).toEqual(new Set(['SESSION_KEY_PENDING']));
    expect(performance.now() - beganMs).toBeLessThan(14_000);
    await identity.start();
  });

  test('is not called unknown by a layer 1 that does not answer', async () => {
    const { clock, identity } = layers;
    const token = madeUp(await session());
    await identity.stop();
    expect(await moving(clock, asked(token))).toMatchObject({
      code: 'SESSION_KEY_PENDING',
      retryable: true,
    });
    await identity.start();
    await until(clock, async () => (await moving(clock, given(token))) === 'SESSION_KEY_UNKNOWN');
  });
});

describe('what layer 1 says', () => {
  class FullDisk extends SystemDisk {
    isFull = false;
    override replaceFile(name: string, data: Uint8Array): void {
      if (this.isFull) throw new Error('no room');
      super.replaceFile(name, data);
    }
  }

  /** Layer 1 as it is asked: answers say what was so when the question came. */
  const world = async () => {
    const folder = serviceFolder();
    const clock = new ManualClock();
    const state = { keys: [] as AkpKey[], asked: 0, hold: Promise.resolve() };
    const app = new Hono();
    app.get('/v1/jwks', async (context) => {
      const keys = [...state.keys];
      state.asked += 1;
      await state.hold;
      return context.json({ keys });
    });
    app.get('/v1/identity-keys', (context) => context.json({ keys: [] }));
    const socketPath = join(folder, '1.sock');
    const server = new SocketServer(app, socketPath);
    await server.start();
    const client = new ServiceClient({ socketPath });
    const disk = new FullDisk(folder);
    const ports = { disk, crypto, clock, peer: () => client };
    const end = async () => {
      client.close();
      await server.stop();
      rmSync(folder, { recursive: true });
    };
    return { state, clock, disk, ports, view: IdentityView.restore(ports), end };
  };
  const newKey = (): AkpKey => {
    const { raw } = crypto.importSigningSeed(crypto.randomBytes(32)).publicKey;
    const kid = toHex(crypto.sha3_256(raw));
    return { kty: 'AKP', alg: 'ML-DSA-87', use: 'sig', kid, pub: toBase64Url(raw) };
  };

  test('before a key came is no answer for its first token; one question is for all', async () => {
    const { state, clock, view, end } = await world();
    const { promise, resolve } = Promise.withResolvers<void>();
    state.hold = promise;
    const asking = view.refresh();
    while (state.asked === 0) await pause(1);
    // It might be asked again, and still is being asked.
    await clock.advance(1_000);
    const key = newKey();
    state.keys = [key];
    const waiting = Array.from({ length: 50 }, () => view.sessionKey(key.kid));
    resolve();
    await asking;
    const found = await moving(clock, Promise.all(waiting));
    expect(found).toEqual(Array.from({ length: 50 }, () => key));
    expect(state.asked).toBe(2);
    await end();
  });

  /** Layer 1 as somebody who takes questions and says nothing. */
  const silence = () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    return { hold: promise, end: resolve };
  };
  const codesOf = (all: readonly Promise<unknown>[]) => {
    const codes: string[] = [];
    const note = (error: { code: string }) => void codes.push(error.code);
    return { codes, all: Promise.all(all.map((each) => each.then(() => undefined, note))) };
  };

  test('is waited for briefly, for so many keys, and while it is silent by so many', async () => {
    const { state, view, end } = await world();
    const silent = silence();
    state.hold = silent.hold;
    const beganMs = performance.now();
    const distinct = codesOf(
      Array.from({ length: 256 }, (_, index) => view.sessionKey(`made-up-${index}`)),
    );
    const same = codesOf(Array.from({ length: 256 }, () => view.sessionKey('made-up-0')));
    await new Promise(setImmediate);
    expect([distinct.codes.length, same.codes.length]).toEqual([256 - waitingMax, 0]);
    await Promise.all([distinct.all, same.all]);
    const tookMs = performance.now() - beganMs;
    expect(tookMs).toBeGreaterThan(waitMsMax - 50);
    // Its client gives up after five seconds.
    expect(tookMs).toBeLessThan(4_500);
    expect(waitMsMax).toBeLessThan(1_000);
    const again = codesOf(Array.from({ length: 256 }, () => view.sessionKey('made-up-0')));
    await new Promise(setImmediate);
    expect(again.codes.length).toBe(256 - waitingMax);
    await again.all;
    const codes = new Set([distinct, same, again].flatMap((each) => each.codes));
    expect(codes).toEqual(new Set(['SESSION_KEY_PENDING']));
    silent.end();
    await end();
  });

  test('is waited for briefly also where its client waits for who went away', async () => {
    const { disk, clock, end } = await world();
    const folder = serviceFolder();
    const socketPath = join(folder, 'nobody.sock');
    const client = new GuardedClient({ socketPath }, { clock: systemClock });
    const view = IdentityView.restore({ disk, crypto, clock, peer: () => client });
    const beganMs = performance.now();
    const many = codesOf(Array.from({ length: 256 }, () => view.sessionKey('made-up')));
    await many.all;
    expect(many.codes).toEqual(Array.from({ length: 256 }, () => 'SESSION_KEY_PENDING'));
    expect(performance.now() - beganMs).toBeLessThan(10_000);
    client.close();
    rmSync(folder, { recursive: true });
    await end();
  });

  test('holds for a moment where it says that there is no such key', async () => {
    const { state, clock, view, end } = await world();
    const key = newKey();
    expect(await moving(clock, view.sessionKey(key.kid))).toBe(undefined);
    state.keys = [key];
    const { asked } = state;
    const all = Array.from({ length: 600 }, () => view.sessionKey(key.kid));
    expect(new Set(await Promise.all(all))).toEqual(new Set([undefined]));
    expect(state.asked).toBe(asked);
    await clock.advance(1_000);
    expect(await moving(clock, view.sessionKey(key.kid))).toEqual(key);
    await end();
  });

  test('is kept with the next answer where the disk did not take it, and holds meanwhile', async () => {
    const { state, clock, disk, ports, view, end } = await world();
    const [gone, key] = [newKey(), newKey()];
    state.keys = [gone];
    await view.refresh();
    state.keys = [key];
    disk.isFull = true;
    await expect(view.refresh()).rejects.toMatchObject({ code: 'STORE_FAILED', retryable: true });
    expect(await view.sessionKey(key.kid)).toEqual(key);
    expect(await moving(clock, view.sessionKey(gone.kid))).toBe(undefined);
    disk.isFull = false;
    await view.refresh();
    // The same answer: it is on the disk now, and the key that is gone is not.
    const text = Buffer.from(disk.readFile('identity-keys.json') ?? []).toString();
    expect([text.includes(key.kid), text.includes(gone.kid)]).toEqual([true, false]);
    expect(await IdentityView.restore(ports).sessionKey(key.kid)).toEqual(key);
    await end();
  });
});
