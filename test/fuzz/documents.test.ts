/**
 * Documents and what is signed beside frames: bundles, offers, statements, capsules, versioned objects,
 * records of an audit. Valid ones with a field changed, and values of any shape: each is refused with a
 * code of the closed set, none is adopted, nothing throws.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { trustBundleCheck, type OfferedDocument, type TrustBundle } from '#schemas/trust.ts';
import { cryptoObjectCodes, type CryptoObject } from '#schemas/crypto-object.ts';
import { orchCodes, refusalCodes } from '#schemas/errors.ts';
import { archiveContent, openArchived } from '#shared/crypto/audit-archive.ts';
import { readAuditedFrame } from '#shared/crypto/audit-event.ts';
import { verifyTelemetryProof } from '#shared/crypto/batch-evidence.ts';
import { concat, utf8 } from '#shared/crypto/bytes.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { isJson } from '#shared/crypto/canonical-json.ts';
import {
  createCryptoObject,
  parseCryptoObject,
  verifyCryptoObject,
} from '#shared/crypto/crypto-object.ts';
import {
  newHybridKey,
  openCapsule,
  openSecrets,
  sealCapsule,
  sealSecrets,
} from '#shared/crypto/epoch-capsule.ts';
import { openTrust } from '#shared/crypto/trust.ts';
import { documentDigest, verifyDocument } from '#shared/crypto/signed-document.ts';
import { ProviderRegistry } from '#shared/crypto/algorithms.ts';
import { amended, revocationOf } from '../support/documents.ts';
import { crypto, makeWorld, type World } from '../support/world.ts';
import { anyBytes, anyValue, frameCases, jsonText, mutated } from './inputs.ts';
import { alteredOf } from './alterations.ts';
import { timeoutMs, tries } from './runs.ts';

const options = { timeout: timeoutMs };
const bundleCodes = [
  'BUNDLE_MALFORMED',
  'ROOT_NOT_PINNED',
  'ROOT_INVALID',
  'REGISTRY_INVALID',
  'POLICY_INVALID',
  'ENROLMENT_INVALID',
  'TRUST_NOT_YET_VALID',
];

let world: World;
let offers: OfferedDocument[];
const registry = new ProviderRegistry();

beforeAll(async () => {
  world = await makeWorld();
  await registry.register({ name: 'native', kind: 'software', crypto }, ['ML-DSA-87']);
  offers = [
    await amended(world, world.trust.registry),
    await amended(world, world.trust.policy),
    await revocationOf(world, 'phi-a'),
  ];
});

describe('trust', options, () => {
  test('a bundle with anything changed', () => {
    fc.assert(
      fc.property(fc.oneof(alteredOf([world.bundle]), fc.jsonValue()), (bundle) => {
        const { rootDigest } = world;
        const opening = openTrust(crypto, { bundle, rootDigest, nowMs: world.clock.nowMs() });
        if (opening.status === 'ok') expectSigned(opening.trust.bundle);
        else expect(bundleCodes).toContain(opening.code);
      }),
      tries(250),
    );
    expect(trustBundleCheck.check(world.bundle)).toBe(true);
  });

  test('a bundle whose root is another one, pinned all the same', () => {
    const roots = alteredOf([world.bundle.root]).filter(isRecordWithBody);
    fc.assert(
      fc.property(roots, fc.string({ maxLength: 64 }), (root, rootDigest) => {
        const bundle = { ...world.bundle, root };
        const opening = openTrust(crypto, { bundle, rootDigest });
        expect(opening.status).toBe('refused');
        const pinned = isJson(root.body) ? documentDigest(crypto, root.body) : rootDigest;
        const again = openTrust(crypto, { bundle, rootDigest: pinned });
        if (again.status === 'ok') expect(root.body).toEqual(world.bundle.root.body);
        else expect(bundleCodes).toContain(again.code);
      }),
      tries(150),
    );
    expect(world.bundle.root.body.kind).toBe('root');
  });

  test('an offer with anything changed', () => {
    const trust = world.newTrust();
    fc.assert(
      fc.property(fc.oneof(alteredOf(offers), fc.jsonValue()), (document) => {
        const adoption = trust.adopt(document, world.clock.nowMs());
        if (adoption.status === 'adopted')
          expect(bodiesOf(offers)).toContainEqual(bodiesOf(document));
        else if (adoption.status === 'refused') expect(orchCodes).toContain(adoption.code);
      }),
      tries(300),
    );
    expect(trust.highest().root.version).toBe(1);
  });

  test('an offer as bytes', () => {
    const trust = world.newTrust();
    const written = offers.map((offer) => utf8(JSON.stringify(offer)));
    const inputs = fc.oneof(
      anyBytes,
      jsonText.map((text) => new Uint8Array(Buffer.from(text))),
      mutated(written),
    );
    fc.assert(
      fc.property(inputs, (bytes) => {
        const adoption = trust.adoptBytes(bytes, world.clock.nowMs());
        if (adoption.status === 'refused') expect(orchCodes).toContain(adoption.code);
        if (adoption.status === 'adopted') {
          expect(bodiesOf(offers)).toContainEqual(
            bodiesOf(JSON.parse(Buffer.from(bytes).toString())),
          );
        }
      }),
      tries(300),
    );
    expect(trust.adoptBytes(new Uint8Array(500_000), 0)).toMatchObject({ refusal: 'TOO_LARGE' });
  });

  test('signatures over what has no canonical form', () => {
    const { keys, roles } = world.trust.root;
    const accepted = {
      keys: Object.entries(keys).map(([keyId]) => ({ keyId, publicKey: new Uint8Array(2592) })),
      threshold: roles.policy.threshold,
    };
    fc.assert(
      fc.property(alteredOf(offers), anyValue, (document, body) => {
        const { signatures } = offers[0] as OfferedDocument;
        const altered = { body: { kind: 'policy', body }, signatures };
        const codes = ['THRESHOLD_NOT_MET', 'SIGNATURE_INVALID', 'DOCUMENT_MALFORMED'];
        expect(codes).toContain(verifyDocument(crypto, altered, accepted));
        if (!trustBundleCheck.check(document)) return;
        expect(codes).toContain(verifyDocument(crypto, document.policy, accepted));
      }),
      tries(200),
    );
    expect(accepted.threshold).toBe(2);
  });
});

/** Nothing in it that was not signed; of enrolments some may be left out. */
function expectSigned({ enrolments, ...documents }: TrustBundle): void {
  const { enrolments: signed, ...originals } = world.bundle;
  expect(bodiesOf(documents)).toEqual(bodiesOf(originals));
  for (const { body } of enrolments) expect(bodiesOf(signed)).toContainEqual(body);
}

