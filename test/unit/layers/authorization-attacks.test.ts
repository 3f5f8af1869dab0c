/** What is no session and no capability, made by somebody who knows how they are made. */
import { createHmac } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkToken, type TokenRules } from '#agents/layers/service/token-check.ts';
import { keySetCheck, sessionToken } from '#schemas/identity.ts';
import { sizes } from '#shared/crypto/provider.ts';
import { toBase64Url, toHex, utf8 } from '#shared/crypto/bytes.ts';
import { crypto } from '../../support/world.ts';
import {
  capabilitiesFor,
  certificatesOf,
  codeOf,
  done,
  introspected,
  logIn,
  moving,
  startLayers,
  type Layers,
} from './identity-world.ts';

let layers: Layers;
let session: string;
const thief = crypto.importSigningSeed(crypto.randomBytes(32));

beforeAll(async () => {
  layers = await startLayers();
  session = await logIn(layers);
});
afterAll(() => layers.end());

/** The same claims and header, but for what is changed, signed by the thief's key. */
function forged(token: string, header: object = {}, claims: object = {}): string {
  const parts = [
    { ...decodeProtectedHeader(token), ...header },
    { ...decodeJwt(token), ...claims },
  ];
  const text = parts.map((part) => toBase64Url(utf8(JSON.stringify(part)))).join('.');
  const signature = crypto.sign(thief, { message: utf8(text), context: new Uint8Array() });
  return `${text}.${toBase64Url(signature)}`;
}

async function given(token: string): Promise<string> {
  const body = { session: token, scope: ['record:read'], audience: 'database' };
  const asked = layers.authorization.client.ask({ method: 'POST', path: '/v1/capabilities', body });
  return codeOf(await moving(layers.clock, asked));
}

function counted(code: string): number {
  return layers.authorization.service.measure()[`refused-${code}`] ?? 0;
}

describe('a session', () => {
  test('is signed by a session key of layer 1 and nothing else', async () => {
    const keyId = toHex(crypto.sha3_256(thief.publicKey.raw));
    const identityKey = await keyIdOf('1/identity-signature');
    expect(await given(forged(session))).toBe('SESSION_INVALID');
    expect(await given(forged(session, { kid: keyId }))).toBe('SESSION_KEY_UNKNOWN');
    expect(await given(forged(session, { kid: identityKey }))).toBe('SESSION_KEY_UNKNOWN');
    expect(await given(forged(session, { alg: 'none' }))).toBe('SESSION_INVALID');
    expect(await given(forged(session, { typ: 'JWT' }))).toBe('SESSION_INVALID');
    expect(counted('session-key-unknown')).toBe(2);
  });

  test('is not signed with the public key as a secret', async () => {
    const answer = await done(layers.identity.client, 'GET', '/v1/jwks');
    const [key] = (answer as { keys: { pub: string; kid: string }[] }).keys;
    const head = toBase64Url(utf8(JSON.stringify({ alg: 'HS256', kid: key?.kid })));
    const text = `${head}.${session.split('.')[1]}`;
    const secret = Buffer.from(key?.pub ?? '', 'base64url');
    const mac = createHmac('sha256', secret).update(text).digest('base64url');
    expect(await given(`${text}.${mac}`)).toBe('SESSION_INVALID');
  });

  test('is no capability, and a capability is no session', async () => {
    const [token = ''] = await capabilitiesFor(layers, session);
    expect(await given(token)).toBe('SESSION_KEY_UNKNOWN');
    expect(await introspected(layers, session)).toBe('CAPABILITY_INVALID');
  });

  test('gives what the roles give and no more', async () => {
    const asked = (scope: string[]) => capabilitiesFor(layers, session, { scope });
    await expect(asked(['record:read', 'encryption:use'])).rejects.toThrow('SCOPE_EXCEEDED');
    await expect(asked(['everything'])).rejects.toThrow('REQUEST_MALFORMED');
    await expect(capabilitiesFor(layers, session, { count: 17 })).rejects.toThrow('MALFORMED');
    const [token = ''] = await asked(['record:read', 'patient:read']);
    const { control } = layers.authorization;
    await done(control, 'PUT', '/v1/admin/roles/nurse', { scopes: ['patient:read'] });
    expect(await introspected(layers, token)).toBe('SCOPE_EXCEEDED');
    await done(control, 'PUT', '/v1/admin/roles/nurse', {
      scopes: ['patient:read', 'record:read'],
    });
    expect(await introspected(layers, token, { scope: 'record:write' })).toBe('SCOPE_EXCEEDED');
    expect(await introspected(layers, token)).toBe('ok');
    await expect(
      done(control, 'PUT', '/v1/admin/subjects/nora', { roles: ['surgeon'] }),
    ).rejects.toThrow('ROLE_UNKNOWN');
  });
});

