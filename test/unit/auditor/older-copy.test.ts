/**
 * A bus that comes back from an older copy of itself, or lost what it had acknowledged: receipts are issued
 * again, what stands in old places is taken in, and what stood there is put back (invariants 13 and 15).
 */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StreamName } from '#shared/bus/bus.ts';
import { Stage, tell } from '../audit/story.ts';

let stage: Stage;

beforeEach(async () => {
  stage = await Stage.open();
});

afterEach(async () => {
  await stage.close();
});

const saga = { planId: 'plan-1', layers: [7], until: 'execution-requested' } as const;

function lastSequence(stream: StreamName): number {
  return stage.world.broker.stream(stream).lastSequence;
}

/** As after a crash of the server, and a new start from a copy that is so many messages old. */
function goBack(stream: StreamName, messages: number): void {
  const { broker } = stage.world;
  broker.stop();
  broker.rollBack(stream, Math.max(0, lastSequence(stream) - messages));
  broker.start();
}

function request(requestId: string): Promise<string> {
  const body = { requestId, rotationType: 'scheduled', layers: [7], reason: 'test' } as const;
  return stage.request('op-1', 'rotation-requested', { ...body, layers: [...body.layers] });
}

async function restoredAtRest(): Promise<number> {
  for (let last = -1; ;) {
    await new Promise((resolve) => setTimeout(resolve, 400));
    if (stage.auditor.restored === last) return last;
    last = stage.auditor.restored;
  }
}

/** Everything that had a receipt before, told with what it was lost by. */
function lostBy(lose: () => void): string[] {
  const hashes = [...stage.receipts.keys()];
  stage.receipts.clear();
  lose();
  return hashes;
}

describe('receipts', () => {
  const losses: Readonly<Record<string, () => void>> = {
    'the stream went back': () => goBack('GYRE_AUDIT', 1_000),
    'its newest message is gone': () =>
      stage.world.broker.lose('GYRE_AUDIT', lastSequence('GYRE_AUDIT'), lastSequence('GYRE_AUDIT')),
    'its oldest messages are gone': () => stage.world.broker.truncate('GYRE_AUDIT', 0),
  };
  it.each(Object.entries(losses))('are issued again where %s', async (_, lose) => {
    const told = await tell(stage, saga);
    await stage.receiptOf(told.entries.at(-1) ?? '');
    const hashes = lostBy(lose);
    const isOfNewest = lose === losses['its newest message is gone'];
    const expected = isOfNewest ? hashes.slice(-1) : hashes;
    for (const hash of expected) await stage.receiptOf(hash);
    expect([...stage.receipts.keys()]).toEqual(expect.arrayContaining([...expected]));
  });

  it('are issued again where the stream went back and grew again before anybody looked', async () => {
    await stage.auditor.stop();
    await stage.startAuditor({ lookMs: 3_600_000 });
    await tell(stage, saga);
    const hashes = lostBy(() => goBack('GYRE_AUDIT', 2));
    await request('r-news');
    await request('r-more-news');
    for (const hash of hashes.slice(-1)) await stage.receiptOf(hash);
    expect(stage.receipts.size).toBeGreaterThan(2);
  });

  it('are issued again to an orchestrator that asks, and to nobody else', async () => {
    const told = await tell(stage, saga);
    lostBy(() => undefined);
    const query = { ask: 'receipts-again', events: told.entries.slice(0, 2) } as const;
    const to = { agentId: 'auditor', channel: 'operators' };
    const refused = await stage.principal('op-1').ask(to, query, 5_000);
    expect(refused).toMatchObject({ ok: false, code: 'ORCH-8015' });
    const asked = { agentId: 'auditor', channel: 'saga' };
    const answer = await stage.principal('orchestrator-a').ask(asked, query, 5_000);
    expect(answer).toEqual({ ok: true, result: 2 });
    for (const hash of query.events) await stage.receiptOf(hash);
    expect(stage.receipts.size).toBe(2);
  });
});

describe('the control stream', () => {
  it('is taken in where other messages stand in old places, and what stood there comes back', async () => {
    await tell(stage, saga);
    goBack('GYRE_CONTROL', 3);
    const news = await Promise.all(['r-1', 'r-2', 'r-3', 'r-4', 'r-5'].map(request));
    for (const hash of news) await stage.receiptOf(hash);
    expect(await restoredAtRest()).toBeGreaterThan(0);
    const restored = stage.auditor.restored;
    const before = lastSequence('GYRE_CONTROL');
    expect(await restoredAtRest()).toBe(restored);
    expect(lastSequence('GYRE_CONTROL')).toBe(before);
  });

  it('is taken in where it went back, and grew again, while the auditor was away', async () => {
    await tell(stage, saga);
    await stage.auditor.stop();
    goBack('GYRE_CONTROL', 3);
    const news = await Promise.all(['r-1', 'r-2', 'r-3', 'r-4', 'r-5'].map(request));
    await stage.startAuditor();
    for (const hash of news) await stage.receiptOf(hash);
    expect(await restoredAtRest()).toBeGreaterThan(0);
    await stage.auditor.stop();
    await stage.startAuditor();
    expect(await restoredAtRest()).toBe(0);
  });
});