/** Without signatures: one that is written twice counts once, so there may be more of them. */
function bodiesOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(bodiesOf);
  if (typeof value !== 'object' || value === null) return value;
  if ('body' in value) return value.body;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, bodiesOf(part)]));
}

/** Anything that at least has a body. */
function isRecordWithBody(value: unknown): value is { readonly body: { readonly kind: string } } {
  return typeof value === 'object' && value !== null && 'body' in value;
}

describe('secrets of epochs', options, () => {
  const name = { mesh: 'test', channel: 'saga', epoch: 1 };
  const prekey = newHybridKey(crypto);
  const secret = new Uint8Array(32).fill(7);
  const capsule = sealCapsule(crypto, {
    ...name,
    agentId: 'auditor',
    prekey: { prekeyId: prekey.keyId, publicKey: prekey.publicKey },
    secret,
  });

  test('a capsule', () => {
    fc.assert(
      fc.property(
        mutated([capsule.kemCiphertext, capsule.sealedSecret]),
        fc.boolean(),
        (bytes, isKem) => {
          const changed = { ...capsule, [isKem ? 'kemCiphertext' : 'sealedSecret']: bytes };
          const opened = openCapsule(crypto, { ...name, capsule: changed, prekey });
          if (opened !== undefined) expect(changed).toEqual(capsule);
        },
      ),
      tries(150),
    );
    expect(openCapsule(crypto, { ...name, capsule, prekey })).toEqual(secret);
  });

  test('an answer with secrets', () => {
    const asked = { mesh: 'test', asker: 'auditor', publicKey: prekey.publicKey };
    const secrets = [{ channel: 'saga', epoch: 1, standing: 'active' as const, secret }];
    const answer = sealSecrets(crypto, { ...asked, secrets });
    fc.assert(
      fc.property(mutated([answer.kemCiphertext, answer.sealed]), fc.boolean(), (bytes, isKem) => {
        const changed = { ...answer, [isKem ? 'kemCiphertext' : 'sealed']: bytes };
        const opened = openSecrets(crypto, { ...asked, key: prekey, answer: changed });
        if (opened !== undefined) expect(changed).toEqual(answer);
      }),
      tries(150),
    );
    expect(openSecrets(crypto, { ...asked, key: prekey, answer })).toEqual(secrets);
  });

  test('an archived content', () => {
    const archiveKey = new Uint8Array(32).fill(3);
    const leaf = { auditor: 'auditor', leafIndex: 4, hash: 'ab'.repeat(32) };
    const content = { salt: new Uint8Array(32), bodyBytes: encodeCanonical({ a: 1 }) };
    const archived = archiveContent(crypto, archiveKey, leaf, content);
    fc.assert(
      fc.property(fc.oneof(anyBytes, mutated([archived])), (bytes) => {
        const opened = openArchived(crypto, archiveKey, leaf, bytes);
        if (opened !== undefined) expect(Buffer.compare(bytes, archived)).toBe(0);
      }),
      tries(400),
    );
    expect(openArchived(crypto, archiveKey, leaf, archived)?.bodyBytes).toEqual(content.bodyBytes);
  });
});

