/** What an orchestrator remembers of telemetry: who is silent, what was counted, and no more than fits. */
import { beforeAll, describe, expect, it } from 'vitest';
import type { TelemetryEvent } from '#schemas/telemetry.ts';
import { TelemetryRecent, measurementsKeptMax } from '#schemas/telemetry.ts';
import { compile } from '#schemas/primitives.ts';
import { TelemetryDesk } from '#agents/orchestrator/telemetry-desk.ts';
import { AgentTelemetry, heartbeatsPerReport } from '#agents/layers/telemetry.ts';
import { KeyUsage } from '#agents/layers/embedded/key-usage.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { verifyTelemetryProof } from '#shared/crypto/batch-evidence.ts';
import { BulkReceiver } from '#shared/runtime/bulk-receiver.ts';
import { BulkSender } from '#shared/runtime/bulk-sender.ts';
import { crypto, makeWorld, quiet, type World } from '../../support/world.ts';
import { ManualClock } from '../runtime/manual-clock.ts';

const subjects = subjectsOf('test');
const recentCheck = compile(TelemetryRecent);
let world: World;

beforeAll(async () => {
  world = await makeWorld();
});

/** A desk, and an agent whose batches reach it. */
function making(agentId = 'database-a', layer = 5) {
  const { trust, clock } = world;
  const bus = world.bus('orchestrator-a');
  const keyring = world.keyring('orchestrator-a');
  const receiver = new BulkReceiver({ crypto, trust, keyring, clock });
  const shared = { bus, subjects, trust, receiver, clock, log: quiet };
  const desk = new TelemetryDesk({ ...shared, agentId: 'orchestrator-a' });
  const signingKey = world.keys.get(agentId);
  if (signingKey === undefined) throw new Error('no key');
  const subject = subjects.telemetry(layer, agentId);
  let sequence = 0;
  const send = async (events: readonly TelemetryEvent[]): Promise<void> => {
    const taken: Promise<void>[] = [];
    const outbox = {
      enqueue: ({ data, messageId }: { data: Uint8Array; messageId: string }) => {
        sequence += 1;
        const timeMs = clock.nowMs();
        const message = { subject, data, messageId, sequence, deliveryCount: 1, timeMs };
        taken.push(desk.take(message));
      },
    };
    const own = { agentId, subject, crypto, signingKey, keyring: world.keyring(agentId), trust };
    const sender = new BulkSender({ ...own, outbox, clock, log: quiet });
    for (const event of events) sender.offer(event);
    await sender.stop();
    await Promise.all(taken);
  };
  const recent = () => {
    const all = desk.recent();
    expect(recentCheck.errors(all)).toEqual([]);
    const found = all.agents.find((agent) => agent.agentId === agentId);
    if (found === undefined) throw new Error('the agent is not listed');
    return found;
  };
  return { desk, send, recent };
}

const heartbeat = (sequence: number): TelemetryEvent => ({ kind: 'heartbeat', atMs: 1, sequence });
const usage = (operations: number): TelemetryEvent => ({
  kind: 'usage',
  atMs: 1,
  slot: '5/record-signature',
  version: 1,
  algorithm: 'ML-DSA-87',
  operations,
  failures: 1,
});

