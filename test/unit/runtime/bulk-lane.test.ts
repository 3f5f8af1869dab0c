/**
 * The bulk lane from sender to reader over the in-memory bus: batches fill and are due, give way when
 * there is no room, are refused for what is wrong with them, and act on nothing.
 */
import { DatabaseSync } from 'node:sqlite';
import { beforeAll, describe, expect, it } from 'vitest';
import type { TelemetryEvent } from '#schemas/telemetry.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { SenderChain } from '#shared/crypto/sender-chain.ts';
import { fromHex } from '#shared/crypto/bytes.ts';
import { StaticKeyring, type ChannelKeyring } from '#shared/crypto/keyring.ts';
import { BulkReceiver, type BatchOpening } from '#shared/runtime/bulk-receiver.ts';
import { BulkSender, queueEventsMax } from '#shared/runtime/bulk-sender.ts';
import { OutboxError } from '#shared/runtime/outbox-store.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import { crypto, makeWorld, quiet, type World } from '../../support/world.ts';
import { ManualClock } from './manual-clock.ts';

const subjects = subjectsOf('test');
const subject = subjects.telemetry(5, 'database-a');
let world: World;

beforeAll(async () => {
  world = await makeWorld();
});

interface Row {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly messageId: string;
}

const heartbeat = (sequence: number): TelemetryEvent => ({ kind: 'heartbeat', atMs: 1, sequence });

function sending(options: { keyring?: ChannelKeyring; enqueue?: (row: Row) => void } = {}) {
  const rows: Row[] = [];
  const clock = new ManualClock();
  const agentId = 'database-a';
  const signingKey = world.keys.get(agentId);
  if (signingKey === undefined) throw new Error('no key');
  const keyring = options.keyring ?? world.keyring(agentId);
  const outbox = { enqueue: options.enqueue ?? ((row: Row) => void rows.push(row)) };
  const { trust } = world;
  const ports = { agentId, subject, crypto, signingKey, keyring, trust, outbox, log: quiet };
  return { sender: new BulkSender({ ...ports, clock }), clock, rows };
}

async function settled(clock: ManualClock, condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 200 && !condition(); turn += 1) {
    await new Promise<void>((resolve) => setTimeout(resolve, 5));
    await clock.advance(0);
  }
}

const reading = () =>
  new BulkReceiver({
    crypto,
    trust: world.trust,
    keyring: world.keyring('orchestrator-a'),
    clock: world.clock,
  });

const codeOf = (opening: BatchOpening) =>
  opening.status === 'refused' ? opening.code : opening.status;

/** One batch of database-a, with what an attacker who holds its key may change. */
async function batchOf(
  changes: Partial<Parameters<SenderChain['sealBatch']>[0]> = {},
  events: readonly unknown[] = [heartbeat(1)],
  sender = 'database-a',
) {
  const signingKey = world.keys.get(sender);
  if (signingKey === undefined) throw new Error('no key');
  const keyring = world.keyring(sender);
  const chain = new SenderChain({ crypto, sender, signingKey, keyring });
  const timeMs = world.clock.nowMs();
  return chain.sealBatch({
    lane: 'bulk',
    audience: 'telemetry',
    subject,
    channel: 'telemetry',
    registryVersion: 1,
    registryDigest: fromHex(world.trust.registryDigest) ?? new Uint8Array(),
    policyVersion: 1,
    policyDigest: fromHex(world.trust.policyDigest) ?? new Uint8Array(),
    type: 'telemetry-batch',
    schemaVersion: 1,
    timeMs,
    expiresMs: timeMs + 60_000,
    eventId: 'batch-1',
    events: events.map((event) => encodeCanonical(event, { floats: true })),
    ...changes,
  });
}

