/**
 * Layers 1 and 2 over their sockets: any body on any route, tokens that are anything or nearly right.
 * Every answer is of the closed form with a code that is not INTERNAL, and the services go on.
 */
import fc from 'fast-check';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Challenges } from '#agents/layers/1-identity/challenges.ts';
import { openService as openIdentity } from '#agents/layers/1-identity/service.ts';
import { openService as openAuthorization } from '#agents/layers/2-authorization/service.ts';
import { certifiedKeys, isSignedByIdentity } from '#agents/layers/service/key-certificate.ts';
import { checkToken, decodedToken } from '#agents/layers/service/token-check.ts';
import type { HttpMethod, ServiceClient } from '#agents/layers/service/service-client.ts';
import { capabilityKeysCheck } from '#schemas/authorization.ts';
import { identityKeysCheck } from '#schemas/identity.ts';
import { Secret } from '#shared/crypto/secret.ts';
import { RunningService, serviceFolder } from '../support/layer-service.ts';
import { crypto } from '../support/world.ts';
import { timeoutMs, tries } from './runs.ts';

const options = { timeout: timeoutMs };
const folder = serviceFolder();
let identity: RunningService;
let authorization: RunningService;

beforeAll(async () => {
  identity = await RunningService.start({ layer: 1, open: openIdentity, folder });
  authorization = await RunningService.start({ layer: 2, open: openAuthorization, folder });
});
afterAll(async () => {
  await authorization.end();
  await identity.end();
});

const letters = fc.string({
  unit: fc.constantFrom('A', 'Z', 'a', 'z', '0', '9', '-', '_', '.'),
  maxLength: 200,
});
const part = fc
  .jsonValue()
  .map((value) => Buffer.from(JSON.stringify(value)).toString('base64url'));
const token = fc.oneof(
  letters,
  fc.string({ maxLength: 60 }),
  fc.tuple(part, part, letters).map((parts) => parts.join('.')),
);
const fields = fc.constantFrom('subject', 'challengeId', 'signature', 'otp', 'session', 'scope');
const more = fc.constantFrom('audience', 'count', 'token', 'slot', 'keyId', 'publicKey', 'serials');
const value = fc.oneof(fc.jsonValue({ maxDepth: 2 }), token, fc.constant('record:read'));
const body = fc.oneof(fc.jsonValue(), fc.dictionary(fc.oneof(fields, more), value, { maxKeys: 5 }));

async function codeOf(client: ServiceClient, method: HttpMethod, path: string, sent: unknown) {
  const answer = await client.ask({ method, path, body: sent });
  return answer.status === 'refused' ? answer.code : 'ok';
}

describe('layers 1 and 2', () => {
  const routes = [
    ['identity', 'POST', '/v1/challenges'],
    ['identity', 'POST', '/v1/sessions'],
    ['identity', 'POST', '/internal/v1/certificates'],
    ['identity', 'PUT', '/internal/v1/certificates/in-use'],
    ['authorization', 'POST', '/v1/capabilities'],
    ['authorization', 'POST', '/internal/v1/introspections'],
  ] as const;
  test.each(routes)('%s: %s %s takes any body', options, async (which, method, path) => {
    const client = (): ServiceClient => {
      const service = which === 'identity' ? identity : authorization;
      if (!path.startsWith('/internal/')) return service.client;
      return service.asPeer(which === 'identity' ? 2 : 6);
    };
    await fc.assert(
      fc.asyncProperty(body, async (sent) => {
        expect(await codeOf(client(), method, path, sent)).not.toBe('INTERNAL');
      }),
      tries(10),
    );
  });

  test('administrators may send anything', options, async () => {
    const segment = letters.map((text) => text.slice(0, 20).replaceAll('.', '%2e'));
    const path = fc.oneof(
      fc.constantFrom('users/a', 'roles/a', 'subjects/a'),
      segment.map((name) => `users/${name}`),
      segment,
    );
    await fc.assert(
      fc.asyncProperty(path, body, async (to, sent) => {
        for (const { control } of [identity, authorization]) {
          expect(await codeOf(control, 'PUT', `/v1/admin/${to}`, sent)).not.toBe('INTERNAL');
        }
      }),
      tries(10),
    );
  });

  test('a capability may be anything', options, async () => {
    const path = '/internal/v1/introspections';
    const asked = { scope: 'record:read' };
    await fc.assert(
      fc.asyncProperty(token, async (shown) => {
        const code = await codeOf(authorization.asPeer(5), 'POST', path, {
          ...asked,
          token: shown,
        });
        expect(['CAPABILITY_INVALID', 'REQUEST_MALFORMED']).toContain(code);
      }),
      tries(25),
    );
  });
});

describe('what is decoded', () => {
  test('a token is one or is none', options, async () => {
    const secret = crypto.randomBytes(32);
    const good = await new SignJWT({}).setProtectedHeader({ alg: 'HS256', kid: 'k' }).sign(secret);
    expect(decodedToken(good)?.keyId).toBe('k');
    const rules = { type: 't', issuer: 'i', audience: 'a', clock: { nowMs: () => 0 } };
    await fc.assert(
      fc.asyncProperty(fc.oneof(token, fc.constant(good)), async (text) => {
        decodedToken(text);
        const verdict = await checkToken(text, { ...rules, keyOf: async () => undefined });
        expect(verdict.status).toBe('invalid');
      }),
      tries(200),
    );
  });

  test('a challenge is ours or is none', options, () => {
    const challenges = new Challenges(crypto, new Secret(crypto.randomBytes(32)));
    const { challengeId } = challenges.give('nora', { nowMs: 0, generation: 3 });
    expect(challenges.take(challengeId)).toMatchObject({ subject: 'nora', generation: 3 });
    const changed = fc
      .tuple(fc.nat(challengeId.length - 1), fc.constantFrom('A', 'B', '_'))
      .map(([at, letter]) => challengeId.slice(0, at) + letter + challengeId.slice(at + 1));
    fc.assert(
      fc.property(fc.oneof(letters, changed), (id) => {
        expect(id === challengeId || challenges.take(id) === undefined).toBe(true);
      }),
      tries(300),
    );
  });

  test(
    'certificates that are of the form and nothing more count for nothing',
    options,
    async () => {
      const ask = async (client: ServiceClient, path: string) => {
        const answer = await client.ask({ method: 'GET', path });
        return answer.status === 'done' ? answer.body : undefined;
      };
      const offered = await ask(authorization.client, '/v1/capability-keys');
      const known = await ask(identity.client, '/v1/identity-keys');
      if (!capabilityKeysCheck.check(offered) || !identityKeysCheck.check(known)) {
        throw new Error('the keys are not of their form');
      }
      const [issuer] = known.keys;
      const [key] = offered.keys;
      const body = {
        kind: 'key_certificate' as const,
        serial: '0'.repeat(32),
        subject_slot: '2/capability-signature',
        subject_key_id: key?.kid ?? '',
        issuer_key_id: issuer?.keyId ?? '',
        issued_at_ms: 0,
        expires_at_ms: 1_000,
      };
      fc.assert(
        fc.property(letters, (signature) => {
          const certificate = { body, signature };
          expect(isSignedByIdentity(crypto, certificate, known.keys)).toBe(false);
          const forged = { keys: offered.keys, certificates: [certificate] };
          const trusted = { identityKeys: known.keys, nowMs: 1 };
          expect(certifiedKeys(crypto, forged, trusted)).toEqual([]);
        }),
        tries(10),
      );
    },
  );
});
