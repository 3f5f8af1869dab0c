/**
 * An auditor that is away for longer than the grace of epochs: what was sealed under them meanwhile is not
 * given up before it has read it, for as long as it is waited for; and then it is, for all that.
 */

import { afterEach, expect, it } from 'vitest';
import { members } from '#cli/mesh/members.ts';
import type { EpochStatus } from '#schemas/epoch.ts';
import type { AuditHead } from '#schemas/queries.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';

const layers = ['identity-a'];
const enrolled = members.filter(({ id, kind }) => kind !== 'layer' || layers.includes(id));
const patience = { interval: 50 };
const graceMs = 600_000;
const patienceMs = 24 * 3_600_000;

let mesh: InMemoryMesh;

async function started(): Promise<void> {
  const times = { soakMs: 0, overlapMs: 100 };
  mesh = await InMemoryMesh.start({ hasEpochs: true, members: enrolled, times });
}

afterEach(() => mesh.stop());

async function saga(): Promise<EpochStatus> {
  const answer = (await mesh.ask({ ask: 'epoch-status' })) as { channels: EpochStatus[] };
  const found = answer.channels.find(({ channel }) => channel === 'saga');
  if (found === undefined) throw new Error('no channel saga');
  return found;
}

/** The epoch that follows is in use. */
async function rekeyed(requestId: string): Promise<number> {
  const { epoch: before } = await saga();
  await mesh.operator('op-1').publish({
    type: 'epoch-rotation-requested',
    subject: subjectsOf(mesh.world.mesh).request('op-1'),
    channel: 'operators',
    body: { requestId, channel: 'saga', cause: 'operator', reason: 'test' },
  });
  await expect.poll(async () => (await saga()).epoch, patience).toBe(before + 1);
  return before + 1;
}

const heldBy = (id: string, epoch: number): boolean =>
  mesh.keyringOf(id).secretOf({ channel: 'saga', epoch }) !== undefined;

/** Leaves that nobody can read, and how far the auditor is. */
async function audited(): Promise<{ head: AuditHead; unread: number[] }> {
  const ask = async (query: Parameters<InMemoryMesh['ask']>[0]): Promise<unknown> => {
    const to = { agentId: 'auditor', channel: 'operators' };
    const answer = await mesh.operator('op-1').ask(to, query, 8_000);
    if (!answer.ok) throw new Error(answer.reason);
    return answer.result;
  };
  const head = (await ask({ ask: 'audit-head' })) as AuditHead;
  const unread: number[] = [];
  for (let from = 0; from < head.treeSize;) {
    const query = { ask: 'audit-records' as const, from, recordsMax: 256 };
    const page = (await ask(query)) as {
      records: { leafIndex: number; verdict: string; body?: Uint8Array }[];
    };
    for (const { leafIndex, verdict, body } of page.records) {
      if (verdict === 'refused' || body === undefined) unread.push(leafIndex);
    }
    from = (page.records.at(-1)?.leafIndex ?? head.treeSize) + 1;
  }
  return { head, unread };
}

/** Something that only members of the channel `saga` can read, from the signer. */
async function underSaga(): Promise<void> {
  await rekeyed(`again ${mesh.world.broker.stream('GYRE_CONTROL').lastSequence}`);
}

it('finds what it missed readable when it is back, and then the epochs are closed', async () => {
  await started();
  await mesh.stopAgent('auditor');
  const { epoch: first } = await saga();
  for (const id of ['one', 'two', 'three', 'four']) await rekeyed(id);
  mesh.world.clock.offsetMs += graceMs + 15_000;
  await expect.poll(async () => (await saga()).unaudited, patience).toContain(first);
  await underSaga();
  expect((await saga()).open).toContain(first);
  expect(heldBy('signer', first)).toBe(true);
  await mesh.startAgent('auditor');
  await expect
    .poll(async () => (await saga()).open, { ...patience, message: 'closed once it was read' })
    .not.toContain(first);
  await expect.poll(() => heldBy('signer', first), patience).toBe(false);
  const { head, unread } = await audited();
  expect(head.lastSequence).toBeGreaterThan(0);
  expect(unread).toEqual([]);
  await mesh.stopAgent('auditor');
  await mesh.startAgent('auditor');
  expect((await audited()).unread).toEqual([]);
});

it('is not waited for without end', async () => {
  await started();
  await mesh.stopAgent('auditor');
  const { epoch: first } = await saga();
  await rekeyed('one');
  mesh.world.clock.offsetMs += graceMs + 15_000;
  await expect.poll(async () => (await saga()).unaudited, patience).toContain(first);
  mesh.world.clock.offsetMs += patienceMs;
  await expect.poll(async () => (await saga()).open, patience).not.toContain(first);
  await expect.poll(() => heldBy('orchestrator-b', first), patience).toBe(false);
});
