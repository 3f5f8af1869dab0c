/** Negotiations between live agents: agreed, failed, attacked, taken over, and computed again. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { NegotiationShown } from '#schemas/negotiation.ts';
import { AuditRecords, type AuditRecord } from '#schemas/queries.ts';
import { compile } from '#schemas/primitives.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { NegotiationReplay } from '#shared/crypto/negotiation-replay.ts';
import type { AnyReceivedEvent } from '#shared/runtime/exchange.ts';
import { adopt, amended } from '../support/documents.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';
import { crypto } from '../support/world.ts';

const shownCheck = compile(NegotiationShown);
const recordsCheck = compile(AuditRecords);
const subjects = subjectsOf('test');
let mesh: InMemoryMesh;

beforeAll(async () => {
  mesh = await InMemoryMesh.start();
});
afterAll(() => mesh.stop());

const pair = { client: 'network-a', server: 'encryption-a' };

function ask(negotiationId: string, change: Record<string, unknown> = {}) {
  const body = { negotiationId, ...pair, constraints: {}, ...change };
  return mesh.request('op-1', 'negotiation-requested' as never, body);
}

function replayOf(negotiationId: string): NegotiationReplay {
  const trust = mesh.world.trust.atGenesis();
  const subject = subjects.negotiation(negotiationId);
  return new NegotiationReplay(crypto, { trust, negotiationId, subject });
}

async function shownOf(negotiationId: string, waitMs: number) {
  const shown = await mesh.ask({ ask: 'negotiation-show', negotiationId, waitMs });
  if (!shownCheck.check(shown)) throw new Error(shownCheck.errors(shown).join());
  return shown;
}

/** Waits for the end and folds what is shown. */
async function ended(negotiationId: string) {
  for (let tries = 0; tries < 8; tries += 1) {
    const shown = await shownOf(negotiationId, 2_000);
    if (!shown.isOver) continue;
    const replay = replayOf(negotiationId);
    for (const event of shown.events) expect(replay.add(event)).toBe(true);
    return replay.log;
  }
  throw new Error(`${negotiationId} does not end`);
}

async function auditRecords(): Promise<AuditRecord[]> {
  const to = { agentId: 'auditor', channel: 'operators' };
  const records: AuditRecord[] = [];
  for (;;) {
    const query = { ask: 'audit-records', from: records.length, recordsMax: 128 } as const;
    const answer = await mesh.operator('op-1').ask(to, query, 4_000);
    if (!answer.ok || !recordsCheck.check(answer.result)) throw new Error('no records');
    if (answer.result.records.length === 0) return records;
    records.push(...answer.result.records);
  }
}

test('two agents agree, and the audit alone gives the same result', async () => {
  expect(await ask('n-agree')).toEqual({ status: 'accepted', planId: 'n-agree' });
  const { state, misfits } = await ended('n-agree');
  expect(misfits).toEqual([]);
  expect(state).toMatchObject({
    phase: 'agreed',
    agreement: { selected: { kem: 'X25519MLKEM1024', signature: 'ML-DSA-87', hash: 'SHA3-512' } },
  });
  await expect
    .poll(async () => {
      const replay = replayOf('n-agree');
      for (const record of await auditRecords()) replay.addRecord(record);
      return { state: replay.log.state, recorded: replay.isRequestRecorded };
    })
    .toEqual({ state, recorded: true });
});

test('the same request once more is the same negotiation, and its id serves no other', async () => {
  const before = await shownOf('n-agree', 0);
  expect(await ask('n-agree')).toEqual({ status: 'accepted', planId: 'n-agree' });
  expect((await shownOf('n-agree', 0)).events).toEqual(before.events);
  expect(await ask('n-agree', { server: 'phi-a' })).toMatchObject({ code: 'ORCH-8012' });
});

test('who is not there, or is no layer agent, or is the same, does not negotiate', async () => {
  for (const server of ['nobody', 'auditor', 'network-a']) {
    expect(await ask('n-nobody', { server })).toMatchObject({
      status: 'refused',
      code: 'ORCH-8012',
    });
  }
});

test('a constraint that nothing meets fails on the record', async () => {
  await ask('n-small', { constraints: { maxSignatureBytes: 4_626 } });
  expect((await ended('n-small')).state?.failure).toMatchObject({ code: 'ORCH-8001' });
});

test('a stranger between two agents, and a frame of another negotiation, change nothing', async () => {
  const subject = subjects.negotiation('n-strange');
  const thief = mesh.principal('phi-a');
  const { events } = await shownOf('n-agree', 0);
  const bus = mesh.world.bus('phi-a');
  const old = await oldFrame('n-agree');
  await bus.publish({ subject, data: old, messageId: 'ab'.repeat(32) });
  const asked = ask('n-early');
  const body = { negotiationId: 'n-early', code: 'ORCH-8001', reason: 'I say so' } as const;
  const early = { type: 'negotiation-failed', subject: subjects.negotiation('n-early') } as const;
  expect(await asked).toMatchObject({ status: 'accepted' });
  await thief.publish({ ...early, channel: 'mesh', body });
  expect((await ended('n-early')).state?.phase).toBe('agreed');
  // Where a frame occupies the subject before the opening, the id is given up, not taken over.
  expect(await ask('n-strange')).toMatchObject({ status: 'refused', code: 'ORCH-8012' });
  expect(events.length).toBeGreaterThan(4);
  await bus.close();
});

