/** Layers 1 and 2 together: logging in, capabilities and their use, while keys are turned under them. */
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { certifiedKeys } from '#agents/layers/service/key-certificate.ts';
import { capabilityKeysCheck } from '#schemas/authorization.ts';
import { identityKeysCheck, sessionClaimsCheck } from '#schemas/identity.ts';
import { crypto } from '../../support/world.ts';
import {
  capabilitiesFor,
  certificatesOf,
  done,
  introspected,
  login,
  logIn,
  moving,
  sessionMs,
  startLayers,
  turn,
  until,
  type Layers,
} from './identity-world.ts';

let layers: Layers;

beforeAll(async () => {
  layers = await startLayers();
});
afterAll(() => layers.end());

describe('layers 1 and 2', () => {
  test('a session gives capabilities, and each is good once', async () => {
    const session = await logIn(layers);
    const claims = decodeJwt(session);
    expect(sessionClaimsCheck.check(claims)).toBe(true);
    expect(claims).toMatchObject({ sub: 'nora', amr: ['pop', 'otp', 'mfa'] });
    const [token = '', other = ''] = await capabilitiesFor(layers, session, { count: 2 });
    const body = { token, scope: 'record:read' };
    const path = '/internal/v1/introspections';
    expect(await done(layers.authorization.asPeer(5), 'POST', path, body)).toEqual({
      subject: 'nora',
      roles: ['nurse'],
      scope: ['record:read'],
    });
    expect(await introspected(layers, token)).toBe('NONCE_REPLAYED');
    expect(await introspected(layers, other, { requestId: 'r-1' })).toBe('ok');
    expect(await introspected(layers, other, { requestId: 'r-1' })).toBe('ok');
    expect(await introspected(layers, other, { requestId: 'r-2' })).toBe('NONCE_REPLAYED');
  });

  test('whoever verifies without asking finds the certified keys', async () => {
    const offered = await done(layers.authorization.client, 'GET', '/v1/capability-keys');
    const answer = await done(layers.identity.client, 'GET', '/v1/identity-keys');
    if (!capabilityKeysCheck.check(offered) || !identityKeysCheck.check(answer)) {
      throw new Error('the keys are not of their form');
    }
    const nowMs = layers.clock.nowMs();
    const [known] = answer.keys;
    expect(certifiedKeys(crypto, offered, { identityKeys: answer.keys, nowMs })).toEqual(
      offered.keys,
    );
    expect(certifiedKeys(crypto, offered, { identityKeys: [], nowMs })).toEqual([]);
    const late = nowMs + 8 * 24 * 3_600_000;
    expect(certifiedKeys(crypto, offered, { identityKeys: answer.keys, nowMs: late })).toEqual([]);
    const other = crypto.importSigningSeed(crypto.randomBytes(32));
    const forged = known === undefined ? [] : [{ ...known, publicKey: b64(other.publicKey.raw) }];
    expect(certifiedKeys(crypto, offered, { identityKeys: forged, nowMs })).toEqual([]);
  });

  test('sessions of a turned key are taken until they end, and hold the key so long', async () => {
    const adapter = await layers.identity.adapter();
    const before = await logIn(layers);
    await adapter.prepare('1/session-token', 2);
    const between = await logIn(layers);
    await turn(adapter, '1/session-token', 2);
    const after = await logIn(layers);
    const [first, second, third] = [before, between, after].map((token) => kidOf(token));
    expect(first === second && second !== third).toBe(true);
    await capabilitiesFor(layers, between);
    await capabilitiesFor(layers, after);
    expect(await adapter.usesLately('1/session-token', 1)).toBe(3);
    await layers.clock.advance(sessionMs);
    expect(await adapter.usesLately('1/session-token', 1)).toBe(0);
    await expect(capabilitiesFor(layers, between)).rejects.toThrow('SESSION_EXPIRED');
    await adapter.retire('1/session-token', 1);
    const refusal = () => moving(layers.clock, refusalOf(between));
    await until(layers.clock, async () => (await refusal()) === 'SESSION_KEY_UNKNOWN');
    await capabilitiesFor(layers, await logIn(layers));
    adapter.close();
  });

  test('sessions of a key that was taken back are taken until they end, and no longer', async () => {
    const adapter = await layers.identity.adapter();
    const old = await logIn(layers);
    await turn(adapter, '1/session-token', 3);
    const taken = await logIn(layers);
    await adapter.rollback('1/session-token', 2);
    const back = await logIn(layers);
    expect([kidOf(old) === kidOf(back), kidOf(old) === kidOf(taken)]).toEqual([true, false]);
    for (const session of [old, taken, back]) await capabilitiesFor(layers, session);
    expect(await adapter.usesLately('1/session-token', 3)).toBe(1);
    // They end in the order in which they were given out: a minute lies between them.
    const [first, second, third] = [old, taken, back].map((token) => endMs(token));
    await layers.clock.advance((first ?? 0) - layers.clock.nowMs());
    expect(await refusalOf(old)).toBe('SESSION_EXPIRED');
    await capabilitiesFor(layers, taken);
    await layers.clock.advance((second ?? 0) - layers.clock.nowMs());
    expect(await refusalOf(taken)).toBe('SESSION_EXPIRED');
    expect(await adapter.usesLately('1/session-token', 3)).toBe(0);
    await adapter.retire('1/session-token', 3);
    const refusal = () => moving(layers.clock, refusalOf(taken));
    await until(layers.clock, async () => (await refusal()) === 'SESSION_KEY_UNKNOWN');
    expect(third).toBeGreaterThan(layers.clock.nowMs());
    await capabilitiesFor(layers, back);
    await turn(adapter, '1/session-token', 4);
    adapter.close();
  });

  test('a restart forgets neither users, nor who holds a key, nor challenges', async () => {
    const adapter = await layers.identity.adapter();
    await logIn(layers);
    await layers.identity.stop();
    await layers.identity.start();
    expect(await adapter.usesLately('1/session-token', 4)).toBeGreaterThan(0);
    await capabilitiesFor(layers, await logIn(layers));
    adapter.close();
  });

  test('turning an identity key makes layer 2 ask for another certificate', async () => {
    const adapter = await layers.identity.adapter();
    const session = await logIn(layers);
    expect(await adapter.usesLately('1/identity-signature', 1)).toBe(1);
    await turn(adapter, '1/identity-signature', 2);
    const [token = ''] = await capabilitiesFor(layers, session);
    expect(await introspected(layers, token)).toBe('ok');
    await until(
      layers.clock,
      async () => (await adapter.usesLately('1/identity-signature', 1)) === 0,
    );
    expect(await adapter.usesLately('1/identity-signature', 2)).toBe(1);
    await adapter.retire('1/identity-signature', 1);
    const [, issuer] = await issuers();
    expect(issuer).toBe((await adapter.inspect())[0]?.versions[0]?.keyId);
    await layers.clock.advance(3_000);
    const [later = ''] = await capabilitiesFor(layers, await logIn(layers));
    expect(await introspected(layers, later)).toBe('ok');
    // Taken back before it is retired: the certificates go back with it.
    await turn(adapter, '1/identity-signature', 3);
    await until(
      layers.clock,
      async () => (await adapter.usesLately('1/identity-signature', 2)) === 0,
    );
    await adapter.rollback('1/identity-signature', 2);
    await until(
      layers.clock,
      async () => (await adapter.usesLately('1/identity-signature', 3)) === 0,
    );
    expect(await adapter.usesLately('1/identity-signature', 2)).toBe(1);
    adapter.close();
  });

  test.each(['2/capability-signature', '2/nonce-mac'])('turning %s', async (slot) => {
    const adapter = await layers.authorization.adapter();
    const session = await logIn(layers);
    const [early = '', late = '', gone = '', old = ''] = await capabilitiesFor(layers, session, {
      count: 4,
    });
    await adapter.prepare(slot, 2);
    const [between = ''] = await capabilitiesFor(layers, session);
    await turn(adapter, slot, 2);
    const [after = '', withdrawn = ''] = await capabilitiesFor(layers, session, { count: 2 });
    await layers.clock.advance(10);
    expect(await adapter.usesLately(slot, 1)).toBe(5);
    for (const token of [early, between, after]) {
      expect(await introspected(layers, token)).toBe('ok');
    }
    await adapter.rollback(slot, 1);
    // Of the key that was taken back, and of the one that came back.
    const [back = ''] = await capabilitiesFor(layers, session, { count: 2 });
    expect(await introspected(layers, withdrawn)).toBe('ok');
    expect(await introspected(layers, back)).toBe('ok');
    await turn(adapter, slot, 3);
    expect(await introspected(layers, late)).toBe('ok');
    await layers.clock.advance(60_000);
    expect(await introspected(layers, old)).toBe('CAPABILITY_EXPIRED');
    await layers.clock.advance(1_000);
    for (const version of [1, 2]) {
      expect(await adapter.usesLately(slot, version)).toBe(0);
      await adapter.retire(slot, version);
    }
    expect(await introspected(layers, gone)).toBe('CAPABILITY_KEY_UNKNOWN');
    const [fresh = ''] = await capabilitiesFor(layers, await logIn(layers));
    expect(await introspected(layers, fresh)).toBe('ok');
    adapter.close();
  });

  test('while layer 1 is down layer 2 goes on, also when it starts anew', async () => {
    const session = await logIn(layers);
    await layers.identity.stop();
    await layers.clock.advance(10_000);
    const [token = '', other = ''] = await capabilitiesFor(layers, session, { count: 2 });
    expect(await introspected(layers, token)).toBe('ok');
    await layers.authorization.stop();
    await layers.authorization.start();
    expect(await introspected(layers, token)).toBe('NONCE_REPLAYED');
    expect(await introspected(layers, other)).toBe('ok');
    const [again = ''] = await capabilitiesFor(layers, session);
    expect(await introspected(layers, again)).toBe('ok');
    const adapter = await layers.authorization.adapter();
    await expect(adapter.prepare('2/capability-signature', 9)).rejects.toMatchObject({
      code: 'SYSTEM_UNREACHABLE',
      retryable: true,
    });
    await layers.identity.start();
    await adapter.prepare('2/capability-signature', 9);
    expect((await certificatesOf(layers.authorization)).length).toBe(2);
    adapter.close();
  });

  test('nothing that was logged names a user or a token', async () => {
    const token = await logIn(layers);
    await login(layers.identity.client, layers.user, { otp: '00000000' });
    expect(layers.lines.length).toBeGreaterThan(3);
    const text = layers.lines.join('\n');
    expect(text).not.toContain('nora');
    expect(text).not.toContain(token.slice(0, 40));
    expect(text).toContain('SECOND_FACTOR_INVALID');
  });
});

async function issuers(): Promise<string[]> {
  const [certificate] = await certificatesOf(layers.authorization);
  return [certificate?.body.subject_key_id ?? '', certificate?.body.issuer_key_id ?? ''];
}

async function refusalOf(session: string): Promise<string> {
  const body = { session, scope: ['record:read'], audience: 'database' };
  const path = '/v1/capabilities';
  const answer = await layers.authorization.client.ask({ method: 'POST', path, body });
  return answer.status === 'refused' ? answer.code : 'ok';
}

function endMs(token: string): number {
  return Number(decodeJwt(token).exp) * 1_000;
}

function kidOf(token: string): string {
  return decodeProtectedHeader(token).kid ?? '';
}

function b64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}
