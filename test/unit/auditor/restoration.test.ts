import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Bus, BusMessage } from '#shared/bus/bus.ts';
import { Stage, tell } from '../audit/story.ts';

let stage: Stage;
let bus: Bus;

beforeEach(async () => {
  stage = await Stage.open();
  bus = stage.world.bus('orchestrator-a');
});

afterEach(async () => {
  await bus.close();
  await stage.close();
});

/** Every message of the control stream that is there now. */
async function present(): Promise<BusMessage[]> {
  const { firstSequence, lastSequence } = await bus.streamState('GYRE_CONTROL');
  const messages: BusMessage[] = [];
  for (let sequence = firstSequence; sequence <= lastSequence; sequence += 1) {
    const message = await bus.getMessage('GYRE_CONTROL', sequence);
    if (message !== null) messages.push(message);
  }
  return messages;
}

/** Hashes of the saga entries that an orchestrator reads from a subject, in its order. */
async function entriesOn(subject: string): Promise<string[]> {
  const reader = stage.world.principal('orchestrator-b', {
    keyring: stage.keyringOf('orchestrator-b'),
  });
  return (await present())
    .filter((message) => message.subject === subject)
    .flatMap((message) => {
      const opening = reader.open(message);
      if (opening.status === 'refused') return [];
      return opening.event.type === 'saga-entry' ? [opening.event.hash] : [];
    });
}

/** Entries, the ledger, requests and reports; steps are commanded again by whoever drives. */
function isPutBack(subject: string): boolean {
  const kind = stage.subjects.parse(subject)?.kind ?? '';
  return ['saga-rotation', 'saga-slots', 'request', 'report'].includes(kind);
}

async function settled(): Promise<number> {
  for (let last = -1; ;) {
    await new Promise((resolve) => setTimeout(resolve, 400));
    if (stage.auditor.restored === last) return last;
    last = stage.auditor.restored;
  }
}

describe('a bus that forgot', () => {
  it('gets back every entry of an unfinished saga and the ledger, in order, once', async () => {
    const saga = stage.subjects.sagaRotation('plan-1');
    let before: string[] = [];
    const told = await tell(stage, {
      planId: 'plan-1',
      layers: [7],
      before: {
        type: 'commit-decided',
        run: async () => {
          before = await entriesOn(saga);
          const held = (await present()).filter(({ subject }) => isPutBack(subject)).length;
          stage.world.broker.truncate('GYRE_CONTROL', 1);
          expect((await present()).length).toBe(1);
          // The last message, an entry, is still there; all others of the saga are not.
          expect(await settled()).toBe(held - 1);
        },
      },
    });
    expect(before.length).toBeGreaterThan(8);
    const after = await entriesOn(saga);
    expect(after.slice(0, before.length)).toEqual([...before.slice(-1), ...before.slice(0, -1)]);
    expect(after.toSorted()).toEqual(told.entries.toSorted());
    expect((await entriesOn(stage.subjects.sagaSlots()))[0]).toBe(stage.ledgerEntries[0]);
    expect(told.state.phase).toBe('retired');
    const restored = stage.auditor.restored;
    expect(await settled()).toBe(restored);
  });

  it('is noticed when it forgot while the auditor was away', async () => {
    const saga = stage.subjects.sagaRotation('plan-1');
    const told = await tell(stage, { planId: 'plan-1', layers: [7], until: 'execution-requested' });
    await stage.auditor.stop();
    stage.world.broker.truncate('GYRE_CONTROL', 1);
    await stage.startAuditor();
    await settled();
    expect((await entriesOn(saga)).toSorted()).toEqual(told.entries.toSorted());
    await stage.auditor.stop();
    await stage.startAuditor();
    expect(await settled()).toBe(0);
  });

  it('is noticed again when it forgets what was put back', async () => {
    const saga = stage.subjects.sagaRotation('plan-1');
    const told = await tell(stage, { planId: 'plan-1', layers: [7], until: 'execution-requested' });
    for (let round = 0; round < 2; round += 1) {
      stage.world.broker.truncate('GYRE_CONTROL', 1);
      await settled();
      expect((await entriesOn(saga)).toSorted()).toEqual(told.entries.toSorted());
    }
  });

  it('is left alone where every saga is at rest', async () => {
    await tell(stage, { planId: 'plan-1', layers: [7] });
    stage.world.broker.truncate('GYRE_CONTROL', 1);
    expect(await settled()).toBe(0);
  });

  it('gets back the log of a saga that is over where somebody goes on from an older entry', async () => {
    const saga = stage.subjects.sagaRotation('plan-1');
    const told = await tell(stage, { planId: 'plan-1', layers: [7] });
    stage.world.broker.truncate('GYRE_CONTROL', 1);
    expect(await settled()).toBe(0);
    const refused = await stage.offer({
      saga: 'rotation',
      sagaId: 'plan-1',
      index: told.entries.length - 1,
      previous: told.entries.at(-2) ?? '',
      consumed: [],
      event: { type: 'timer-fired', timer: 'resend', atMs: Date.now() },
    });
    expect(refused.receipt).toMatchObject({ verdict: 'refused' });
    expect(await settled()).toBeGreaterThan(told.entries.length);
    const after = await entriesOn(saga);
    expect(after.filter((hash) => told.entries.includes(hash)).toSorted()).toEqual(
      told.entries.toSorted(),
    );
    const restored = stage.auditor.restored;
    expect(await settled()).toBe(restored);
  });
});
