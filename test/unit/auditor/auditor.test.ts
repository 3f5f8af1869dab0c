import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditHead } from '#schemas/queries.ts';
import type { Query } from '#schemas/queries.ts';
import { Stage, tell } from '../audit/story.ts';

let stage: Stage;

beforeEach(async () => {
  stage = await Stage.open();
});

afterEach(async () => {
  await stage.close();
});

const logFile = (): string => path.join(stage.directory, 'audit.log');

async function ask(agentId: string, query: Query, channel = 'operators') {
  return stage.principal(agentId).ask({ agentId: 'auditor', channel }, query, 5_000);
}

async function head(): Promise<AuditHead> {
  const answer = await ask('op-1', { ask: 'audit-head' });
  if (!answer.ok) throw new Error(answer.reason);
  return answer.result as AuditHead;
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 400; tries += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('it did not come to be');
}

/** A request that is sealed and not published. */
function requestBy(agentId: string, requestId: string) {
  return stage.principal(agentId).seal({
    type: 'rotation-requested',
    subject: stage.subjects.request(agentId),
    channel: 'operators',
    body: { requestId, rotationType: 'scheduled', layers: [7], reason: 'test' },
  });
}

describe('receipts', () => {
  it('say where the saga stands after each entry', async () => {
    const told = await tell(stage, { planId: 'plan-1', layers: [7] });
    expect(told.state.phase).toBe('retired');
    const phases = await Promise.all(
      told.entries.map(async (hash) => (await stage.receiptOf(hash)).entry.phase),
    );
    expect(phases.slice(0, 4)).toEqual(['drafted', 'validated', 'approved', 'reserving']);
    expect(phases.at(-1)).toBe('retired');
  });

  it('refuse an entry that does not follow, and the saga goes on without it', async () => {
    const told = await tell(stage, { planId: 'plan-1', layers: [7], until: 'execution-requested' });
    const entry = {
      saga: 'rotation' as const,
      sagaId: 'plan-1',
      index: told.entries.length,
      previous: told.entries.at(-1) ?? '',
    };
    const atMs = Date.now();
    const madeUp = await stage.offer({
      ...entry,
      consumed: [],
      event: { type: 'execution-requested', operatorId: 'op-1', atMs },
    });
    expect(madeUp.receipt).toMatchObject({ verdict: 'refused', sagaId: 'plan-1' });
    expect(madeUp.receipt.phase).toBeUndefined();
    const bound = { planId: 'plan-1', planDigest: told.state.planDigest };
    const dry = await stage.request('op-1', 'execution-requested', { ...bound, dryRun: true });
    const asDry = { ...entry, consumed: [dry] };
    const wrongKind = await stage.offer({
      ...asDry,
      event: { type: 'execution-requested', operatorId: 'op-1', atMs },
    });
    expect(wrongKind.receipt.verdict).toBe('refused');
    const wrongOperator = await stage.offer({
      ...asDry,
      event: { type: 'dry-run-completed', operatorId: 'op-2', ok: true, atMs },
    });
    expect(wrongOperator.receipt.verdict).toBe('refused');
    const other = await stage.request('op-2', 'execution-requested', { ...bound, dryRun: true });
    const surplus = await stage.offer({
      ...entry,
      consumed: [dry, other],
      event: { type: 'dry-run-completed', operatorId: 'op-1', ok: true, atMs },
    });
    expect(surplus.receipt.verdict).toBe('refused');
    const swallowed = await stage.offer({
      ...asDry,
      event: { type: 'plan-refused', code: 'ORCH-8004', reason: 'no reason', atMs },
    });
    expect(swallowed.receipt.verdict).toBe('refused');
    const right = await stage.offer({
      ...asDry,
      event: { type: 'dry-run-completed', operatorId: 'op-1', ok: true, atMs },
    });
    expect(right.receipt).toMatchObject({ verdict: 'accepted', phase: 'approved' });
  });

  it('are issued again for a copy, which is no second leaf', async () => {
    const request = requestBy('op-1', 'request-1');
    const bus = stage.world.bus('op-1');
    const { subject, frame: data, hash } = request;
    await bus.publish({ subject, data, messageId: hash });
    const { entry } = await stage.receiptOf(hash);
    stage.receipts.delete(hash);
    await bus.publish({ subject, data, messageId: 'another-id' });
    expect((await stage.receiptOf(hash)).entry).toEqual(entry);
    expect(stage.auditor.size).toBe(1);
  });
});

describe('what is not authentic', () => {
  it('is counted and is no leaf', async () => {
    const bus = stage.world.bus('op-1');
    const subject = stage.subjects.request('op-1');
    const thief = stage.world.principal('op-1', {
      keyring: stage.keyringOf('op-1'),
      signingKey: stage.world.keys.get('op-2') ?? (undefined as never),
    });
    const forged = thief.seal({
      type: 'rotation-requested',
      subject,
      channel: 'operators',
      body: { requestId: 'forged', rotationType: 'emergency', layers: [1], reason: 'theft' },
    });
    const other = requestBy('op-2', 'request-2');
    const rubbish = [new Uint8Array(0), new Uint8Array(300).fill(7), forged.frame, other.frame];
    for (const [index, data] of rubbish.entries()) {
      await bus.publish({ subject, data, messageId: `rubbish-${index}` });
    }
    await until(async () => (await head()).refused === rubbish.length);
    expect(await head()).toMatchObject({ treeSize: 0, refused: rubbish.length });
    const { hash, frame, subject: ownSubject } = other;
    await stage.world.bus('op-2').publish({ subject: ownSubject, data: frame, messageId: hash });
    expect((await stage.receiptOf(hash)).entry.verdict).toBe('accepted');
  });

  it('is a refused leaf where its sender signed what it may not say', async () => {
    const hash = await stage.say('orchestrator-a', {
      type: 'step-reported',
      subject: stage.subjects.sagaSlots(),
      channel: 'layer-7',
      body: {
        commandId: 'c',
        sagaId: 's',
        sagaIndex: 0,
        planDigest: '0'.repeat(64),
        operation: 'prepare',
        status: 'done',
        slots: [],
        durationMs: 1,
      },
    });
    const { entry } = await stage.receiptOf(hash);
    expect(entry).toMatchObject({ verdict: 'refused', leafIndex: 0 });
  });
});

