/**
 * Successors of a root: both thresholds of both roots, by lattices and by hashes, and what changes with
 * the keys of a role: old ones say nothing new, and the versions of a fast-forward attack are overcome.
 */

import { beforeAll, describe, expect, it } from 'vitest';
import type { SignedDocument } from '#schemas/document.ts';
import type { RootBody } from '#schemas/trust.ts';
import { versionJumpMax } from '#shared/core/document-review.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import { localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import type { Adoption, TrustView } from '#shared/crypto/trust.ts';
import {
  keyOf,
  policyAfter,
  registryAfter,
  rootAfter,
  signedBy,
  signedRoot,
} from '../../support/amendments.ts';
import { anchorsOf, keysOf, newAnchor, type TestAnchor } from '../../support/ceremony.ts';
import { crypto, makeWorld, type World } from '../../support/world.ts';

let world: World;
/** Operators' keys and the orchestration key are replaced, and one of two anchors. */
let successor: SignedDocument<RootBody>;
let orchestration: SigningKey;
const operators: SigningKey[] = [];
const anchors: TestAnchor[] = [];

const newKey = (): SigningKey => crypto.importSigningSeed(crypto.randomBytes(32));
const nowMs = (): number => world.clock.nowMs();

function adopt(document: unknown, view: TrustView = world.newTrust()): string {
  const adoption: Adoption = view.adopt(document, nowMs());
  return adoption.status === 'refused' ? `${adoption.code} ${adoption.refusal}` : adoption.status;
}

const without = (keyId: string) => ({
  ...successor,
  signatures: successor.signatures.filter(({ key_id: id }) => id !== keyId),
});

beforeAll(async () => {
  world = await makeWorld();
  operators.push(newKey(), newKey());
  orchestration = newKey();
  const [old1, old2] = [...world.anchors.values()];
  if (old1 === undefined || old2 === undefined) throw new Error('a world has two anchors');
  anchors.push(old1, newAnchor(crypto));
  const body = rootAfter(world, (root) => {
    const byOperators = { key_ids: operators.map((key) => key.publicKey.keyIdHex), threshold: 2 };
    root.keys = {
      ...keysOf([...operators, orchestration]),
      ...keysOf([keyOf(world, 'audit'), keyOf(world, 'enrolment')]),
    };
    root.anchor = anchorsOf(anchors);
    root.roles = {
      ...root.roles,
      root: byOperators,
      registry: byOperators,
      policy: byOperators,
      orchestration: { key_ids: [orchestration.publicKey.keyIdHex], threshold: 1 },
    };
  });
  const keys = [keyOf(world, 'op-1'), keyOf(world, 'op-2'), ...operators];
  successor = await signedRoot(world, body, keys, [old1, old2, ...anchors.slice(1)]);
});

describe('a successor of the root', () => {
  it('is adopted with the thresholds and the anchors of both', () => {
    const view = world.newTrust();
    expect(adopt(successor, view)).toBe('adopted');
    expect(view.highest().root.version).toBe(2);
    expect(view.rootDigest).toBe(world.rootDigest);
    expect(view.roleKeys('policy').map(({ keyId }) => keyId)).toEqual(
      operators.map(({ publicKey }) => publicKey.keyIdHex),
    );
    expect(adopt(successor, view)).toBe('known');
    expect(adopt(world.bundle.root, view)).toBe('ORCH-8010 ROLLBACK');
  });

  it('is refused without either threshold', () => {
    expect(adopt(without(keyOf(world, 'op-1').publicKey.keyIdHex))).toBe(
      'ORCH-8010 THRESHOLD_NOT_MET',
    );
    for (const { publicKey } of operators) {
      expect(adopt(without(publicKey.keyIdHex))).toBe('ORCH-8010 SUCCESSOR_THRESHOLD_NOT_MET');
    }
  });

  it('is refused without any one of the anchors of both', () => {
    for (const { keyId } of [...world.anchors.values(), ...anchors]) {
      expect(adopt(without(keyId))).toBe('ORCH-8010 ANCHOR_NOT_MET');
    }
    const lattices = successor.signatures.filter(({ algorithm }) => algorithm === 'ML-DSA-87');
    expect(adopt({ ...successor, signatures: lattices })).toBe('ORCH-8010 ANCHOR_NOT_MET');
  });

  it('is refused when an anchor signs twice, or its signature is altered or called another', () => {
    const [kept, gone] = successor.signatures.filter(
      ({ algorithm }) => algorithm === 'SLH-DSA-SHAKE-256s',
    );
    if (kept === undefined || gone === undefined) throw new Error('no anchors');
    const rest = without(gone.key_id).signatures;
    const altered = gone.signature.replace(/^./, (first) => (first === 'A' ? 'B' : 'A'));
    for (const replacement of [
      structuredClone(kept),
      { ...kept, key_id: gone.key_id },
      { ...gone, signature: altered },
      { ...gone, algorithm: 'ML-DSA-87' },
    ]) {
      expect(adopt({ ...successor, signatures: [...rest, replacement] })).toBe(
        'ORCH-8010 ANCHOR_NOT_MET',
      );
    }
  });

  it('is the very next version, of this mesh, with keys for every role', async () => {
    const signers = ['op-1', 'op-2'];
    for (const [change, refusal] of [
      [(root: RootBody) => (root.version = 3), 'VERSION_SKIPPED'],
      [(root: RootBody) => (root.version = 1), 'VERSION_TAKEN'],
      [(root: RootBody) => (root.mesh = 'elsewhere'), 'OTHER_MESH'],
      [(root: RootBody) => (root.roles.audit.threshold = 2), 'ROLES_INVALID'],
      [(root: RootBody) => root.roles.audit.key_ids.push('0'.repeat(64)), 'ROLES_INVALID'],
      [(root: RootBody) => (root.anchor.threshold = 3), 'ROLES_INVALID'],
    ] as const) {
      const document = await signedBy(world, rootAfter(world, change), signers);
      expect(adopt(document)).toBe(`ORCH-8010 ${refusal}`);
    }
  });

  it('carries an anchor, or is no root at all', () => {
    const { anchor: _anchor, ...rest } = successor.body;
    expect(adopt({ ...successor, body: rest })).toBe('ORCH-8010 MALFORMED');
  });
});

