/**
 * Layers 1 and 2 as services in one folder, with real sockets and a clock that a test moves, and users
 * who log in: what the tests of both services begin with.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { openService as openIdentity } from '#agents/layers/1-identity/service.ts';
import { totpCode, totpStep } from '#agents/layers/1-identity/totp.ts';
import { openService as openAuthorization } from '#agents/layers/2-authorization/service.ts';
import { strictSettings } from '#agents/layers/service/kept-settings.ts';
import type { RemoteAdapter } from '#agents/layers/service/remote-adapter.ts';
import type { ServiceAnswer, ServiceClient } from '#agents/layers/service/service-client.ts';
import { capabilitiesCheck } from '#schemas/authorization.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import { challengeCheck, loginContext, sessionCheck } from '#schemas/identity.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { fromBase64Url, toBase64Url, utf8 } from '#shared/crypto/bytes.ts';
import { RunningService, serviceFolder } from '../../support/layer-service.ts';
import { crypto } from '../../support/world.ts';
import { ManualClock } from '../runtime/manual-clock.ts';

export class TestUser {
  readonly subject: string;
  readonly key = crypto.importSigningSeed(crypto.randomBytes(32));
  readonly totpSecret = crypto.randomBytes(64);

  constructor(subject: string) {
    this.subject = subject;
  }

  sign(nonce: string): string {
    const message = fromBase64Url(nonce) ?? new Uint8Array();
    return toBase64Url(crypto.sign(this.key, { message, context: utf8(loginContext) }));
  }

  /** The code of a moment. */
  code(atMs: number): string {
    return totpCode(this.totpSecret, totpStep(atMs));
  }
}

export interface Layers {
  readonly clock: ManualClock;
  readonly identity: RunningService;
  readonly authorization: RunningService;
  readonly user: TestUser;
  /** What was logged. */
  readonly lines: string[];
  end(): Promise<void>;
}

/** Strict, but that codes are taken, and sessions last a quarter of an hour. */
export const settings = {
  ...strictSettings,
  policyVersion: 1,
  policyDigest: '1'.repeat(64),
  secondFactorMacs: ['HMAC-SHA-512'],
};
export const sessionMs = 900_000;

export interface WorldOptions {
  readonly clock?: ManualClock;
  readonly log?: Log;
}

const scopes = ['record:read', 'record:write', 'patient:read'];

export async function startIdentity({ clock = new ManualClock(), log }: WorldOptions = {}) {
  await clock.advance(1_700_000_000_000);
  const folder = serviceFolder();
  const identity = await RunningService.start({
    layer: 1 as const,
    open: openIdentity,
    folder,
    clock,
    config: { recentUseMs: 0 },
    ...(log === undefined ? {} : { log }),
  });
  const body = { ...settings, overlapMs: 10 * sessionMs };
  await done(identity.control, 'POST', '/v1/control/configure', body);
  return { clock, folder, identity };
}

/** Both services, one user with a second factor who is a nurse. */
export async function startLayers(options: Pick<WorldOptions, 'clock'> = {}): Promise<Layers> {
  const lines: string[] = [];
  const note = (fields: unknown, message: string) =>
    void lines.push(JSON.stringify([fields, message]));
  const log: Log = { debug: note, info: note, warn: note, error: note };
  const { clock, folder, identity } = await startIdentity({ ...options, log });
  const authorization = await RunningService.start({
    layer: 2,
    open: openAuthorization,
    folder,
    clock,
    log,
    config: { recentUseMs: 0 },
  });
  const user = new TestUser('nora');
  await enrol(identity.control, user);
  const { control } = authorization;
  await done(control, 'PUT', '/v1/admin/roles/nurse', { scopes });
  await done(control, 'PUT', '/v1/admin/subjects/nora', { roles: ['nurse'] });
  await until(clock, async () => (await certificatesOf(authorization)).length > 0);
  return {
    clock,
    identity,
    authorization,
    user,
    lines,
    end: async () => {
      await authorization.end();
      await identity.end();
    },
  };
}

