/** What a login is refused with, how often, and what is left behind by attempts that fail. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Challenges } from '#agents/layers/1-identity/challenges.ts';
import type { RunningService } from '../../support/layer-service.ts';
import type { ManualClock } from '../runtime/manual-clock.ts';
import { Secret } from '#shared/crypto/secret.ts';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import { crypto } from '../../support/world.ts';
import {
  challengeFor,
  codeOf,
  done,
  enrol,
  login,
  settings,
  startIdentity,
  TestUser,
} from './identity-world.ts';

let identity: RunningService;
let clock: ManualClock;
const user = new TestUser('nora');

beforeAll(async () => {
  ({ identity, clock } = await startIdentity());
  await enrol(identity.control, user);
});
afterAll(() => identity.end());

/** The code of a later minute. */
async function nextCode(): Promise<string> {
  await clock.advance(90_000);
  return user.code(clock.nowMs());
}

async function refused(code: string): Promise<number> {
  const measured = identity.service.measure();
  return measured[`refused-${code.toLowerCase().replaceAll('_', '-')}`] ?? 0;
}

describe('a login', () => {
  test('whoever does not exist and whoever signs wrongly get one answer', async () => {
    const { client } = identity;
    const otp = await nextCode();
    const stranger = new TestUser('nora');
    const answers = [
      await login(client, stranger, { otp }),
      await login(client, stranger, { subject: 'nobody', otp }),
      await login(client, user, { subject: 'nobody', otp }),
      await login(client, user, { otp, body: { signature: 'AAAA' } }),
    ];
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    expect(codeOf(answers[0] ?? { status: 'done', body: {} })).toBe('LOGIN_REFUSED');
    expect(await refused('LOGIN_REFUSED')).toBe(4);
    // None of them used anything up.
    expect(codeOf(await login(client, user, { otp }))).toBe('ok');
  });

  test('the second factor is asked for, and a code is good once', async () => {
    const { client } = identity;
    const { challengeId, nonce } = await challengeFor(client, 'nora');
    const otp = await nextCode();
    const asked = (body: object) => client.ask({ method: 'POST', path: '/v1/sessions', body });
    const late = { challengeId, signature: user.sign(nonce) };
    expect(codeOf(await asked(late))).toBe('CHALLENGE_EXPIRED');
    const fresh = await challengeFor(client, 'nora');
    const body = { challengeId: fresh.challengeId, signature: user.sign(fresh.nonce) };
    expect(codeOf(await asked(body))).toBe('SECOND_FACTOR_REQUIRED');
    expect(codeOf(await asked({ ...body, otp }))).toBe('ok');
    expect(codeOf(await login(client, user, { otp }))).toBe('SECOND_FACTOR_INVALID');
  });

  test('an answer that was lost is given again, and nothing else is', async () => {
    const { client } = identity;
    const otp = await nextCode();
    const { challengeId, nonce } = await challengeFor(client, 'nora');
    const body = { challengeId, signature: user.sign(nonce), otp };
    const asked = (other: object = {}) =>
      client.ask({ method: 'POST', path: '/v1/sessions', body: { ...body, ...other } });
    const [first, again] = [await asked(), await asked()];
    expect(idOf(first)).toBe(idOf(again));
    expect(claimsOf(again)).toEqual(claimsOf(first));
    expect(codeOf(await asked({ signature: user.sign(nonce) }))).toBe('CHALLENGE_USED');
    expect(codeOf(await asked({ otp: '12345678' }))).toBe('CHALLENGE_USED');
    await identity.stop();
    await identity.start();
    expect(idOf(await asked())).toBe(idOf(first));
    // The policy lets sessions last for longer, or shorter, by now: not this one.
    const told = (policyVersion: number, overlapMs: number) => {
      const policyDigest = String(policyVersion).repeat(64);
      const body = { ...settings, policyVersion, policyDigest, overlapMs };
      return done(identity.control, 'POST', '/v1/control/configure', body);
    };
    await told(2, 120_000);
    expect(claimsOf(await asked())).toEqual(claimsOf(first));
    await told(3, 9_000_000);
    await clock.advance(21_000);
    expect(codeOf(await asked())).toBe('CHALLENGE_USED');
    await identity.stop();
    await identity.start();
    expect(codeOf(await asked())).toBe('CHALLENGE_USED');
  });

  test('a challenge outlives the process, and nobody makes one', async () => {
    const { client } = identity;
    const otp = await nextCode();
    const { challengeId, nonce } = await challengeFor(client, 'nora');
    await identity.stop();
    await identity.start();
    const asked = (id: string, signed: string) =>
      client.ask({
        method: 'POST',
        path: '/v1/sessions',
        body: { challengeId: id, signature: user.sign(signed), otp },
      });
    const own = new Challenges(crypto, new Secret(crypto.randomBytes(32)));
    const made = own.give('nora', { nowMs: clock.nowMs(), generation: 0 });
    expect(codeOf(await asked(made.challengeId, made.nonce))).toBe('CHALLENGE_INVALID');
    const changed = challengeId.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'));
    expect(codeOf(await asked(changed, nonce))).toBe('CHALLENGE_INVALID');
    expect(codeOf(await asked('AAAA', nonce))).toBe('CHALLENGE_INVALID');
    expect(codeOf(await asked(challengeId, nonce))).toBe('ok');
  });

  test('who guesses codes with the key is locked out for a while, and who has only the name never', async () => {
    const { client } = identity;
    const stranger = new TestUser('nora');
    for (let tries = 0; tries < 20; tries += 1) {
      await login(client, stranger, { otp: '00000000' });
    }
    expect(codeOf(await login(client, user, { otp: await nextCode() }))).toBe('ok');
    for (let tries = 0; tries < 5; tries += 1) {
      expect(codeOf(await login(client, user, { otp: '00000000' }))).toBe('SECOND_FACTOR_INVALID');
    }
    await clock.advance(30_000);
    const otp = user.code(clock.nowMs());
    expect(codeOf(await login(client, user, { otp }))).toBe('SECOND_FACTOR_LOCKED');
    await identity.stop();
    await identity.start();
    expect(codeOf(await login(client, user, { otp }))).toBe('SECOND_FACTOR_LOCKED');
    await clock.advance(60_000);
    expect(codeOf(await login(client, user, { otp: await nextCode() }))).toBe('ok');
  });

  test('without a second factor nobody gets in, unless the policy does not ask for one', async () => {
    const { client, control } = identity;
    const plain = new TestUser('paul');
    const publicKey = toBase64Url(plain.key.publicKey.raw);
    await done(control, 'PUT', '/v1/admin/users/paul', { publicKey });
    expect(codeOf(await login(client, plain))).toBe('SECOND_FACTOR_REQUIRED');
    expect(codeOf(await login(client, plain, { otp: '00000000' }))).toBe('SECOND_FACTOR_INVALID');
    const lax = { ...settings, policyVersion: 4, policyDigest: '4'.repeat(64), mfaRequired: false };
    await done(control, 'POST', '/v1/control/configure', lax);
    const answer = await login(client, plain);
    expect(claimsOf(answer)).toMatchObject({ amr: ['pop'] });
    const strict = { ...settings, policyVersion: 5, policyDigest: '5'.repeat(64) };
    await done(control, 'POST', '/v1/control/configure', strict);
    expect(codeOf(await login(client, plain))).toBe('SECOND_FACTOR_REQUIRED');
    await done(control, 'DELETE', '/v1/admin/users/paul');
    expect(codeOf(await login(client, plain))).toBe('LOGIN_REFUSED');
  });

  test('codes are taken where the policy allows their MAC, and cost nothing where it does not', async () => {
    const { client, control } = identity;
    const told = (policyVersion: number, secondFactorMacs: string[]) => {
      const policyDigest = String(policyVersion).repeat(64);
      const body = { ...settings, policyVersion, policyDigest, secondFactorMacs };
      return done(control, 'POST', '/v1/control/configure', body);
    };
    await told(6, ['HMAC-SHA-1']);
    const otp = await nextCode();
    const { challengeId, nonce } = await challengeFor(client, 'nora');
    const body = { challengeId, signature: user.sign(nonce), otp };
    const asked = () => client.ask({ method: 'POST', path: '/v1/sessions', body });
    expect(codeOf(await asked())).toBe('SECOND_FACTOR_FORBIDDEN');
    await told(7, ['HMAC-SHA-512']);
    expect(codeOf(await asked())).toBe('ok');
  });

  test('a frozen key signs nothing, and the attempt costs nothing', async () => {
    const { client, control } = identity;
    const frozen = { slot: '1/session-token', frozen: true };
    await done(control, 'POST', '/v1/control/freeze', frozen);
    const otp = await nextCode();
    expect(await login(client, user, { otp })).toMatchObject({
      code: 'SIGNING_FROZEN',
      retryable: true,
    });
    await done(control, 'POST', '/v1/control/freeze', { ...frozen, frozen: false });
    expect(codeOf(await login(client, user, { otp }))).toBe('ok');
  });

  test('enrolling again with the same secret gives no code back', async () => {
    const otp = await nextCode();
    expect(codeOf(await login(identity.client, user, { otp }))).toBe('ok');
    await enrol(identity.control, user);
    expect(codeOf(await login(identity.client, user, { otp }))).toBe('SECOND_FACTOR_INVALID');
    const short = { publicKey: toBase64Url(user.key.publicKey.raw).slice(4) };
    await expect(done(identity.control, 'PUT', '/v1/admin/users/nora', short)).rejects.toThrow(
      'KEY_REFUSED',
    );
  });

  test('the second factor is nowhere on the disk', () => {
    const folder = join(identity.folder, 'layer-1');
    const files = readdirSync(folder).map((name) => readFileSync(join(folder, name)));
    expect(files.some((content) => content.includes('nora'))).toBe(true);
    expect(files.some((content) => content.includes(user.totpSecret))).toBe(false);
  });
});

function claimsOf(answer: Awaited<ReturnType<typeof login>>): Record<string, unknown> {
  if (answer.status === 'refused') throw new Error(answer.code);
  const { token } = answer.body as { token: string };
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as never;
}

function idOf(answer: Awaited<ReturnType<typeof login>>): unknown {
  return claimsOf(answer)['jti'];
}
