/** The outbox: durable before published, in order, until a receipt; bounded; true after a crash. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Bus, BusError, PublishRequest } from '#shared/bus/bus.ts';
import { MemoryBroker } from '#shared/bus/memory-broker.ts';
import { provisionPlan } from '#shared/bus/streams.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import type { OutboxConflict, OutboxLimits } from '#shared/runtime/outbox.ts';
import type { OutboxError } from '#shared/runtime/outbox-store.ts';
import { ManualClock } from './manual-clock.ts';

const mesh = 'unit';
const subjects = subjectsOf(mesh);
const report = subjects.report(1, 'layer-1');
const saga = subjects.sagaRotation('saga-1');

/** A guard against what never comes. */
const waitFor = (isSo: () => void) => vi.waitFor(isSo, { timeout: 20_000 });

let folder: string;
let clock: ManualClock;
let broker: MemoryBroker;
let conflicts: OutboxConflict[];
let troubles: (BusError | OutboxError)[];
let databases: DatabaseSync[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gyre-outbox-'));
  clock = new ManualClock();
  const principals = [
    { id: 'layer-1', kind: 'layer', layer: 1 },
    { id: 'orchestrator-1', kind: 'orchestrator' },
  ] as const;
  broker = new MemoryBroker(provisionPlan({ mesh, principals }), clock);
  conflicts = [];
  troubles = [];
  databases = [];
});

afterEach(() => {
  for (const database of databases) database.close();
  rmSync(folder, { recursive: true, force: true });
});

function openDatabase(): DatabaseSync {
  const database = new DatabaseSync(join(folder, 'producer.db'));
  databases.push(database);
  return database;
}

function openOutbox(limits: Partial<OutboxLimits> = {}, database = openDatabase()): Outbox {
  return new Outbox({
    database,
    clock,
    limits,
    onConflict: (conflict) => conflicts.push(conflict),
    onTrouble: (error) => troubles.push(error),
  });
}

function connect(id: 'layer-1' | 'orchestrator-1' = 'layer-1'): Bus {
  const principal =
    id === 'layer-1'
      ? ({ id, kind: 'layer', layer: 1 } as const)
      : ({ id, kind: 'orchestrator' } as const);
  const limits = { attemptTimeoutMs: 100, deadlineMs: 400 };
  return broker.connect({ principal, limits, onTrouble: () => undefined });
}

function message(name: string, subject = report, bytes = 8): PublishRequest {
  return { subject, data: new Uint8Array(bytes).fill(name.length), messageId: name };
}

function names(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => `m${index + from}`);
}

/** Message ids of the control stream, oldest first. */
function stored(): string[] {
  const stream = broker.stream('GYRE_CONTROL');
  const ids: string[] = [];
  for (let at = 1; at <= stream.lastSequence; at++) ids.push(stream.get(at)?.messageId ?? '');
  return ids;
}

