/**
 * A member is revoked while a rotation runs. The audit takes the entry that says so only behind the
 * revocation itself, whoever writes it, and the offline verifier comes to the same from the log alone.
 */

import { afterAll, beforeAll, expect, it } from 'vitest';
import type { AuditCheckpoint } from '#schemas/plan.ts';
import type { AuditRecord } from '#schemas/queries.ts';
import { members } from '#cli/mesh/members.ts';
import { bytesOf, revocationOf } from '../../support/documents.ts';
import { checkMaterial, checkpointOver, renumbered } from './exports.ts';
import { Stage, tell, type SagaInHand, type Told } from './story.ts';

const owner = 'identity-a';
const verifier = 'identity-b';
const few = [
  ...members.filter(({ kind, layer }) => kind !== 'layer' || layer === 1),
  { id: verifier, kind: 'layer', layer: 1, capabilities: [] } as const,
];

let stage: Stage;
let told: Told;
let records: AuditRecord[];
let last: AuditCheckpoint;
/** Leaves of the entry that came too early, of the revocation, and of the entry behind it. */
const leaves: number[] = [];

/** What a stolen orchestrator says of somebody who is not revoked. */
async function claim({ next }: SagaInHand): Promise<void> {
  const event = { type: 'members-revoked' as const, agentIds: [verifier], atMs: 0 };
  const entry = { saga: 'rotation' as const, ...next(), consumed: [], event };
  const { receipt } = await stage.offer(entry);
  if (receipt.verdict !== 'refused') throw new Error('an orchestrator puts out whom it wants');
  leaves.push(receipt.leafIndex);
}

async function revoke(): Promise<void> {
  const document = await revocationOf(stage.world, verifier);
  const hash = await stage.say('op-1', {
    type: 'document-offered',
    subject: stage.subjects.trust('op-1'),
    channel: 'notices',
    body: { document: bytesOf(document) },
  });
  leaves.push((await stage.receiptOf(hash)).entry.leafIndex);
  stage.world.trust.adopt(document, stage.world.clock.nowMs());
}

beforeAll(async () => {
  stage = await Stage.open({ members: few });
  told = await tell(stage, {
    planId: 'plan-a',
    layers: [1],
    before: {
      type: 'timer-fired',
      run: async (saga) => {
        await claim(saga);
        await revoke();
        await saga.enter({ type: 'members-revoked', agentIds: [verifier] });
      },
    },
  });
  last = await stage.checkpoint();
  records = (await stage.records()).slice(0, last.body.tree_size);
});

afterAll(async () => {
  await stage.close();
});

it('the rotation ends without the member, and its old keys went with the word of the others', () => {
  expect(told.state.phase).toBe('retired');
  const shared = told.state.slots.filter(({ revoked }) => revoked.includes(verifier));
  expect(shared.length).toBeGreaterThan(0);
  for (const slot of shared) {
    expect(slot.retired.map(({ agentId }) => agentId)).not.toContain(verifier);
    expect(slot.retired.map(({ agentId }) => agentId)).toContain(owner);
  }
});

it('the log holds on its own', async () => {
  const verdict = await checkMaterial({ world: stage.world, records, checkpoints: [last] });
  expect(verdict).toMatchObject({ ok: true, refused: 1 });
  expect(verdict.rotations).toEqual([{ sagaId: 'plan-a', phase: 'retired' }]);
});

it('the entry counts for nothing before the revocation, whatever a log says of it', async () => {
  const [early] = leaves;
  const turned = records.map((record, index) =>
    index === early ? { ...record, verdict: 'accepted' as const } : record,
  );
  const checkpoints = [await checkpointOver(stage.world, turned)];
  const verdict = await checkMaterial({ world: stage.world, records: turned, checkpoints });
  expect(verdict.meaning).toMatchObject({ ok: false, code: 'NOT_ACCEPTABLE', leafIndex: early });
});

it('nor where the revocation is missing from the log', async () => {
  const [, offer] = leaves;
  const cut = renumbered(records.filter((_, index) => index !== offer));
  const checkpoints = [await checkpointOver(stage.world, cut)];
  const verdict = await checkMaterial({ world: stage.world, records: cut, checkpoints });
  expect(verdict.ok).toBe(false);
  expect(verdict.meaning).toMatchObject({ code: 'NOT_ACCEPTABLE', leafIndex: offer });
});
