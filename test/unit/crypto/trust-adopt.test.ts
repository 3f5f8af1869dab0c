/**
 * Trust as it is amended: what is adopted, and each attack of The Update Framework's taxonomy that
 * applies to a mesh (rollback, freeze, fast-forward and its recovery, mix-and-match, endless data, wrong
 * role, key compromise below the threshold), against `TrustView.adopt`.
 */

import { beforeAll, describe, expect, it } from 'vitest';
import { documentBytesMax } from '#schemas/document.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { isOfferedStill, versionJumpMax } from '#shared/core/document-review.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import { documentDigest } from '#shared/crypto/signed-document.ts';
import type { Adoption, TrustView } from '#shared/crypto/trust.ts';
import {
  instant,
  policyAfter,
  registryAfter,
  revocationOf,
  rootAfter,
  signedBy,
} from '../../support/amendments.ts';
import { crypto, makeWorld, type World } from '../../support/world.ts';

let world: World;
let trust: TrustView;

beforeAll(async () => {
  world = await makeWorld();
  trust = world.newTrust();
});

const fresh = (): TrustView => world.newTrust();
const nowMs = (): number => world.clock.nowMs();
const refusalOf = (adoption: Adoption): string =>
  adoption.status === 'refused' ? `${adoption.code} ${adoption.refusal}` : adoption.status;

async function offerPolicy(
  view: TrustView,
  change: (body: PolicyBody) => void = () => undefined,
  signers?: readonly string[],
): Promise<string> {
  const document = await signedBy(world, policyAfter(world, change), signers);
  return refusalOf(view.adopt(document, nowMs()));
}

describe('a document that holds', () => {
  it('is in force at once, and what was in force before stays known', async () => {
    const view = fresh();
    const told: string[] = [];
    view.onAdopted(({ kind, version }) => told.push(`${kind} ${version}`));
    const before = view.policyDigest;
    const policy = await signedBy(
      world,
      policyAfter(world, (body) => {
        body.policies.rotation.soak_ms = 77;
      }),
    );
    const registry = await signedBy(world, registryAfter(world));
    expect(view.adopt(policy, nowMs())).toMatchObject({ status: 'adopted', version: 2 });
    expect(view.adopt(registry, nowMs())).toMatchObject({ status: 'adopted', kind: 'registry' });
    expect(view.policy.policies.rotation.soak_ms).toBe(77);
    expect(view.highest().policy).toEqual({ version: 2, digest: view.policyDigest });
    expect(view.policyOf(before)?.version).toBe(1);
    expect(view.policySupersededAtMs(before)).toBeDefined();
    expect(view.policySupersededAtMs(view.policyDigest)).toBeUndefined();
    expect(view.standingOf('policy', { version: 1, digest: before })).toBe('superseded');
    expect(view.standingOf('policy', { version: 9, digest: before.replace(/./g, '0') })).toBe(
      'ahead',
    );
    expect(told).toEqual(['policy 2', 'registry 2']);
    expect(trust.policy.version).toBe(1);
  });

  it('is taken once; the same again is known', async () => {
    const view = fresh();
    const document = await signedBy(world, policyAfter(world));
    expect(view.adopt(document, nowMs()).status).toBe('adopted');
    expect(view.adopt(structuredClone(document), nowMs())).toEqual({ status: 'known' });
    expect(view.adopt(world.bundle.registry, nowMs())).toEqual({ status: 'known' });
  });

  it('may skip versions that were never handed out, and is handed on in an order that holds', async () => {
    const view = fresh();
    const registry = await signedBy(
      world,
      registryAfter(world, (body) => (body.version = 5)),
    );
    const policy = await signedBy(
      world,
      policyAfter(world, (body) => (body.version = 9)),
    );
    view.adopt(registry, nowMs());
    view.adopt(policy, nowMs());
    view.adopt(await signedBy(world, revocationOf(world, 'phi-a')), nowMs());
    const known = { rootVersion: 1, registryVersion: 1, policyVersion: 1 };
    const since = view.documentsSince(known);
    expect(since.map(({ body }) => body.kind)).toEqual(['registry', 'policy', 'revocation']);
    const late = fresh();
    expect(since.map((each) => late.adopt(each, nowMs()).status)).toEqual([
      'adopted',
      'adopted',
      'adopted',
    ]);
    expect(late.highest()).toEqual(view.highest());
    const rest = view.documentsSince({ ...known, registryVersion: 5, policyVersion: 9 });
    expect(rest.map(({ body }) => body.kind)).toEqual(['revocation']);
  });

  it('leaves a saga under the policy that it began with, unless it applies at once', async () => {
    const view = fresh();
    const begun = view.policyDigest;
    await offerPolicy(view, (body) => (body.version = 2));
    expect(view.policyFor(begun)?.version).toBe(1);
    await offerPolicy(view, (body) => {
      body.version = 3;
      body.applies = 'at-once';
    });
    expect(view.policyFor(begun)?.version).toBe(3);
    await offerPolicy(view, (body) => (body.version = 4));
    expect(view.policyFor(begun)?.version).toBe(4);
    expect(view.policyFor('0'.repeat(64))).toBeUndefined();
  });
});