describe('publishing', () => {
  it('publishes in order and keeps every row until its receipt', async () => {
    const outbox = openOutbox();
    for (const name of names(30)) outbox.enqueue(message(name));
    const drain = outbox.drain(connect());
    await waitFor(() => expect(outbox.counts().unstored).toBe(0));
    expect(stored()).toEqual(names(30));
    expect(outbox.counts()).toEqual({ rows: 30, bytes: 240, unstored: 0 });
    expect(outbox.settle(names(29))).toBe(29);
    expect(outbox.settle(['m3', 'unknown'])).toBe(0);
    expect(outbox.counts()).toEqual({ rows: 1, bytes: 8, unstored: 0 });
    outbox.enqueue(message('later'));
    await waitFor(() => expect(stored()).toHaveLength(31));
    outbox.settle(['m29', 'later']);
    expect(outbox.counts()).toEqual({ rows: 0, bytes: 0, unstored: 0 });
    await drain.stop();
  });

  it('publishes again what has no receipt, less and less often, and not what has one', async () => {
    const outbox = openOutbox({ republishAfterMs: 1_000 });
    for (const name of names(2)) outbox.enqueue(message(name));
    const bus = connect();
    const publishing = vi.spyOn(bus, 'publish');
    const drain = outbox.drain(bus);
    await waitFor(() => expect(outbox.counts().unstored).toBe(0));
    outbox.settle(['m0']);
    const times: number[] = [];
    for (let second = 1; second <= 8; second++) {
      const before = publishing.mock.calls.length;
      await clock.advance(1_000);
      if (publishing.mock.calls.length > before) times.push(second);
    }
    expect(times).toEqual([1, 3, 7]);
    expect(publishing.mock.calls.slice(2).every(([{ messageId }]) => messageId === 'm1')).toBe(
      true,
    );
    expect(stored()).toEqual(['m0', 'm1']);
    await drain.stop();
  });

  it('puts back what the bus forgot', async () => {
    const outbox = openOutbox({ republishAfterMs: 1_000 });
    outbox.enqueue(message('forgotten'));
    const drain = outbox.drain(connect());
    await waitFor(() => expect(outbox.counts().unstored).toBe(0));
    await connect('orchestrator-1').publish(message('other', saga));
    broker.truncate('GYRE_CONTROL');
    expect(stored()).toEqual(['', 'other']);
    await clock.advance(1_100);
    await waitFor(() => expect(stored()).toEqual(['', 'other', 'forgotten']));
    await drain.stop();
  });

  it('loses nothing that was enqueued while the bus was away', async () => {
    const outbox = openOutbox();
    const drain = outbox.drain(connect());
    broker.stop();
    for (const name of names(10)) outbox.enqueue(message(name));
    await clock.advance(3_000);
    expect(troubles.every(({ code }) => code === 'BUS_UNREACHABLE')).toBe(true);
    expect(troubles.length).toBeGreaterThan(0);
    broker.start();
    await clock.advance(5_000);
    expect(stored()).toEqual(names(10));
    await drain.stop();
  });

  it('reports a conflict once and goes on', async () => {
    const outbox = openOutbox({ windowMax: 1 });
    const bus = connect('orchestrator-1');
    await bus.publish(message('first', saga));
    outbox.enqueue({ ...message('too-late', saga), expectLastSubjectSequence: 0 });
    outbox.enqueue({ ...message('in-time', saga), expectLastSubjectSequence: 1 });
    const drain = outbox.drain(bus);
    await waitFor(() => expect(outbox.counts()).toMatchObject({ rows: 1, unstored: 0 }));
    expect(conflicts).toEqual([{ messageId: 'too-late', subject: saga, lastSequence: 1 }]);
    expect(stored()).toEqual(['first', 'in-time']);
    await drain.stop();
  });

  it('is not held up by what the bus refuses for good', async () => {
    const outbox = openOutbox();
    outbox.enqueue(message('not-mine', saga));
    outbox.enqueue(message('mine'));
    const drain = outbox.drain(connect());
    await waitFor(() => expect(stored()).toEqual(['mine']));
    expect(troubles.map(({ code }) => code)).toEqual(['BUS_DENIED']);
    expect(outbox.counts()).toMatchObject({ rows: 2, unstored: 1 });
    await drain.stop();
  });

  it('ends when the bus is closed, and can be drained again', async () => {
    const outbox = openOutbox();
    const bus = connect();
    const drain = outbox.drain(bus);
    expect(() => outbox.drain(bus)).toThrow(expect.objectContaining({ code: 'OUTBOX_REJECTED' }));
    await bus.close();
    outbox.enqueue(message('waiting'));
    await drain.ended;
    const next = outbox.drain(connect());
    await waitFor(() => expect(stored()).toEqual(['waiting']));
    await next.stop();
  });
});

