/**
 * An audit across amended documents: a policy and a registry in the middle of a rotation, a root with
 * other keys of the signer, a revocation, and offers that do not hold. Everything is verified from the
 * genesis bundle and the log alone.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AuditCheckpoint } from '#schemas/plan.ts';
import type { AuditRecord } from '#schemas/queries.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import type { AuditVerdict } from '#shared/core/audit-verdict.ts';
import { members } from '#cli/mesh/members.ts';
import {
  keyOf,
  policyAfter,
  registryAfter,
  revocationOf,
  rootAfter,
  signedBy,
  signedRoot,
} from '../../support/amendments.ts';
import { keysOf } from '../../support/ceremony.ts';
import { checkMaterial, checkpointOver, indexOf } from './exports.ts';
import { crypto, Stage, tell } from './story.ts';

const few = members.filter(({ kind, layer }) => kind !== 'layer' || (layer ?? 0) >= 6);

let stage: Stage;
let records: AuditRecord[];
let early: AuditCheckpoint;
let last: AuditCheckpoint;
/** Leaves by what was offered there. */
const leaves = new Map<string, number>();

async function offer(name: string, document: unknown, agentId = 'op-1'): Promise<void> {
  const hash = await stage.say(agentId, {
    type: 'document-offered',
    subject: stage.subjects.trust(agentId),
    channel: 'notices',
    body: { document: new Uint8Array(utf8(JSON.stringify(document))) },
  });
  const { entry } = await stage.receiptOf(hash);
  leaves.set(name, entry.leafIndex);
  // Whoever is live adopts what it is offered; here all share one view.
  const adoption = stage.world.trust.adopt(document, stage.world.clock.nowMs());
  const verdict = adoption.status === 'refused' ? 'refused' : 'accepted';
  if (verdict !== entry.verdict)
    throw new Error(`${name}: live ${verdict}, ${entry.verdict} in log`);
}

function replaceKeys(names: readonly string[]): Map<string, SigningKey> {
  const keys = stage.world.keys as Map<string, SigningKey>;
  const old = new Map(names.map((name) => [name, keyOf(stage.world, name)]));
  for (const name of names) keys.set(name, crypto.importSigningSeed(crypto.randomBytes(32)));
  return old;
}

async function amendRoot(): Promise<void> {
  const { world } = stage;
  const roles = ['orchestration', 'audit'] as const;
  replaceKeys(roles);
  const body = rootAfter(world, (root) => {
    const names = [...roles, 'enrolment', 'op-1', 'op-2'];
    root.keys = keysOf(names.map((name) => keyOf(world, name)));
    for (const role of roles) {
      root.roles[role].key_ids = [keyOf(world, role).publicKey.keyIdHex];
    }
  });
  const operators = ['op-1', 'op-2'].map((id) => keyOf(world, id));
  const root = await signedRoot(world, body, operators, [...world.anchors.values()]);
  await offer('root', root);
}

beforeAll(async () => {
  stage = await Stage.open({ members: few });
  const { world } = stage;
  const amend = async (): Promise<void> => {
    const policy = policyAfter(world, ({ policies }) => {
      policies.rotation.soak_ms = 60_000;
    });
    await offer('short', await signedBy(world, policy, ['op-1']));
    await offer('policy', await signedBy(world, policy));
    await offer('again', await signedBy(world, policy), 'op-2');
    await offer('registry', await signedBy(world, registryAfter(world)), 'op-2');
  };
  await tell(stage, {
    planId: 'plan-a',
    layers: [6],
    before: { type: 'slots-reserved', run: amend },
  });
  early = await stage.checkpoint();
  await amendRoot();
  await tell(stage, { planId: 'plan-b', layers: [6], until: 'execution-requested' });
  await offer('revocation', await signedBy(world, revocationOf(world, 'self-healing-a')));
  last = await stage.checkpoint();
  records = (await stage.records()).slice(0, last.body.tree_size);
});

afterAll(async () => {
  await stage.close();
});

const verdictOn = (checkpoints: readonly AuditCheckpoint[]): Promise<AuditVerdict> =>
  checkMaterial({ world: stage.world, records, checkpoints });

