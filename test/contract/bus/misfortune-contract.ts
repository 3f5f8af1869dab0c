/** Restarts, absence, truncation by an administrator, and the end of a connection. */
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { durableName } from '#shared/bus/subjects.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { bytes, message, quick, report, saga, step, text } from './bus-messages.ts';
import type { Given } from './bus-messages.ts';
import { subjects } from './bus-world.ts';

export function describeMisfortune(given: Given): void {
  describe('misfortune', () => {
    it('follows on across a restart of the server, without gap or repetition', async () => {
      const world = given.get();
      const bus = await world.connect('orchestrator-1', quick);
      const states: string[] = [];
      bus.onState((state) => states.push(state));
      const seen: string[] = [];
      await bus.follow(
        { stream: 'GYRE_CONTROL', subjects: [subjects.patterns.saga], fromSequence: 1 },
        ({ data }) => {
          seen.push(text(data));
        },
      );
      for (let sent = 0; sent < 20; sent++) await bus.publish(message(saga, String(sent)));
      await vi.waitFor(() => expect(seen).toHaveLength(20), { timeout: 12_000 });
      await world.down();
      await vi.waitFor(() => expect(states.at(-1)).toBe('disconnected'), { timeout: 12_000 });
      const publishing = bus.publish(message(saga, '20'));
      await pause(200);
      await world.up();
      expect(await publishing).toMatchObject({ status: 'stored', sequence: 21 });
      for (let sent = 21; sent < 40; sent++) await bus.publish(message(saga, String(sent)));
      await vi.waitFor(() => expect(seen).toHaveLength(40), { timeout: 12_000 });
      await pause(100);
      expect(seen).toEqual(Array.from({ length: 40 }, (_, index) => String(index)));
      expect(states).toEqual(['connected', 'disconnected', 'connected']);
    });

    it('works on across a restart of the server', async () => {
      const world = given.get();
      const bus = await world.connect('orchestrator-1', quick);
      const layer = await world.connect('layer-1');
      const seen = new Set<string>();
      const consumer = durableName('layer-1', 'steps');
      const options = { stream: 'GYRE_CONTROL', consumer, inFlightMax: 1 } as const;
      await layer.consume(options, ({ data }) => {
        seen.add(text(data));
        return Promise.resolve('ack');
      });
      await layer.respond(subjects.query('layer-1'), (data) => Promise.resolve(data));
      await bus.publish(message(step, 'before'));
      await vi.waitFor(() => expect(seen.has('before')).toBe(true), { timeout: 12_000 });
      await world.down();
      await pause(300);
      await world.up();
      await bus.publish(message(step, 'after'));
      await vi.waitFor(() => expect(seen.has('after')).toBe(true), { timeout: 12_000 });
      const answer = await bus.request(subjects.query('layer-1'), bytes('still here?'), 2_000);
      expect(text(answer)).toBe('still here?');
    });

    it('loses nothing that an outbox holds while the server is away', async () => {
      const world = given.get();
      const layer = await world.connect('layer-1', { ...quick, deadlineMs: 500 });
      const reader = await world.connect('orchestrator-1', quick);
      const fail = (fault: unknown): void => {
        throw new Error('no conflict is possible here', { cause: fault });
      };
      const database = new DatabaseSync(':memory:');
      const outbox = new Outbox({
        database,
        clock: systemClock,
        limits: { republishAfterMs: 60_000 },
        onConflict: fail,
        onTrouble: () => undefined,
      });
      const drain = outbox.drain(layer);
      outbox.enqueue(message(report, 'before'));
      await vi.waitFor(() => expect(outbox.counts().unstored).toBe(0), { timeout: 12_000 });
      await world.down();
      for (let sent = 0; sent < 20; sent++) outbox.enqueue(message(report, String(sent)));
      await pause(700);
      expect(outbox.counts()).toMatchObject({ rows: 21, unstored: 20 });
      await world.up();
      await vi.waitFor(() => expect(outbox.counts().unstored).toBe(0), { timeout: 10_000 });
      const { lastSequence } = await reader.streamState('GYRE_CONTROL');
      const contents: string[] = [];
      for (let at = 1; at <= lastSequence; at++) {
        const found = await reader.getMessage('GYRE_CONTROL', at);
        contents.push(text(found?.data ?? new Uint8Array()));
      }
      const wanted = Array.from({ length: 20 }, (_, index) => String(index));
      expect(contents.toSorted()).toEqual(['before', ...wanted].toSorted());
      await drain.stop();
      database.close();
    });

    it('follows and works on where the server comes back from an older copy of itself', async () => {
      const world = given.get();
      const bus = await world.connect('orchestrator-1', quick);
      const auditor = await world.connect('auditor', quick);
      const layer = await world.connect('layer-1');
      const seen = { all: [] as string[], news: [] as string[], worked: [] as string[] };
      // What was settled right before the server died may be delivered again.
      const steps = (): string[] => [...new Set(seen.worked)];
      const noteIn = (list: string[]) => (one: { data: Uint8Array; sequence: number }) => {
        list.push(`${one.sequence} ${text(one.data)}`);
      };
      const { patterns } = subjects;
      const everything = {
        stream: 'GYRE_CONTROL',
        subjects: [patterns.saga, patterns.step],
      } as const;
      await bus.follow({ ...everything, fromSequence: 1 }, noteIn(seen.all));
      const consumer = durableName('layer-1', 'steps');
      await layer.consume({ stream: 'GYRE_CONTROL', consumer, inFlightMax: 1 }, (one) => {
        noteIn(seen.worked)(one);
        return Promise.resolve('ack');
      });
      for (const content of ['a', 'b', 'c', 'd']) await bus.publish(message(step, content));
      await vi.waitFor(() => expect(steps()).toHaveLength(4), { timeout: 12_000 });
      await world.down();
      const putBack = await world.copy();
      await world.up();
      for (const content of ['lost e', 'lost f', 'lost g'])
        await bus.publish(message(step, content));
      await auditor.follow({ ...everything, fromSequence: 8 }, noteIn(seen.news));
      await vi.waitFor(() => expect(steps()).toHaveLength(7), { timeout: 12_000 });
      await vi.waitFor(() => expect(seen.all).toHaveLength(7), { timeout: 12_000 });
      await world.down();
      await putBack();
      await world.up();
      expect(await bus.publish(message(step, 'e'))).toMatchObject({ sequence: 5 });
      await bus.publish(message(step, 'f'));
      const known = ['1 a', '2 b', '3 c', '4 d', '5 lost e', '6 lost f', '7 lost g'];
      const wanted = [...known, '5 e', '6 f'];
      await vi.waitFor(() => expect(seen.all).toEqual(wanted), { timeout: 12_000 });
      await vi.waitFor(() => expect(steps()).toEqual(wanted), { timeout: 12_000 });
      // Who had received nothing yet hears all that is there.
      const there = ['1 a', '2 b', '3 c', '4 d', '5 e', '6 f'];
      await vi.waitFor(() => expect(seen.news).toEqual(there), { timeout: 12_000 });
    });

    it('says unreachable, and nothing else, while the server is away', async () => {
      const world = given.get();
      const bus = await world.connect('orchestrator-1', { ...quick, deadlineMs: 300 });
      await world.down();
      await pause(100);
      const unreachable = { code: 'BUS_UNREACHABLE' };
      await expect(bus.publish(message(saga))).rejects.toMatchObject(unreachable);
      const asking = bus.request(subjects.query('layer-1'), bytes('?'), 200);
      await expect(asking).rejects.toMatchObject(unreachable);
      await world.up();
    });

    it('shows that an administrator truncated a stream', async () => {
      const world = given.get();
      const bus = await world.connect('orchestrator-1');
      expect(await bus.streamState('GYRE_CONTROL')).toMatchObject({
        firstSequence: 1,
        lastSequence: 0,
        messages: 0,
      });
      for (let sent = 0; sent < 10; sent++) await bus.publish(message(saga));
      expect(await bus.streamState('GYRE_CONTROL')).toMatchObject({
        firstSequence: 1,
        lastSequence: 10,
        messages: 10,
      });
      await world.truncate('GYRE_CONTROL');
      expect(await bus.streamState('GYRE_CONTROL')).toMatchObject({
        firstSequence: 10,
        lastSequence: 10,
        messages: 1,
      });
      expect(await bus.getMessage('GYRE_CONTROL', 5)).toBeNull();
      expect(await bus.publish(message(saga))).toMatchObject({ sequence: 11 });
    });

    it('is closed when it was closed', async () => {
      const bus = await given.get().connect('orchestrator-1');
      const following = await bus.follow(
        { stream: 'GYRE_CONTROL', subjects: [saga], fromSequence: 1 },
        () => undefined,
      );
      await bus.close();
      await following.ended;
      await expect(bus.publish(message(saga))).rejects.toMatchObject({ code: 'BUS_CLOSED' });
      await expect(bus.streamState('GYRE_CONTROL')).rejects.toMatchObject({ code: 'BUS_CLOSED' });
    });
  });
}