test('a token is for those whom it names, from the one who signs, and not before its time', async () => {
  const answer = await done(layers.identity.client, 'GET', '/v1/jwks');
  if (!keySetCheck.check(answer)) throw new Error('no keys');
  const fault = async (other: Partial<TokenRules>) => {
    const verdict = await checkToken(session, {
      ...sessionToken,
      clock: layers.clock,
      keyOf: async (keyId) => answer.keys.find(({ kid }) => kid === keyId),
      ...other,
    });
    return verdict.status === 'valid' ? 'valid' : verdict.fault;
  };
  const at = (nowMs: number) => ({ nowMs: () => nowMs });
  expect(await fault({})).toBe('valid');
  expect(await fault({ audience: 'gyre/database' })).toBe('audience');
  expect(await fault({ issuer: 'gyre/authorization' })).toBe('foreign');
  expect(await fault({ type: 'capability+jwt' })).toBe('invalid');
  expect(await fault({ clock: at(Number(decodeJwt(session).iat) * 1_000 - 1_000) })).toBe(
    'invalid',
  );
  expect(await fault({ clock: at(Number(decodeJwt(session).exp) * 1_000) })).toBe('expired');
  expect(await fault({ keyOf: async () => undefined })).toBe('key-unknown');
});

describe('a capability', () => {
  test('is for one service, for a minute', async () => {
    const [token = ''] = await capabilitiesFor(layers, session);
    expect(await introspected(layers, token, { by: 6 })).toBe('AUDIENCE_WRONG');
    await layers.clock.advance(60_000);
    expect(await introspected(layers, token)).toBe('CAPABILITY_EXPIRED');
  });

  test('that is rubbish never reaches the signature, nor the store', async () => {
    const [token = ''] = await capabilitiesFor(layers, session);
    const before = layers.authorization.service.measure()['nonces-kept'];
    const jti = String(decodeJwt(token).jti);
    const own = jti.replace(/[^.]{64}$/, 'A'.repeat(64));
    const refusals = [
      'rubbish',
      'a.b.c',
      forged(token),
      forged(token, {}, { jti: own }),
      forged(token, {}, { sub: 'somebody' }),
      forged(token, {}, { exp: Number(decodeJwt(token).exp) + 60 }),
      forged(token, {}, { scope: 'record:write' }),
      `${token.slice(0, -8)}AAAAAAAA`,
    ];
    for (const refusal of refusals) {
      expect(await introspected(layers, refusal)).toBe('CAPABILITY_INVALID');
    }
    expect(await introspected(layers, forged(token, {}, { jti: jti.replace(/^1/, '7') }))).toBe(
      'CAPABILITY_KEY_UNKNOWN',
    );
    expect(counted('capability-invalid')).toBeGreaterThanOrEqual(refusals.length);
    expect(layers.authorization.service.measure()['nonces-kept']).toBe(before);
    expect(await introspected(layers, token)).toBe('ok');
  });

  test('shown twice at the same moment is taken once', async () => {
    const [token = ''] = await capabilitiesFor(layers, session);
    const codes = await Promise.all([1, 2, 3, 4].map(() => introspected(layers, token)));
    expect(codes.toSorted()).toEqual([...Array.from({ length: 3 }, () => 'NONCE_REPLAYED'), 'ok']);
  });

  test('under a key that layer 1 does not vouch for is not taken', async () => {
    const [token = ''] = await capabilitiesFor(layers, session);
    const [certificate] = await certificatesOf(layers.authorization);
    await layers.identity.stop();
    await layers.authorization.stop();
    const path = join(layers.authorization.folder, 'layer-2', 'authorization.db');
    // A certificate by the thief, in place of layer 1's.
    const signature = toBase64Url(crypto.randomBytes(sizes.mlDsa87.signature));
    write(path, JSON.stringify({ ...certificate, signature }));
    await layers.authorization.start();
    expect(await introspected(layers, token)).toBe('CAPABILITY_KEY_UNCERTIFIED');
    expect(await given(session)).toBe('CAPABILITY_KEY_UNCERTIFIED');
    const adapter = await layers.authorization.adapter();
    expect(await adapter.verify('2/capability-signature', 1)).toMatchObject({ ok: false });
    adapter.close();
    await layers.identity.start();
    const certified = async () => {
      while ((await introspected(layers, token)) !== 'ok') await layers.clock.advance(100);
    };
    await certified();
    expect(await introspected(layers, token)).toBe('NONCE_REPLAYED');
  });
});

test.each(['2/capability-signature', '2/nonce-mac'])(
  'while %s is frozen nothing is given, all is taken',
  async (slot) => {
    const { control } = layers.authorization;
    const [token = ''] = await capabilitiesFor(layers, session);
    await done(control, 'POST', '/v1/control/freeze', { slot, frozen: true });
    expect(await given(session)).toBe('SIGNING_FROZEN');
    expect(await introspected(layers, token)).toBe('ok');
    await done(control, 'POST', '/v1/control/freeze', { slot, frozen: false });
    expect(await given(session)).toBe('ok');
  },
);

async function keyIdOf(slot: string): Promise<string> {
  const adapter = await layers.identity.adapter();
  const found = (await adapter.inspect()).find((each) => each.slot === slot);
  adapter.close();
  return found?.versions[0]?.keyId ?? '';
}

function write(path: string, certificate: string): void {
  const database = new DatabaseSync(path);
  database.prepare('UPDATE certificates SET certificate = ?').run(certificate);
  database.close();
}