describe('a bulk sender', () => {
  it('waits 100 ms for more events, and no longer', async () => {
    const { sender, clock, rows } = sending();
    sender.offer(heartbeat(1));
    await clock.advance(60);
    sender.offer(heartbeat(2));
    expect(rows).toHaveLength(0);
    await clock.advance(40);
    await settled(clock, () => rows.length > 0);
    expect(sender.counts()).toEqual({ queued: 0, batches: 1, events: 2, dropped: 0 });
  });

  it('seals at 256 events at once, and what is left when it is due', async () => {
    const { sender, clock, rows } = sending();
    for (let sequence = 0; sequence < 520; sequence += 1) sender.offer(heartbeat(sequence));
    await settled(clock, () => rows.length === 2);
    expect(sender.counts()).toMatchObject({ queued: 8, batches: 2 });
    await clock.advance(100);
    await settled(clock, () => rows.length === 3);
    expect(sender.counts()).toMatchObject({ queued: 0, batches: 3, events: 520 });
  });

  it('gives way: a full queue drops and counts, and never waits', async () => {
    const { sender } = sending({ keyring: new StaticKeyring([]) });
    for (let sequence = 0; sequence < queueEventsMax; sequence += 1) {
      expect(sender.offer(heartbeat(sequence))).toBe('taken');
    }
    expect(sender.offer(heartbeat(0))).toBe('dropped');
    expect(sender.counts()).toMatchObject({ queued: queueEventsMax, dropped: 1, batches: 0 });
    await sender.stop();
  });

  it('gives way: a full outbox drops the batch, and the next one links to the last that stayed', async () => {
    let isFull = true;
    const rows: Row[] = [];
    const { sender, clock } = sending({
      enqueue: (row) => {
        if (isFull) throw new OutboxError('OUTBOX_FULL', 'full');
        rows.push(row);
      },
    });
    sender.offer(heartbeat(1));
    await clock.advance(100);
    await settled(clock, () => sender.counts().dropped > 0);
    expect(sender.counts()).toEqual({ queued: 0, batches: 0, events: 0, dropped: 1 });
    isFull = false;
    sender.offer(heartbeat(2));
    await sender.stop();
    const [row] = rows;
    const opening = await reading().open({
      subject,
      data: row?.data ?? crypto.randomBytes(1),
      sequence: 1,
    });
    // Sealed under a clock that stands in 1970: expired, but of the right chain.
    expect(codeOf(opening)).toBe('SENDER_EXPIRED');
  });

  it('gives way: a secret that goes while a batch fills costs the batch, not the agent', async () => {
    const gone = { currentEpoch: () => 1, secretOf: () => undefined };
    const { sender } = sending({ keyring: gone });
    sender.offer(heartbeat(1));
    await sender.stop();
    expect(sender.counts()).toEqual({ queued: 0, batches: 0, events: 0, dropped: 1 });
  });

  it('writes what waits when it stops, and takes nothing more', async () => {
    const { sender, rows } = sending();
    sender.offer(heartbeat(1));
    await sender.stop();
    expect(rows).toHaveLength(1);
    expect(sender.offer(heartbeat(2))).toBe('dropped');
  });

  it('publishes each batch once through its outbox, which the bus settles', async () => {
    const bus = world.bus('database-a');
    const outbox = new Outbox({
      database: new DatabaseSync(':memory:'),
      clock: world.clock,
      settledBy: 'bus',
      onConflict: () => undefined,
      onTrouble: () => undefined,
    });
    const { messageId, frame } = await batchOf();
    const drain = outbox.drain(bus);
    outbox.enqueue({ subject, data: frame, messageId });
    for (let turn = 0; turn < 200 && outbox.counts().rows > 0; turn += 1) {
      await new Promise<void>((resolve) => setTimeout(resolve, 5));
    }
    expect(outbox.counts()).toEqual({ rows: 0, bytes: 0, unstored: 0 });
    expect((await world.bus('orchestrator-a').streamState('GYRE_BULK')).messages).toBe(1);
    await drain.stop();
    await bus.close();
  });
});