it('is offered again while it is the newest of its kind, a root always', () => {
  const newest = { root: { version: 3 }, registry: { version: 2 }, policy: { version: 5 } };
  const still = (kind: 'root' | 'registry' | 'policy', version: number): boolean =>
    isOfferedStill({ kind, version }, newest);
  expect([still('policy', 5), still('policy', 4), still('registry', 1)]).toEqual([
    true,
    false,
    false,
  ]);
  expect([still('root', 2), still('root', 3)]).toEqual([true, true]);
});

describe('rollback', () => {
  it('of policy or registry is refused, whoever signed it once', async () => {
    const view = fresh();
    const second = await signedBy(world, policyAfter(world));
    view.adopt(second, nowMs());
    await offerPolicy(view, (body) => (body.version = 3));
    expect(refusalOf(view.adopt(second, nowMs()))).toBe('ORCH-8011 ROLLBACK');
    expect(refusalOf(view.adopt(world.bundle.policy, nowMs()))).toBe('ORCH-8011 ROLLBACK');
    view.adopt(await signedBy(world, registryAfter(world)), nowMs());
    expect(refusalOf(view.adopt(world.bundle.registry, nowMs()))).toBe('ORCH-8010 ROLLBACK');
    expect(view.policy.version).toBe(3);
  });

  it('behind the same version with other content is refused', async () => {
    const view = fresh();
    await offerPolicy(view);
    const other = await offerPolicy(view, (body) => (body.policies.rotation.soak_ms = 9));
    expect(other).toBe('ORCH-8011 VERSION_TAKEN');
  });

  it('by a higher version of what was issued earlier is refused', async () => {
    const issuedAtMs = Date.parse(world.bundle.policy.body.issued_at) - 1;
    const outcome = await offerPolicy(fresh(), (body) => (body.issued_at = instant(issuedAtMs)));
    expect(outcome).toBe('ORCH-8011 DATES_INVALID');
  });
});

describe('freeze', () => {
  it('shows as staleness, and an expired document is not taken from anybody', async () => {
    const view = fresh();
    const endMs = Date.parse(world.bundle.policy.body.expires_at);
    expect(view.staleness(endMs)).toContain('policy');
    const expired = await signedBy(
      world,
      policyAfter(world, (body) => (body.expires_at = instant(nowMs() + 50))),
    );
    expect(refusalOf(view.adopt(expired, nowMs() + 50))).toBe('ORCH-8011 EXPIRED');
    expect(view.adopt(expired, nowMs() + 50, { takesExpired: true }).status).toBe('adopted');
    expect(view.staleness(nowMs() + 50)).toEqual(['policy']);
  });

  it('is decided by the time that the offer says, whatever the clock of who hears it', async () => {
    const skewMs = world.trust.policy.policies.rotation.clock_skew_ms;
    const saidAtMs = nowMs();
    const endsAfter = (lifeMs: number) =>
      signedBy(
        world,
        policyAfter(world, (body) => {
          body.issued_at = instant(saidAtMs);
          body.expires_at = instant(saidAtMs + lifeMs);
        }),
      );
    const over = await endsAfter(skewMs);
    const lasts = await endsAfter(skewMs + 1);
    for (const offsetMs of [-skewMs, 0, skewMs, 100 * skewMs]) {
      const heardMs = saidAtMs + offsetMs;
      const outcomes = [over, lasts].map((each) =>
        refusalOf(fresh().adopt(each, heardMs, { saidAtMs })),
      );
      expect(outcomes).toEqual(['ORCH-8011 EXPIRED', 'adopted']);
    }
  });

  it('is not helped by dates that cannot be', async () => {
    const future = await offerPolicy(fresh(), (body) => {
      body.issued_at = instant(nowMs() + 31_000);
    });
    expect(future).toBe('ORCH-8011 ISSUED_IN_FUTURE');
    const never = await offerPolicy(fresh(), (body) => (body.expires_at = body.issued_at));
    expect(never).toBe('ORCH-8011 DATES_INVALID');
    const nonsense = await offerPolicy(fresh(), (body) => {
      body.expires_at = '2026-99-99T99:99:99.999Z';
    });
    expect(nonsense).toBe('ORCH-8011 MALFORMED');
    const february = await offerPolicy(fresh(), (body) => {
      body.issued_at = '2026-02-31T00:00:00.000Z';
    });
    expect(february).toBe('ORCH-8011 MALFORMED');
  });
});