describe('the telemetry desk', () => {
  it('lists every layer agent, also one that was never heard', () => {
    const { desk, recent } = making();
    expect(
      desk
        .recent()
        .agents.map(({ agentId }) => agentId)
        .toSorted(),
    ).toHaveLength(7);
    expect(recent()).toMatchObject({ silent: false, batches: 0, missed: 0 });
    world.clock.offsetMs = 6_000;
    expect(recent()).toMatchObject({ silent: true });
    world.clock.offsetMs = 0;
  });

  it('counts heartbeats that are missing, and none at another start', async () => {
    const { send, recent } = making();
    await send([heartbeat(1), heartbeat(2)]);
    await send([heartbeat(6)]);
    expect(recent()).toMatchObject({ missed: 3, batches: 2, events: 3, silent: false });
    await send([heartbeat(0)]);
    expect(recent()).toMatchObject({ missed: 3, heartbeat: { sequence: 0 } });
  });

  it('sums uses and keeps the latest measurements, within bounds', async () => {
    const { send, recent } = making();
    await send([usage(5), usage(7)]);
    const many = Array.from({ length: measurementsKeptMax + 5 }, (_, index) => ({
      kind: 'measurement' as const,
      atMs: 1,
      metric: `metric-${index}`,
      value: index,
    }));
    await send(many);
    const { usage: sums, measurements } = recent();
    expect(sums).toEqual([expect.objectContaining({ operations: 12, failures: 2 })]);
    expect(measurements).toHaveLength(measurementsKeptMax);
    expect(measurements.at(-1)?.metric).toBe(`metric-${measurementsKeptMax + 4}`);
  });

  it('shows any event that it remembers, to anyone, and forgets the oldest', async () => {
    const { desk, send, recent } = making();
    for (let sequence = 0; sequence < 20; sequence += 1) await send([heartbeat(sequence)]);
    const [oldest] = recent().recent;
    const { trust } = world;
    const addressOf = (subject: string) => subjects.parse(subject);
    const verdict = verifyTelemetryProof(crypto, trust, {
      proof: desk.prove('database-a', oldest),
      addressOf,
    });
    expect(verdict).toMatchObject({
      status: 'ok',
      proven: { layer: 5, event: heartbeat(4), index: 0, count: 1, batch: oldest?.batch },
    });
    expect(desk.prove('database-a')).toMatchObject({ index: 0 });
    expect(desk.prove('database-a', { batch: 'f'.repeat(64), index: 0 })).toBeUndefined();
    expect(desk.prove('database-a', { batch: oldest?.batch ?? '', index: 1 })).toBeUndefined();
    expect(desk.prove('phi-a')).toBeUndefined();
  });

  it('takes nothing that is not authentic', async () => {
    const { desk, recent } = making();
    const subject = subjects.telemetry(5, 'database-a');
    const message = { subject, messageId: '', sequence: 1, deliveryCount: 1, timeMs: 1 };
    await desk.take({ ...message, data: crypto.randomBytes(100) });
    expect(recent()).toMatchObject({ batches: 0 });
  });
});

describe('the telemetry of an agent', () => {
  it('beats, and tells uses per version and what was measured', async () => {
    const clock = new ManualClock();
    const offered: TelemetryEvent[] = [];
    const counts = { queued: 0, batches: 0, events: 0, dropped: 3 };
    const keyUsage = new KeyUsage(clock, 1_000);
    const telemetry = new AgentTelemetry({
      sender: {
        offer: (event) => {
          offered.push(event);
          return 'taken';
        },
        counts: () => counts,
      },
      usage: keyUsage,
      adapter: { inspect: () => Promise.resolve([inspection]) },
      measure: () => ({ 'resident-bytes': 1 }),
      heartbeatMs: 1_000,
      clock,
      log: quiet,
    });
    telemetry.start();
    const use = { slot: inspection.slot, version: 2, operation: 'sign', durationMs: 1 };
    keyUsage.record({ ...use, failed: false });
    keyUsage.begin(inspection.slot, 2);
    keyUsage.record({ ...use, failed: true });
    await clock.advance(1_000 * (heartbeatsPerReport - 1));
    const beats = offered.filter(({ kind }) => kind === 'heartbeat');
    expect(beats.map((beat) => beat.kind === 'heartbeat' && beat.sequence)).toEqual([
      ...Array(heartbeatsPerReport).keys(),
    ]);
    expect(offered).toContainEqual(
      expect.objectContaining({ metric: 'telemetry-dropped', value: 3 }),
    );
    const uses = offered.filter(({ kind }) => kind === 'usage');
    expect(uses).toEqual([
      expect.objectContaining({ version: 2, operations: 2, failures: 1, algorithm: 'ML-DSA-87' }),
    ]);
    keyUsage.record({ ...use, failed: false });
    await telemetry.stop();
    expect(offered.at(-1)).toMatchObject({ kind: 'usage', operations: 1 });
    expect(keyUsage.takeCounts()).toEqual([]);
  });
});

const inspection = {
  slot: '5/record-signature',
  keyKind: 'signature',
  algorithm: 'ML-DSA-87',
  frozen: false,
  highestVersion: 2,
  versions: [],
} as const;
