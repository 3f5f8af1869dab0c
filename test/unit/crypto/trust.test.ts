/** From a bundle to a view of who may do what: everything that must not be taken, and is not. */

import { beforeAll, describe, expect, it } from 'vitest';
import type { TrustBundle } from '#schemas/trust.ts';
import { openTrust } from '#shared/crypto/trust.ts';
import { documentDigest, localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { crypto, makeWorld, type World } from '../../support/world.ts';

let world: World;

beforeAll(async () => {
  world = await makeWorld();
});

function key(name: string): SigningKey {
  const found = world.keys.get(name);
  if (found === undefined) throw new Error(name);
  return found;
}

function open(change: (bundle: TrustBundle) => void, rootDigest = world.rootDigest) {
  const bundle = structuredClone(world.bundle);
  change(bundle);
  const opening = openTrust(crypto, { bundle, rootDigest, nowMs: world.clock.nowMs() });
  return opening.status === 'ok' ? 'ok' : opening.code;
}

describe('a trust bundle', () => {
  it('is taken as it was signed', () => {
    expect(open(() => undefined)).toBe('ok');
  });

  it('is refused under another root than the pinned one', () => {
    expect(open(() => undefined, 'f'.repeat(64))).toBe('ROOT_NOT_PINNED');
    expect(
      open((bundle) => {
        bundle.root.body.roles.policy.threshold = 1;
      }),
    ).toBe('ROOT_NOT_PINNED');
  });

  it('is refused when a threshold is not met', () => {
    expect(open(({ root }) => root.signatures.pop())).toBe('ROOT_INVALID');
    expect(open(({ registry }) => registry.signatures.pop())).toBe('REGISTRY_INVALID');
    expect(open(({ policy }) => policy.signatures.pop())).toBe('POLICY_INVALID');
  });

  it('is refused when one operator signs twice', () => {
    const twice = open(({ policy }) => {
      const [first] = policy.signatures;
      if (first !== undefined) policy.signatures = [first, structuredClone(first)];
    });
    expect(twice).toBe('POLICY_INVALID');
  });

  it('is refused when a policy was changed after signing', () => {
    const weakened = open(({ policy }) => {
      policy.body.policies.rotation.approvals.scheduled = 0;
    });
    expect(weakened).toBe('POLICY_INVALID');
  });

  it('is refused when another role signed the policy', async () => {
    const wrongRole = await signDocument(structuredClone(world.bundle.policy.body), [
      localSigner(crypto, key('orchestration')),
      localSigner(crypto, key('enrolment')),
    ]);
    expect(
      open((bundle) => {
        bundle.policy = wrongRole;
      }),
    ).toBe('POLICY_INVALID');
  });

  it('is refused when an enrolment is not stated by the enrolment role', async () => {
    const [first] = world.bundle.enrolments;
    if (first === undefined) throw new Error('no enrolment');
    const forged = await signDocument({ ...first.body, capabilities: ['approve'] }, [
      localSigner(crypto, key('audit')),
    ]);
    expect(open((bundle) => bundle.enrolments.splice(0, 1, forged))).toBe('ENROLMENT_INVALID');
  });

  it('is refused when somebody is enrolled twice, or under the name of a channel', async () => {
    const [first] = world.bundle.enrolments;
    if (first === undefined) throw new Error('no enrolment');
    expect(open((bundle) => bundle.enrolments.push(structuredClone(first)))).toBe(
      'ENROLMENT_INVALID',
    );
    const named = await signDocument({ ...first.body, agent_id: 'layer-1' }, [
      localSigner(crypto, key('enrolment')),
    ]);
    expect(open((bundle) => bundle.enrolments.push(named))).toBe('ENROLMENT_INVALID');
  });

  it('is taken when a document has expired, and is stale then', () => {
    const bundle = world.bundle;
    const nowMs = Date.parse(bundle.policy.body.expires_at);
    const opening = openTrust(crypto, { bundle, rootDigest: world.rootDigest, nowMs });
    if (opening.status !== 'ok') throw new Error(opening.code);
    expect(opening.trust.staleness(nowMs)).toEqual(['registry', 'policy']);
    expect(opening.trust.staleness(nowMs - 1)).toEqual([]);
  });

  it('is refused by a clock that runs far behind', () => {
    const bundle = world.bundle;
    const nowMs = Date.parse(bundle.policy.body.issued_at) - 60_001;
    const opening = openTrust(crypto, { bundle, rootDigest: world.rootDigest, nowMs });
    expect(opening).toMatchObject({ status: 'refused', code: 'TRUST_NOT_YET_VALID' });
  });

  it('is refused when a text in it has no canonical form', () => {
    const bundle = structuredClone(world.bundle);
    bundle.policy.body.policies.rotation.rollback_triggers = ['\ud800'];
    const opening = openTrust(crypto, { bundle, rootDigest: world.rootDigest });
    expect(opening).toMatchObject({ status: 'refused', code: 'BUNDLE_MALFORMED' });
  });

  it('is refused when it is something else, without throwing', () => {
    for (const bundle of [null, 1, 'x', [], {}, { root: {} }]) {
      const opening = openTrust(crypto, { bundle, rootDigest: world.rootDigest });
      expect(opening).toMatchObject({ status: 'refused', code: 'BUNDLE_MALFORMED' });
    }
  });
});

describe('evidence', () => {
  it('is what an enrolled sender said, or nothing', () => {
    const sealed = world.principal('op-1').seal({
      type: 'plan-approved',
      subject: subjectsOf('test').request('op-1'),
      channel: 'operators',
      body: { planId: 'rot-1', planDigest: '0'.repeat(64) },
    });
    const opened = world.trust.verifyEvidence(sealed.disclosure);
    expect(opened).toMatchObject({
      status: 'ok',
      event: { hash: sealed.hash, senderId: 'op-1', senderKind: 'operator', type: 'plan-approved' },
    });
    expect(opened).toMatchObject({
      event: { senderCapabilities: ['request', 'approve', 'mfa'] },
    });
    const body = Uint8Array.from(sealed.disclosure.body);
    body[body.length - 1] = 0x32;
    const forged = world.trust.verifyEvidence({ ...sealed.disclosure, body });
    expect(forged).toEqual({ status: 'refused', code: 'SIGNATURE_INVALID' });
  });

  it('is nothing from before or after the time of its sender', () => {
    const dayMs = 24 * 3_600_000;
    const said = (offsetMs: number) => {
      world.clock.offsetMs = offsetMs;
      const { disclosure } = world.principal('op-1').seal({
        type: 'plan-approved',
        subject: subjectsOf('test').request('op-1'),
        channel: 'operators',
        body: { planId: 'rot-1', planDigest: '0'.repeat(64) },
      });
      world.clock.offsetMs = 0;
      return world.trust.verifyEvidence(disclosure);
    };
    expect(said(29 * dayMs)).toMatchObject({ status: 'ok' });
    for (const offsetMs of [31 * dayMs, -dayMs]) {
      expect(said(offsetMs)).toEqual({ status: 'refused', code: 'SENDER_EXPIRED' });
    }
  });

  it('names documents by one digest', () => {
    expect(documentDigest(crypto, world.bundle.policy.body)).toBe(world.trust.policyDigest);
  });
});
