/** Following a stream in order, and asking other agents. */
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import type { BusMessage } from '#shared/bus/bus.ts';
import { bytes, message, saga, step, text } from './bus-messages.ts';
import type { Given } from './bus-messages.ts';
import { subjects } from './bus-world.ts';

export function describeFollowing(given: Given): void {
  describe('following', () => {
    it('sees everything from a sequence on, in order, old and new', async () => {
      const world = given.get();
      const bus = await world.connect('orchestrator-1');
      const signer = await world.connect('signer');
      for (let sent = 0; sent < 300; sent++) {
        await bus.publish(message(sent % 3 === 0 ? step : saga, String(sent)));
      }
      const seen: string[] = [];
      const subscription = await signer.follow(
        { stream: 'GYRE_CONTROL', subjects: [subjects.patterns.saga], fromSequence: 101 },
        async ({ data }) => {
          if (seen.length % 50 === 0) await pause(1);
          seen.push(text(data));
        },
      );
      for (let sent = 300; sent < 330; sent++) await bus.publish(message(saga, String(sent)));
      const wanted = Array.from({ length: 330 }, (_, index) => index).filter(
        (index) => index >= 100 && (index >= 300 || index % 3 !== 0),
      );
      await vi.waitFor(() => expect(seen).toHaveLength(wanted.length), { timeout: 12_000 });
      expect(seen).toEqual(wanted.map(String));
      await subscription.stop();
      await bus.publish(message(saga));
      await pause(100);
      expect(seen).toHaveLength(wanted.length);
    });

    it('follows several subjects of several streams at once', async () => {
      const world = given.get();
      const auditor = await world.connect('auditor');
      const orchestrator = await world.connect('orchestrator-1');
      const seen: string[] = [];
      const note = ({ subject }: BusMessage): void => {
        seen.push(subject);
      };
      const all = { subjects: [subjects.patterns.saga, subjects.patterns.step], fromSequence: 1 };
      await orchestrator.follow({ stream: 'GYRE_CONTROL', ...all }, note);
      await orchestrator.follow(
        { stream: 'GYRE_AUDIT', subjects: [subjects.patterns.audit], fromSequence: 1 },
        note,
      );
      await orchestrator.publish(message(saga));
      await orchestrator.publish(message(step));
      await auditor.publish(message(subjects.auditReceipt()));
      await vi.waitFor(() => expect(seen).toHaveLength(3), { timeout: 12_000 });
      expect(seen.toSorted()).toEqual([subjects.auditReceipt(), saga, step].toSorted());
    });

    it('ends with the fault of its handler', async () => {
      const bus = await given.get().connect('orchestrator-1');
      const options = { stream: 'GYRE_CONTROL', subjects: [saga], fromSequence: 1 } as const;
      const following = await bus.follow(options, () => {
        throw new Error('an invariant broke');
      });
      await bus.publish(message(saga));
      await expect(following.ended).rejects.toThrow('an invariant broke');
    });

    it('refuses those who may not', async () => {
      const layer = await given.get().connect('layer-1');
      const signer = await given.get().connect('signer');
      const options = { stream: 'GYRE_CONTROL', fromSequence: 1 } as const;
      const denied = { code: 'BUS_DENIED' };
      const ignore = (): void => undefined;
      await expect(layer.follow({ ...options, subjects: [saga] }, ignore)).rejects.toMatchObject(
        denied,
      );
      await expect(layer.follow({ ...options, subjects: [step] }, ignore)).rejects.toMatchObject(
        denied,
      );
      await expect(signer.follow({ ...options, subjects: [step] }, ignore)).rejects.toMatchObject(
        denied,
      );
    });
  });
}

export function describeAsking(given: Given): void {
  describe('asking', () => {
    it('answers, and leaves unanswered what deserves no answer', async () => {
      const world = given.get();
      const layer = await world.connect('layer-1');
      const operator = await world.connect('op-1');
      const query = subjects.query('layer-1');
      const responding = await layer.respond(query, async (data) => {
        await pause(5);
        return text(data) === 'rubbish' ? null : bytes(`${text(data)} answered`);
      });
      const answers = await Promise.all(
        ['a', 'b', 'c'].map((one) => operator.request(query, bytes(one), 2_000)),
      );
      expect(answers.map(text)).toEqual(['a answered', 'b answered', 'c answered']);
      const unanswered = operator.request(query, bytes('rubbish'), 200);
      await expect(unanswered).rejects.toMatchObject({ code: 'BUS_TIMEOUT' });
      await responding.stop();
      await responding.ended;
      const nobody = { code: 'BUS_NO_RESPONDER' };
      await expect(operator.request(query, bytes('d'), 2_000)).rejects.toMatchObject(nobody);
    });

    it('refuses to listen where another should', async () => {
      const layer = await given.get().connect('layer-1');
      const answering = layer.respond(subjects.query('layer-2'), () => Promise.resolve(null));
      await expect(answering).rejects.toMatchObject({ code: 'BUS_DENIED' });
    });
  });
}