describe('versioned objects', options, () => {
  const head = {
    keyIdHex: 'ab'.repeat(32),
    createdAtMs: 1_800_000_000_000,
    isBackwardCompatible: true,
  };
  const objects = [
    createCryptoObject({
      ...head,
      type: 'signature',
      algorithm: 'ML-DSA-87',
      value: new Uint8Array(4627),
    }),
    createCryptoObject({
      ...head,
      type: 'ciphertext',
      algorithm: 'AES-256-GCM',
      value: new Uint8Array(60),
    }),
    createCryptoObject({
      ...head,
      type: 'wrapped_key',
      algorithm: 'AES-256-GCM',
      value: new Uint8Array(60),
    }),
  ];

  test('are written in one way, or refused', () => {
    const request = {
      input: { message: new Uint8Array(3), context: new Uint8Array() },
      keys: () => ({ algorithm: 'ML-DSA-87', raw: new Uint8Array(2592) }),
      providers: registry,
      preference: ['native'] as const,
      documents: { policy: world.trust.policy, registry: world.trust.registry },
      layer: 1,
    };
    fc.assert(
      fc.property(fc.oneof(alteredOf<unknown>(objects), anyValue), (received) => {
        const parsed = parseCryptoObject(received);
        if (parsed.status === 'refused') expect(cryptoObjectCodes).toContain(parsed.code);
        else expect(createCryptoObject(parsed)).toEqual(received as CryptoObject);
        const verified = verifyCryptoObject(received, request);
        expect(verified.status).toBe('refused');
      }),
      tries(500),
    );
    expect(objects.map((object) => parseCryptoObject(object).status)).toEqual(['ok', 'ok', 'ok']);
  });
});

describe('what an audit and third parties read', options, () => {
  const bytes = frameCases.map((each) => each.bytes);

  test('frames', () => {
    fc.assert(
      fc.property(fc.oneof(anyBytes, mutated(bytes)), (received) => {
        const reading = readAuditedFrame(crypto, world.trust, received);
        if (reading.ok) expect(reading.audited.hash).toHaveLength(64);
        else expect(refusalCodes).toContain(reading.code);
      }),
      tries(400),
    );
    expect(readAuditedFrame(crypto, world.trust, concat()).ok).toBe(false);
  });

  test('proofs of telemetry', () => {
    fc.assert(
      fc.property(anyValue, (proof) => {
        const verdict = verifyTelemetryProof(crypto, world.trust, { proof, addressOf: () => null });
        expect(verdict.status === 'refused' && refusalCodes).toContain(
          verdict.status === 'refused' ? verdict.code : '',
        );
      }),
      tries(300),
    );
    expect(bytes.length).toBeGreaterThan(60);
  });
});