describe('an audit across amended documents', () => {
  it('holds from the genesis bundle and the log alone, and says what counted from where', async () => {
    const verdict = await verdictOn([early, last]);
    expect(verdict).toMatchObject({
      integrity: { ok: true },
      content: { ok: true },
      meaning: { ok: true },
      uncovered: 0,
      refused: 1,
      checkpoints: 2,
    });
    expect(verdict.documents).toMatchObject([
      { kind: 'policy', version: 2, leafIndex: leaves.get('policy') },
      { kind: 'registry', version: 2, leafIndex: leaves.get('registry') },
      { kind: 'root', version: 2, leafIndex: leaves.get('root') },
      { kind: 'revocation', version: 0, leafIndex: leaves.get('revocation') },
    ]);
    expect(verdict.rotations).toEqual([
      { sagaId: 'plan-a', phase: 'retired' },
      { sagaId: 'plan-b', phase: 'approved' },
    ]);
  });

  it('comes to the same state after a restart', async () => {
    const before = stage.auditor;
    await before.stop();
    await stage.startAuditor();
    expect((await stage.records()).slice(0, records.length)).toEqual(records);
  });

  it('does not hold without the offer of a document, or with a refused one as accepted', async () => {
    const place = leaves.get('policy') ?? -1;
    const cut = records.filter((_, index) => index !== place);
    const renumbered = cut.map((record, leafIndex) => ({ ...record, leafIndex }));
    const oldKey = await checkpointOver(stage.world, renumbered);
    const without = await checkMaterial({
      world: stage.world,
      records: renumbered,
      checkpoints: [oldKey],
    });
    expect(without.ok).toBe(false);
    const short = leaves.get('short') ?? -1;
    const turned = records.map((record, index) =>
      index === short ? { ...record, verdict: 'accepted' as const } : record,
    );
    const wrong = await checkMaterial({
      world: stage.world,
      records: turned,
      checkpoints: [await checkpointOver(stage.world, turned)],
    });
    expect(wrong.meaning).toMatchObject({ ok: false, code: 'NOT_ACCEPTABLE', leafIndex: short });
  });

  it('does not hold where the offer is not disclosed', async () => {
    const place = leaves.get('policy') ?? -1;
    const hidden = records.map((record, index) => {
      const { salt: _salt, body: _body, ...sealed } = record;
      return index === place ? sealed : record;
    });
    const verdict = await checkMaterial({
      world: stage.world,
      records: hidden,
      checkpoints: [last],
    });
    expect(verdict.meaning).toMatchObject({ ok: false, code: 'CONTENT_MISSING', leafIndex: place });
  });

  it('takes no checkpoint over later leaves by a key that a root removed', async () => {
    const rootLeaf = leaves.get('root') ?? -1;
    expect(early.body.tree_size).toBeLessThanOrEqual(rootLeaf);
    expect((await verdictOn([early])).integrity.ok).toBe(true);
    const forged = { ...last, signatures: early.signatures };
    expect((await verdictOn([forged])).integrity).toMatchObject({ code: 'CHECKPOINT_INVALID' });
  });
});

describe('a revoked agent', () => {
  it('says nothing more, whatever time it writes', async () => {
    const { world } = stage;
    const hash = await stage.say('self-healing-a', {
      type: 'document-offered',
      subject: stage.subjects.trust('self-healing-a'),
      channel: 'notices',
      body: { document: new Uint8Array(utf8(JSON.stringify(world.bundle.policy))) },
    });
    const { entry } = await stage.receiptOf(hash);
    expect(entry.verdict).toBe('refused');
    expect(indexOf(records, 'document-offered')).toBe(leaves.get('short'));
  });
});

describe('a document that expired before its offer', () => {
  it('is taken from an auditor, who offers again what the log lacks, and from nobody else', async () => {
    const { world } = stage;
    const registry = registryAfter(world, (body) => {
      body.version = 3;
      body.expires_at = new Date(world.clock.nowMs() + 600_000).toISOString();
    });
    const document = new Uint8Array(utf8(JSON.stringify(await signedBy(world, registry))));
    world.clock.offsetMs += 3_600_000;
    const verdictOf = async (agentId: string): Promise<string> => {
      const hash = await stage.say(agentId, {
        type: 'document-offered',
        subject: stage.subjects.trust(agentId),
        channel: 'notices',
        body: { document },
      });
      return (await stage.receiptOf(hash)).entry.verdict;
    };
    expect(await verdictOf('op-2')).toBe('refused');
    expect(await verdictOf('auditor')).toBe('accepted');
  });
});