export function enrol(control: ServiceClient, user: TestUser): Promise<unknown> {
  return done(control, 'PUT', `/v1/admin/users/${user.subject}`, {
    publicKey: toBase64Url(user.key.publicKey.raw),
    totpSecret: toBase64Url(user.totpSecret),
  });
}

/** Logs in; a minute later than before, so that the code is another one. */
export async function logIn({ identity, user, clock }: Layers): Promise<string> {
  await clock.advance(60_000);
  const answer = await login(identity.client, user, { otp: user.code(clock.nowMs()) });
  if (answer.status === 'refused') throw new Error(answer.code);
  if (!sessionCheck.check(answer.body)) throw new Error('no session');
  return answer.body.token;
}

export async function challengeFor(client: ServiceClient, subject: string) {
  const challenge = await done(client, 'POST', '/v1/challenges', { subject });
  if (!challengeCheck.check(challenge)) throw new Error('no challenge');
  return challenge;
}

/** Asks for a session, with what the test wants otherwise. */
export async function login(
  client: ServiceClient,
  user: TestUser,
  options: { otp?: string; subject?: string; body?: object } = {},
): Promise<ServiceAnswer> {
  const { challengeId, nonce } = await challengeFor(client, options.subject ?? user.subject);
  const { otp } = options;
  const body = {
    challengeId,
    signature: user.sign(nonce),
    ...(otp === undefined ? {} : { otp }),
    ...options.body,
  };
  return await client.ask({ method: 'POST', path: '/v1/sessions', body });
}

export async function capabilitiesFor(
  { authorization }: Pick<Layers, 'authorization'>,
  session: string,
  wanted: { scope?: string[]; audience?: string; count?: number } = {},
): Promise<string[]> {
  const body = { session, scope: ['record:read'], audience: 'database', ...wanted };
  const given = await done(authorization.client, 'POST', '/v1/capabilities', body);
  if (!capabilitiesCheck.check(given)) throw new Error('no capabilities');
  return given.tokens;
}

/** `ok`, or the code of the refusal: what layer 5 is told, or the one that a test names. */
export async function introspected(
  { authorization }: Pick<Layers, 'authorization'>,
  token: string,
  { by = 5, ...other }: { by?: LayerNumber; scope?: string; requestId?: string } = {},
): Promise<string> {
  const body = { token, scope: 'record:read', ...other };
  const path = '/internal/v1/introspections';
  return codeOf(await authorization.asPeer(by).ask({ method: 'POST', path, body }));
}

export function codeOf(answer: ServiceAnswer): string {
  return answer.status === 'done' ? 'ok' : answer.code;
}

export async function certificatesOf(
  authorization: RunningService,
): Promise<{ body: { subject_key_id: string; issuer_key_id: string } }[]> {
  const answer = await done(authorization.client, 'GET', '/v1/capability-keys');
  return (answer as { certificates: never[] }).certificates;
}

/** Turns a slot: the new key is primary, the old one accepted. */
export async function turn(adapter: RemoteAdapter, slot: string, version: number): Promise<void> {
  await adapter.prepare(slot, version);
  await adapter.activate(slot, version, utf8('challenge'));
  const verified = await adapter.verify(slot, version);
  if (!verified.ok) throw new Error(verified.reason ?? 'not verified');
}

/** Moves the clock on until it is so; what is asked over sockets meanwhile is answered. */
export async function until(clock: ManualClock, holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await holds()) return;
    await clock.advance(500);
  }
  throw new Error('it did not come to that');
}

/** The result of what needs the clock to move on. */
export async function moving<Result>(clock: ManualClock, work: Promise<Result>): Promise<Result> {
  let isOver = false;
  const settled = work.finally(() => {
    isOver = true;
  });
  await until(clock, async () => {
    await pause(5);
    return isOver;
  });
  return await settled;
}

export async function done(
  client: ServiceClient,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  body?: unknown,
): Promise<unknown> {
  const answer = await client.ask(body === undefined ? { method, path } : { method, path, body });
  if (answer.status === 'refused') throw new Error(`${path}: ${answer.code} ${answer.reason}`);
  return answer.body;
}