describe('fast-forward', () => {
  it('takes one bounded step and no more', async () => {
    const far = await offerPolicy(fresh(), (body) => (body.version = 2 + versionJumpMax));
    expect(far).toBe('ORCH-8011 FAST_FORWARD');
    const near = await offerPolicy(fresh(), (body) => (body.version = 1 + versionJumpMax));
    expect(near).toBe('adopted');
    const document = await signedBy(
      world,
      registryAfter(world, (body) => (body.version = 1e9)),
    );
    expect(refusalOf(fresh().adopt(document, nowMs()))).toBe('ORCH-8010 FAST_FORWARD');
  });
});

describe('mix-and-match', () => {
  it('of a policy with a registry that does not know its algorithms is refused', async () => {
    const outcome = await offerPolicy(fresh(), (body) => {
      body.policies.allowed_algorithms.signature.push('FALCON-1024');
    });
    expect(outcome).toBe('ORCH-8011 ALGORITHM_UNKNOWN');
  });

  it('of a registry without what the policy in force needs is refused', async () => {
    const view = fresh();
    const without = await signedBy(
      world,
      registryAfter(world, ({ algorithms }) => {
        algorithms.mac = [];
      }),
    );
    expect(refusalOf(view.adopt(without, nowMs()))).toBe('ORCH-8010 ALGORITHM_UNKNOWN');
    expect(view.registry.version).toBe(1);
  });

  it('of documents of another mesh is refused', async () => {
    const outcome = await offerPolicy(fresh(), (body) => (body.mesh = 'elsewhere'));
    expect(outcome).toBe('ORCH-8011 OTHER_MESH');
  });
});

describe('key compromise below the threshold', () => {
  it('makes no document: one operator, one who signs twice, one beside a stranger', async () => {
    expect(await offerPolicy(fresh(), undefined, ['op-1'])).toBe('ORCH-8011 THRESHOLD_NOT_MET');
    const document = await signedBy(world, policyAfter(world), ['op-1']);
    const [first] = document.signatures;
    if (first === undefined) throw new Error('no signature');
    const twice = { ...document, signatures: [first, structuredClone(first)] };
    expect(refusalOf(fresh().adopt(twice, nowMs()))).toBe('ORCH-8011 THRESHOLD_NOT_MET');
    const stranger = await offerPolicy(fresh(), undefined, ['op-1', 'identity-a']);
    expect(stranger).toBe('ORCH-8011 THRESHOLD_NOT_MET');
  });

  it('makes none by a signature that does not hold, or was made for another document', async () => {
    const document = await signedBy(world, policyAfter(world));
    const [first, second] = document.signatures;
    const other = await signedBy(
      world,
      policyAfter(world, (body) => (body.version = 7)),
    );
    const [, foreign] = other.signatures;
    if (first === undefined || second === undefined || foreign === undefined) throw new Error();
    const mixed = { ...document, signatures: [first, foreign] };
    expect(refusalOf(fresh().adopt(mixed, nowMs()))).toBe('ORCH-8011 SIGNATURE_INVALID');
    const renamed = { ...document, signatures: [first, { ...first, key_id: second.key_id }] };
    expect(refusalOf(fresh().adopt(renamed, nowMs()))).toBe('ORCH-8011 SIGNATURE_INVALID');
  });
});

describe('wrong role', () => {
  it('signs nothing, however many of its keys do', async () => {
    const signers = ['orchestration', 'audit', 'enrolment'];
    expect(await offerPolicy(fresh(), undefined, signers)).toBe('ORCH-8011 THRESHOLD_NOT_MET');
    const registry = await signedBy(world, registryAfter(world), signers);
    expect(refusalOf(fresh().adopt(registry, nowMs()))).toBe('ORCH-8010 THRESHOLD_NOT_MET');
    const revocation = await signedBy(world, revocationOf(world, 'phi-a'), signers);
    expect(refusalOf(fresh().adopt(revocation, nowMs()))).toBe('ORCH-8011 THRESHOLD_NOT_MET');
    const root = await signedBy(world, rootAfter(world), signers);
    expect(refusalOf(fresh().adopt(root, nowMs()))).toBe('ORCH-8010 THRESHOLD_NOT_MET');
  });

  it('is not helped by a body that calls itself something else', async () => {
    const document = await signedBy(world, policyAfter(world));
    const relabelled = { ...document, body: { ...document.body, kind: 'registry' } };
    expect(refusalOf(fresh().adopt(relabelled, nowMs()))).toBe('ORCH-8010 MALFORMED');
    const [enrolment] = world.bundle.enrolments;
    expect(refusalOf(fresh().adopt(enrolment, nowMs()))).toBe('ORCH-8015 KIND_NOT_OFFERED');
  });
});