describe('keys that a root removed', () => {
  const statement = { kind: 'rotation_plan', mesh: 'test', plan: 'p' };

  it('say nothing new, and what was verified stays verified', async () => {
    const view = world.newTrust();
    const before = await signedBy(world, statement, ['orchestration']);
    const unseen = await signedBy(world, { ...statement, plan: 'q' }, ['orchestration']);
    expect(view.verifyStatement(before, 'orchestration')).toBe('ok');
    adopt(successor, view);
    expect(view.verifyStatement(before, 'orchestration')).toBe('ok');
    expect(view.verifyStatement(unseen, 'orchestration')).toBe('SIGNATURE_INVALID');
    expect(view.verifyStatement(before, 'audit')).toBe('SIGNATURE_INVALID');
    const after = await signDocument(statement, [localSigner(crypto, orchestration)]);
    expect(view.verifyStatement(after, 'orchestration')).toBe('ok');
    expect(world.newTrust().verifyStatement(after, 'orchestration')).toBe('SIGNATURE_INVALID');
  });

  it('sign no policy any more, and no version of theirs stands in the way', async () => {
    const view = world.newTrust();
    // Thieves of both operators' keys run ahead as far as they may.
    const ahead = await signedBy(
      world,
      policyAfter(world, (body) => (body.version = 1 + versionJumpMax)),
    );
    expect(adopt(ahead, view)).toBe('adopted');
    const next = policyAfter(world, (body) => (body.version = 3));
    const recovered = await signDocument(
      next,
      operators.map((key) => localSigner(crypto, key)),
    );
    expect(adopt(recovered, view)).toBe('ORCH-8011 ROLLBACK');
    expect(adopt(successor, view)).toBe('adopted');
    const thieves = await signedBy(
      world,
      policyAfter(world, (body) => (body.version = 2 + versionJumpMax)),
    );
    expect(adopt(thieves, view)).toBe('ORCH-8011 THRESHOLD_NOT_MET');
    expect(adopt(ahead, view)).toBe('known');
    expect(adopt(recovered, view)).toBe('adopted');
    expect(view.policy.version).toBe(3);
    // The floor is back where the recovered version is.
    expect(adopt(ahead, view)).toBe('ORCH-8011 ROLLBACK');
    const lower = await signDocument(
      { ...next, version: 2 },
      operators.map((key) => localSigner(crypto, key)),
    );
    expect(adopt(lower, view)).toBe('ORCH-8011 ROLLBACK');
  });

  it('leave the way to a late comer: roots first, then what they signed', async () => {
    const view = world.newTrust();
    adopt(await signedBy(world, registryAfter(world)), view);
    adopt(successor, view);
    const policy = await signDocument(
      policyAfter(world),
      operators.map((key) => localSigner(crypto, key)),
    );
    adopt(policy, view);
    const late = world.newTrust();
    const known = { rootVersion: 1, registryVersion: 1, policyVersion: 1 };
    expect(view.documentsSince(known).map((each) => adopt(each, late))).toEqual([
      'adopted',
      'adopted',
      'adopted',
    ]);
    expect(late.highest()).toEqual(view.highest());
  });
});