describe('a bulk receiver', () => {
  it('opens a batch, and shows any event of it', async () => {
    const { frame, messageId } = await batchOf({}, [heartbeat(1), heartbeat(2)]);
    const opening = await reading().open({ subject, data: frame, sequence: 1 });
    if (opening.status !== 'opened') throw new Error(codeOf(opening));
    expect(opening.batch.hash).toBe(messageId);
    expect(opening.batch.events).toEqual([heartbeat(1), heartbeat(2)]);
    expect(opening.batch.prove(1)).toMatchObject({ index: 1, count: 2 });
  });

  it('knows a redelivery from a replay', async () => {
    const receiver = reading();
    const { frame } = await batchOf();
    const at = (sequence: number) => receiver.open({ subject, data: frame, sequence });
    expect(codeOf(await at(1))).toBe('opened');
    expect(codeOf(await at(1))).toBe('redelivered');
    expect(codeOf(await at(2))).toBe('EVENT_REPLAYED');
    expect(receiver.refusals()).toEqual({ EVENT_REPLAYED: 1 });
  });

  const zeros = new Uint8Array(32);
  it.each<[string, Parameters<typeof batchOf>[0]]>([
    ['CHANNEL_MISMATCH', { channel: 'mesh', audience: 'mesh' }],
    ['AUDIENCE_MISMATCH', { audience: 'orchestrator-a' }],
    ['TYPE_UNKNOWN', { type: 'measurement-batch' }],
    ['SUBJECT_MISMATCH', { subject: subjects.telemetry(5, 'database-b') }],
    ['SENDER_NOT_ENTITLED', { type: 'saga-entry' }],
    ['VERSION_UNKNOWN', { schemaVersion: 2 }],
    ['POLICY_NOT_IN_FORCE', { policyDigest: zeros }],
    ['REGISTRY_NOT_IN_FORCE', { registryDigest: zeros }],
    ['SENDER_EXPIRED', { timeMs: 4_000_000_000_000, expiresMs: 4_000_000_000_001 }],
  ])('refuses: %s', async (code, changes) => {
    const { frame, header } = await batchOf(changes);
    const opening = await reading().open({ subject: header.subject, data: frame, sequence: 1 });
    expect(codeOf(opening)).toBe(code);
  });

  it('refuses what is from the future, and what is too old', async () => {
    const codeAt = async (offsetMs: number) => {
      const timeMs = world.clock.nowMs() + offsetMs;
      const { frame } = await batchOf({ timeMs, expiresMs: timeMs + 1 });
      return codeOf(await reading().open({ subject, data: frame, sequence: 1 }));
    };
    expect(await codeAt(3_600_000)).toBe('TIME_OUT_OF_RANGE');
    world.clock.offsetMs = 7_200_000;
    expect(await codeAt(-3_600_000)).toBe('EVENT_EXPIRED');
    world.clock.offsetMs = 0;
  });

  it('refuses a batch on the subject of another agent', async () => {
    const { frame } = await batchOf({}, [heartbeat(1)], 'phi-a');
    expect(codeOf(await reading().open({ subject, data: frame, sequence: 1 }))).toBe(
      'SUBJECT_MISMATCH',
    );
  });

  it('refuses without the secret of its epoch, and with one event that is not telemetry', async () => {
    const keyless = new BulkReceiver({
      crypto,
      trust: world.trust,
      keyring: new StaticKeyring([]),
      clock: world.clock,
    });
    const { frame } = await batchOf();
    expect(codeOf(await keyless.open({ subject, data: frame, sequence: 1 }))).toBe('EPOCH_UNKNOWN');
    const mixed = await batchOf({}, [
      heartbeat(1),
      { kind: 'heartbeat', atMs: 1, command: 'halt' },
    ]);
    expect(codeOf(await reading().open({ subject, data: mixed.frame, sequence: 1 }))).toBe(
      'BODY_MALFORMED',
    );
  });
});

describe('the bulk lane is no authority', () => {
  it('a step, an entry or an approval inside a batch is telemetry that is refused', async () => {
    for (const body of [
      { commandId: 'rot-1-4-1', sagaId: 'rot-1', operation: 'activate', slots: ['identity'] },
      { saga: 'rotation', sagaId: 'rot-1', index: 0, consumed: [], event: { type: 'committed' } },
      { planId: 'rot-1', planDigest: '0'.repeat(64) },
    ]) {
      const { frame } = await batchOf({}, [heartbeat(1), body]);
      const opening = await reading().open({ subject, data: frame, sequence: 1 });
      expect(codeOf(opening)).toBe('BODY_MALFORMED');
    }
  });

  it.each(['orchestrator-a', 'auditor', 'signer', 'database-a', 'op-1'])(
    'the control path of %s refuses every batch, whatever subject and type it claims',
    async (agentId) => {
      const principal = world.principal(agentId, { observesAll: true });
      for (const [type, on] of [
        ['telemetry-batch', subject],
        ['step-commanded', subjects.step(5, 'database-a')],
        ['saga-entry', subjects.sagaRotation('rot-1')],
        ['plan-approved', subjects.request('op-1')],
      ] as const) {
        const { frame, messageId } = await batchOf({ type, subject: on });
        const message = {
          subject: on,
          data: frame,
          messageId,
          sequence: 1,
          deliveryCount: 1,
          timeMs: 0,
        };
        expect(principal.open(message)).toEqual({ status: 'refused', code: 'LANE_MISMATCH' });
        expect(principal.openRecord(frame)).toBeUndefined();
      }
    },
  );

  it('no event of it is evidence', async () => {
    const { frame } = await batchOf();
    const opening = await reading().open({ subject, data: frame, sequence: 1 });
    if (opening.status !== 'opened') throw new Error(codeOf(opening));
    const proof = opening.batch.prove(0);
    const { index, count, path, event, ciphertextHash: short, ...rest } = proof;
    const ciphertextHash = new Uint8Array(64);
    ciphertextHash.set(short);
    expect([index, count, path]).toEqual([0, 1, []]);
    const asEvidence = world.trust.verifyEvidence({ ...rest, ciphertextHash, body: event });
    expect(asEvidence).toEqual({ status: 'refused', code: 'LANE_MISMATCH' });
  });
});