describe('endless data', () => {
  it('is refused by its size, before it is parsed', () => {
    const bytes = new Uint8Array(documentBytesMax + 1).fill(0x5b);
    expect(refusalOf(fresh().adoptBytes(bytes, nowMs()))).toBe('ORCH-8010 TOO_LARGE');
  });

  it('is refused in what it nests, repeats or leaves out', async () => {
    const document = await signedBy(world, policyAfter(world));
    const [first] = document.signatures;
    const many = { ...document, signatures: Array.from({ length: 17 }, () => first) };
    for (const [offered, refusal] of [
      [many, 'ORCH-8011 MALFORMED'],
      [{ ...document, more: 1 }, 'ORCH-8011 MALFORMED'],
      [{ body: { kind: 'root' }, signatures: [] }, 'ORCH-8010 MALFORMED'],
      [{ body: { kind: 7 } }, 'ORCH-8010 MALFORMED'],
      [null, 'ORCH-8010 MALFORMED'],
      ['policy', 'ORCH-8010 MALFORMED'],
    ] as const) {
      expect(refusalOf(fresh().adopt(offered, nowMs()))).toBe(refusal);
    }
    for (const text of ['', '{', '[[[[', '"x', '\u0000']) {
      expect(refusalOf(fresh().adoptBytes(utf8(text), nowMs()))).toBe('ORCH-8010 MALFORMED');
    }
    const half = utf8(JSON.stringify(document)).subarray(0, 1000);
    expect(refusalOf(fresh().adoptBytes(half, nowMs()))).toBe('ORCH-8010 MALFORMED');
    const whole = utf8(JSON.stringify(document));
    expect(fresh().adoptBytes(whole, nowMs()).status).toBe('adopted');
    expect(refusalOf(fresh().adoptBytes(Uint8Array.of(0xff, 0xfe), nowMs()))).toBe(
      'ORCH-8010 MALFORMED',
    );
  });
});

describe('a revocation', () => {
  it('ends what an agent may say, and leaves what it said', async () => {
    const view = fresh();
    const said = world.principal('op-1').seal({
      type: 'plan-approved',
      subject: subjectsOf(world.mesh).request('op-1'),
      channel: 'operators',
      body: { planId: 'rot-1', planDigest: '0'.repeat(64) },
    });
    const timeMs = nowMs() + 1000;
    const document = await signedBy(
      world,
      revocationOf(world, 'op-1', { issued_at: instant(timeMs) }),
    );
    expect(view.adopt(document, nowMs())).toMatchObject({ status: 'adopted', kind: 'revocation' });
    expect(view.adopt(document, nowMs())).toEqual({ status: 'known' });
    expect(view.agent('op-1')?.revokedAtMs).toBe(timeMs);
    expect(view.verifyEvidence(said.disclosure).status).toBe('ok');
    world.clock.offsetMs = 1500;
    const late = world.principal('op-1').seal({
      type: 'plan-approved',
      subject: subjectsOf(world.mesh).request('op-1'),
      channel: 'operators',
      body: { planId: 'rot-1', planDigest: '0'.repeat(64) },
    });
    world.clock.offsetMs = 0;
    expect(view.verifyEvidence(late.disclosure)).toEqual({
      status: 'refused',
      code: 'SENDER_REVOKED',
    });
    expect(trust.verifyEvidence(late.disclosure).status).toBe('ok');
  });

  it('names an enrolled agent and its key, and no later moment than now', async () => {
    for (const [change, refusal] of [
      [{ agent_id: 'nobody' }, 'AGENT_UNKNOWN'],
      [{ key_id: '0'.repeat(64) }, 'AGENT_UNKNOWN'],
      [{ issued_at: instant(nowMs() + 60_000) }, 'ISSUED_IN_FUTURE'],
      [{ issued_at: '2026-99-99T99:99:99.999Z' }, 'MALFORMED'],
      [{ mesh: 'elsewhere' }, 'OTHER_MESH'],
    ] as const) {
      const document = await signedBy(world, revocationOf(world, 'phi-a', change));
      expect(refusalOf(fresh().adopt(document, nowMs()))).toBe(`ORCH-8011 ${refusal}`);
    }
  });
});

it('names every document by the digest of its body', async () => {
  const view = fresh();
  const document = await signedBy(world, policyAfter(world));
  const adoption = view.adopt(document, nowMs());
  expect(adoption).toMatchObject({ digest: documentDigest(crypto, document.body) });
});