describe('transactions', () => {
  it('enqueues with the transaction of its owner, or not at all', async () => {
    const database = openDatabase();
    const outbox = openOutbox({}, database);
    database.exec('CREATE TABLE effects (id TEXT)');
    const drain = outbox.drain(connect());
    database.exec("BEGIN; INSERT INTO effects VALUES ('undone')");
    outbox.enqueue(message('undone'));
    await clock.advance(50);
    expect(stored()).toEqual([]);
    database.exec('ROLLBACK');
    database.exec("BEGIN; INSERT INTO effects VALUES ('done')");
    outbox.enqueue(message('done'));
    database.exec('COMMIT');
    await clock.advance(50);
    await waitFor(() => expect(stored()).toEqual(['done']));
    expect(outbox.counts()).toEqual({ rows: 1, bytes: 8, unstored: 0 });
    expect(database.prepare('SELECT id FROM effects').all()).toEqual([{ id: 'done' }]);
    await drain.stop();
  });

  it('counts what is there, whatever was seen in a transaction that was undone', () => {
    const database = openDatabase();
    const outbox = openOutbox({}, database);
    outbox.enqueue(message('first'));
    expect(outbox.counts()).toEqual({ rows: 1, bytes: 8, unstored: 1 });
    database.exec('BEGIN');
    outbox.enqueue(message('second'));
    expect(outbox.counts()).toEqual({ rows: 2, bytes: 16, unstored: 2 });
    outbox.settle(['first', 'second']);
    expect(outbox.counts()).toEqual({ rows: 0, bytes: 0, unstored: 0 });
    database.exec('ROLLBACK');
    expect(outbox.counts()).toEqual({ rows: 1, bytes: 8, unstored: 1 });
    expect(outbox.settle(['first'])).toBe(1);
    expect(outbox.counts()).toEqual({ rows: 0, bytes: 0, unstored: 0 });
  });

  it('takes one message id once', () => {
    const outbox = openOutbox();
    outbox.enqueue(message('same'));
    outbox.enqueue(message('same'));
    expect(outbox.counts()).toEqual({ rows: 1, bytes: 8, unstored: 1 });
  });
});

describe('crashes', () => {
  it('finds after a crash what was enqueued, in order, and what was stored', async () => {
    const first = openOutbox({ republishAfterMs: 60_000 });
    for (const name of names(5)) first.enqueue(message(name));
    const drain = first.drain(connect());
    await waitFor(() => expect(first.counts().unstored).toBe(0));
    await drain.stop();
    for (const name of names(5, 5)) first.enqueue(message(name));
    const second = openOutbox({ republishAfterMs: 60_000 });
    expect(second.counts()).toEqual({ rows: 10, bytes: 80, unstored: 5 });
    const again = second.drain(connect());
    await waitFor(() => expect(stored()).toEqual(names(10)));
    second.settle(names(10));
    expect(second.counts()).toEqual({ rows: 0, bytes: 0, unstored: 0 });
    await again.stop();
  });

  it('publishes a message once although the answer was lost in the crash', async () => {
    const outbox = openOutbox();
    const bus = connect();
    await bus.publish(message('m0'));
    for (const name of names(3)) outbox.enqueue(message(name));
    const drain = outbox.drain(bus);
    await waitFor(() => expect(outbox.counts().unstored).toBe(0));
    expect(stored()).toEqual(names(3));
    await drain.stop();
  });

  it('has on disk what a killed process had enqueued', () => {
    const script = `
      import { DatabaseSync } from 'node:sqlite';
      import { Outbox } from '#shared/runtime/outbox.ts';
      import { systemClock } from '#shared/runtime/system.ts';
      const database = new DatabaseSync(process.argv[1]);
      const refuse = (fault) => { throw fault; };
      const outbox = new Outbox({ database, clock: systemClock, onConflict: refuse, onTrouble: refuse });
      for (let n = 0; n < 20; n++) {
        outbox.enqueue({ subject: '${report}', data: new Uint8Array(100), messageId: 'm' + n });
      }
      database.exec('BEGIN');
      outbox.enqueue({ subject: '${report}', data: new Uint8Array(100), messageId: 'uncommitted' });
      process.kill(process.pid, 'SIGKILL');
    `;
    const file = join(folder, 'producer.db');
    const args = ['--input-type=module', '--eval', script, file];
    const { signal, stderr } = spawnSync(process.execPath, args, {
      cwd: join(import.meta.dirname, '../../..'),
      encoding: 'utf8',
    });
    expect([signal, stderr]).toEqual(['SIGKILL', '']);
    expect(openOutbox().counts()).toEqual({ rows: 20, bytes: 2_000, unstored: 20 });
  });
});