test('an agent that confirms what does not follow ends it with ORCH-8012', async () => {
  await mesh.stopAgent('network-a');
  const liar = mesh.principal('network-a');
  await ask('n-liar');
  const subject = subjects.negotiation('n-liar');
  const replay = replayOf('n-agree');
  for (const event of (await shownOf('n-agree', 0)).events) replay.add(event);
  const advertisement = replay.log.state?.advertisements.client?.advertisement;
  if (advertisement === undefined) throw new Error('no advertisement');
  const nonce = crypto.randomBytes(32);
  const fresh = { ...advertisement, negotiationId: 'n-liar', nonce };
  const channel = 'mesh';
  await liar.publish({ type: 'algorithms-advertised', subject, channel, body: fresh });
  await expect.poll(async () => (await confirmationsOf('n-liar')).length).toBe(1);
  const [honest] = await confirmationsOf('n-liar');
  if (honest === undefined) throw new Error('no confirmation');
  const body = { ...honest, selected: { ...honest.selected, kem: 'ML-KEM-768' } };
  await liar.publish({ type: 'negotiation-confirmed', subject, channel, body });
  const { state } = await ended('n-liar');
  expect(state?.failure).toMatchObject({ code: 'ORCH-8012', by: 'network-a' });
  await mesh.startAgent('network-a');
});

test('what an agent does not finish is ended, also by an orchestrator that did not open it', async () => {
  await mesh.stopAgent('phi-a');
  await ask('n-silent', { server: 'phi-a' });
  await Promise.all(['orchestrator-a', 'orchestrator-b'].map((id) => mesh.stopAgent(id)));
  await mesh.startAgent('orchestrator-a');
  const { state } = await ended('n-silent');
  expect(state?.failure).toMatchObject({ code: 'ORCH-8013', by: 'orchestrator-a' });
  expect(state?.failure?.reason).toContain('phi-a');
  await Promise.all([mesh.startAgent('orchestrator-b'), mesh.startAgent('phi-a')]);
});

test('what each agent offers can be asked for', async () => {
  const { agents } = (await mesh.ask({ ask: 'capabilities-list' })) as {
    agents: { agentId: string; algorithms: { signature: { algorithm: string }[] } }[];
  };
  expect(agents).toHaveLength(7);
  for (const { algorithms } of agents) {
    expect(algorithms.signature.map(({ algorithm }) => algorithm)).toContain('ML-DSA-87');
  }
});

async function confirmationsOf(negotiationId: string) {
  const replay = replayOf(negotiationId);
  for (const event of (await shownOf(negotiationId, 0)).events) replay.add(event);
  return replay.log.events.flatMap((event) =>
    event.type === 'negotiation-confirmed' ? [event.body] : [],
  );
}

/** Any frame of the negotiation, as the auditor has it. */
async function oldFrame(negotiationId: string): Promise<Uint8Array> {
  const reader = mesh.principal('op-1');
  for (const { frame } of await auditRecords()) {
    const event: AnyReceivedEvent | undefined = reader.openRecord(frame);
    if (event?.type === 'algorithms-advertised' && event.body.negotiationId === negotiationId) {
      return frame;
    }
  }
  throw new Error('no such frame');
}

test('under a policy that was amended since, the audit alone gives what each was agreed under', async () => {
  const replayed = async (negotiationId: string) => {
    const replay = replayOf(negotiationId);
    for (const record of await auditRecords()) replay.addRecord(record);
    const { log, isRequestRecorded, unreadable } = replay;
    return { state: log.state, misfits: log.misfits, isRequestRecorded, unreadable };
  };
  expect(await ask('n-before')).toMatchObject({ status: 'accepted' });
  const before = await ended('n-before');
  await adopt(mesh, 'op-1', await amended(mesh.world, mesh.world.trust.policy));
  expect(await ask('n-after')).toMatchObject({ status: 'accepted' });
  const whole = { misfits: [], isRequestRecorded: true, unreadable: 0 };
  await expect.poll(() => replayed('n-before')).toEqual({ state: before.state, ...whole });
  await expect.poll(async () => (await replayed('n-after')).state?.phase).toBe('agreed');
  const after = await replayed('n-after');
  expect(after).toMatchObject(whole);
  expect(after.state?.basis.policyDigest).not.toBe(before.state?.basis.policyDigest);
  const policyHash = ({ state }: Pick<typeof after, 'state'>) =>
    state?.agreement?.transcript.policyHash;
  expect(policyHash(before)).toHaveLength(64);
  expect(policyHash(after)).not.toEqual(policyHash(before));
});