describe('a restart', () => {
  it('comes to the same state and goes on', async () => {
    const first = await tell(stage, { planId: 'plan-1', layers: [7] });
    const before = await head();
    await stage.auditor.stop();
    stage.receipts.clear();
    await stage.startAuditor();
    expect(await head()).toMatchObject({ treeSize: before.treeSize, rootHash: before.rootHash });
    expect((await stage.receiptOf(first.entries.at(-1) ?? '')).entry.phase).toBe('retired');
    const second = await tell(stage, { planId: 'plan-2', layers: [7] });
    expect(second.state.phase).toBe('retired');
  });

  it('takes in what came while it was away, and what was torn at the end of the log', async () => {
    await tell(stage, { planId: 'plan-1', layers: [7], until: 'execution-requested' });
    const before = await head();
    await stage.auditor.stop();
    truncateSync(logFile(), statSync(logFile()).size - 5);
    const { hash } = await stage.principal('op-1').publish({
      type: 'rotation-requested',
      subject: stage.subjects.request('op-1'),
      channel: 'operators',
      body: { requestId: 'away', rotationType: 'scheduled', layers: [7], reason: 'test' },
    });
    await stage.startAuditor();
    expect((await stage.receiptOf(hash)).entry.leafIndex).toBe(before.treeSize);
    const records = await stage.records();
    expect(records.length).toBe(before.treeSize + 1);
  });

  it('is refused over a log that is damaged, or shorter than its checkpoint', async () => {
    await tell(stage, { planId: 'plan-1', layers: [7], until: 'execution-requested' });
    await stage.checkpoint();
    await stage.auditor.stop();
    const whole = readFileSync(logFile());
    const damaged = Buffer.from(whole);
    damaged[whole.length >> 1] = (damaged[whole.length >> 1] ?? 0) ^ 1;
    writeFileSync(logFile(), damaged);
    await expect(stage.startAuditor()).rejects.toMatchObject({ code: 'AUDIT_LOG_DAMAGED' });
    writeFileSync(logFile(), whole.subarray(0, whole.length - 5));
    await expect(stage.startAuditor()).rejects.toMatchObject({ code: 'AUDIT_LOG_DAMAGED' });
    writeFileSync(logFile(), whole);
    await stage.startAuditor();
  });
});

describe('questions', () => {
  it('are answered to operators and orchestrators, and to nobody else', async () => {
    expect(await ask('orchestrator-a', { ask: 'audit-head' }, 'saga')).toMatchObject({ ok: true });
    // The bus alone would not let a layer agent ask; this one has stolen a connection.
    const thief = stage.world.principal('self-healing-a', {
      keyring: stage.keyringOf('self-healing-a'),
      bus: stage.world.bus('orchestrator-a'),
    });
    const to = { agentId: 'auditor', channel: 'layer-7' };
    expect(await thief.ask(to, { ask: 'audit-head' }, 5_000)).toMatchObject({
      ok: false,
      code: 'ORCH-8015',
    });
  });

  it('show entries of sagas alone, and events as evidence', async () => {
    const told = await tell(stage, { planId: 'plan-1', layers: [7], until: 'execution-requested' });
    const answer = await ask(
      'orchestrator-a',
      { ask: 'saga-entries', from: 0, recordsMax: 2 },
      'saga',
    );
    if (!answer.ok) throw new Error(answer.reason);
    const page = answer.result as { records: { leafIndex: number }[] };
    expect(page.records.length).toBe(2);
    const from = (page.records.at(-1)?.leafIndex ?? 0) + 1;
    const rest = await ask('orchestrator-a', { ask: 'saga-entries', from, recordsMax: 64 }, 'saga');
    expect(rest).toMatchObject({ ok: true });
    const events = [...told.entries, '0'.repeat(64)];
    const shown = await ask('orchestrator-a', { ask: 'audit-disclosures', events }, 'saga');
    if (!shown.ok || !Array.isArray(shown.result)) throw new Error('no disclosures');
    expect(shown.result.length).toBe(told.entries.length);
  });

  it('get a checkpoint that grows with the log', async () => {
    await stage.receiptOf(await stage.request('op-1', 'rotation-requested', requestBody('one')));
    const first = await stage.checkpoint();
    expect(await stage.checkpoint()).toEqual(first);
    await stage.receiptOf(await stage.request('op-1', 'rotation-requested', requestBody('two')));
    const second = await stage.checkpoint();
    expect([first.body.tree_size, second.body.tree_size]).toEqual([1, 2]);
    expect(stage.world.trust.verifyStatement(second, 'audit')).toBe('ok');
  });
});

function requestBody(requestId: string) {
  return { requestId, rotationType: 'scheduled' as const, layers: [7 as const], reason: 'test' };
}
