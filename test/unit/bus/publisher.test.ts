/** Publishing over a bus that loses, repeats and forgets: the outcome is always what is stored. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BusError } from '#shared/bus/bus.ts';
import type { PublishRequest } from '#shared/bus/bus.ts';
import { SubjectFilter } from '#shared/bus/memory-filter.ts';
import { MemoryStream } from '#shared/bus/memory-stream.ts';
import { Publisher, publisherLimits } from '#shared/bus/publisher.ts';
import type { PublishTransport } from '#shared/bus/publisher.ts';
import { provisionPlan } from '#shared/bus/streams.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { systemClock } from '#shared/bus/timers.ts';

const subject = subjectsOf('unit').sagaSlots();
const [definition] = provisionPlan({ mesh: 'unit', principals: [] }).streams;
const clock = {
  ...systemClock,
  after: (_ms: number, run: () => void) => systemClock.after(0, run),
};

type Fate = 'answered' | 'answer-lost' | 'lost' | 'overtaken' | 'refused-busy';

function newStream(): MemoryStream {
  if (definition === undefined) throw new Error('no stream');
  return new MemoryStream(definition, systemClock);
}

/** A transport on one stream whose attempts meet the given fates, then go well. */
function transportOf(stream: MemoryStream, fates: Fate[]): PublishTransport {
  let others = 0;
  const append = (): void => {
    others += 1;
    const request = { subject, data: new Uint8Array(), messageId: `other-${others}` };
    stream.store(request, request.messageId);
  };
  return {
    readScope: 'streams',
    ready: () => Promise.resolve(true),
    last: (wanted) => Promise.resolve(stream.last(wanted)),
    nextFrom: (wanted, sequence) =>
      Promise.resolve(stream.nextFrom(new SubjectFilter([wanted]), sequence)),
    send: (request, token) => {
      const fate = fates.shift() ?? 'answered';
      if (fate === 'lost') return Promise.reject(new BusError('BUS_TIMEOUT', 'lost'));
      if (fate === 'refused-busy') {
        return Promise.reject(new BusError('BUS_NO_RESPONDER', 'not ready'));
      }
      if (fate === 'overtaken') append();
      const answer = stream.store(request, token);
      if (fate !== 'answer-lost') return Promise.resolve(answer);
      append();
      return Promise.reject(new BusError('BUS_TIMEOUT', 'the answer is lost'));
    },
  };
}

const fate = fc.constantFrom<Fate>('answered', 'answer-lost', 'lost', 'overtaken', 'refused-busy');

describe('the truth about a publish', () => {
  it('holds whatever happens to the attempts', async () => {
    const scenario = fc.array(fate, { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(scenario, fc.boolean(), async (fates, optimistic) => {
        const stream = newStream();
        const publisher = new Publisher(transportOf(stream, [...fates]), clock, publisherLimits);
        const request: PublishRequest = {
          subject,
          data: Uint8Array.of(1),
          messageId: 'ours',
          ...(optimistic ? { expectLastSubjectSequence: 0 } : {}),
        };
        const outcome = await publisher.publish(request);
        const found = [];
        for (let at = 1; at <= stream.lastSequence; at++) {
          if (stream.get(at)?.messageId === 'ours') found.push(at);
        }
        if (outcome.status === 'stored') expect(found).toEqual([outcome.sequence]);
        else expect([found, outcome.lastSequence]).toEqual([[], stream.lastSequence]);
        if (!optimistic) expect(outcome.status).toBe('stored');
      }),
      { numRuns: 200 },
    );
  });

  it('says of a conflict whether an attempt before it may have been stored', async () => {
    const conflictAfter = async (...fates: Fate[]) =>
      await new Publisher(transportOf(newStream(), fates), clock, publisherLimits).publish({
        subject,
        data: new Uint8Array(),
        messageId: 'ours',
        expectLastSubjectSequence: 0,
      });
    const conflict = { status: 'conflict', lastSequence: 1 };
    expect(await conflictAfter('overtaken')).toEqual(conflict);
    expect(await conflictAfter('refused-busy', 'overtaken')).toEqual(conflict);
    expect(await conflictAfter('lost', 'overtaken')).toEqual({ ...conflict, maybeStored: true });
  });

  it('says that it does not know when nothing answers', async () => {
    const lost = Array.from({ length: 100 }, (): Fate => 'lost');
    const limits = { ...publisherLimits, deadlineMs: 30 };
    const publishing = new Publisher(transportOf(newStream(), lost), clock, limits).publish({
      subject,
      data: new Uint8Array(),
      messageId: 'ours',
    });
    await expect(publishing).rejects.toMatchObject({ code: 'BUS_TIMEOUT' });
  });

  it('stores an overdue message once more where it may see only the last one', async () => {
    const stream = newStream();
    const transport = { ...transportOf(stream, []), readScope: 'own-subjects' } as const;
    const publisher = new Publisher(transport, clock, publisherLimits);
    const ours: PublishRequest = { subject, data: Uint8Array.of(1), messageId: 'ours' };
    await publisher.publish(ours);
    await publisher.publish({ ...ours, messageId: 'newer' });
    stream.lose(1, 1);
    expect(await publisher.publish(ours)).toMatchObject({ sequence: 1, duplicate: true });
    expect(await publisher.publish({ ...ours, repetition: 1 })).toMatchObject({
      sequence: 3,
      duplicate: false,
    });
    expect(stream.get(3)?.messageId).toBe('ours');
    expect(await publisher.publish({ ...ours, repetition: 2 })).toMatchObject({
      duplicate: true,
    });
  });

  it.each(['none', 'own-subjects'] as const)(
    'stores an overdue message once for each repetition, whatever answers are lost: %s',
    async (readScope) => {
      const stream = newStream();
      const fates: Fate[] = [];
      const transport = { ...transportOf(stream, fates), readScope };
      const ours: PublishRequest = { subject, data: Uint8Array.of(1), messageId: 'ours' };
      const publish = (request: Partial<PublishRequest>) =>
        new Publisher(transport, clock, publisherLimits).publish({ ...ours, ...request });
      const copies = () =>
        Array.from({ length: stream.lastSequence }, (_, index) => stream.get(index + 1)).filter(
          (message) => message?.messageId === 'ours',
        ).length;
      await publish({});
      await publish({ messageId: 'newer' });
      for (const repetition of [1, 2, 3]) {
        // The answer to every copy is lost, again and again; what comes meanwhile lies behind it.
        fates.push(...Array.from({ length: 12 }, (): Fate => 'answer-lost'));
        await publish({ repetition });
        expect(copies()).toBe(1 + repetition);
        // The same one once more, by a process that was started anew.
        expect(await publish({ repetition })).toMatchObject({ duplicate: true });
        expect(copies()).toBe(1 + repetition);
      }
    },
  );

  it('does not try again what was refused', async () => {
    let attempts = 0;
    const transport: PublishTransport = {
      ...transportOf(newStream(), []),
      send: () => {
        attempts += 1;
        return Promise.reject(new BusError('BUS_DENIED', 'no'));
      },
    };
    const publishing = new Publisher(transport, clock, publisherLimits).publish({
      subject,
      data: new Uint8Array(),
      messageId: 'ours',
    });
    await expect(publishing).rejects.toMatchObject({ code: 'BUS_DENIED' });
    expect(attempts).toBe(1);
  });

  it('keeps the order of those that wait, and both bounds', async () => {
    const stream = newStream();
    const transport = transportOf(stream, []);
    let underWay = 0;
    let bytesUnderWay = 0;
    const peaks = { count: 0, bytes: 0 };
    const slow: PublishTransport = {
      ...transport,
      send: async (request, token, timeoutMs) => {
        underWay += 1;
        bytesUnderWay += request.data.length;
        peaks.count = Math.max(peaks.count, underWay);
        peaks.bytes = Math.max(peaks.bytes, bytesUnderWay);
        const answer = await transport.send(request, token, timeoutMs);
        await new Promise((resolve) => setTimeout(resolve, 1));
        underWay -= 1;
        bytesUnderWay -= request.data.length;
        return answer;
      },
    };
    const limits = { ...publisherLimits, inFlightMax: 4, inFlightBytesMax: 250 };
    const publisher = new Publisher(slow, clock, limits);
    const requests = Array.from({ length: 30 }, (_, index) => ({
      subject,
      data: new Uint8Array(index % 10 === 0 ? 400 : 60),
      messageId: `m${index}`,
    }));
    const outcomes = await Promise.all(requests.map((request) => publisher.publish(request)));
    expect(outcomes.map((one) => one.status === 'stored' && one.sequence)).toEqual(
      requests.map((_, index) => index + 1),
    );
    expect(peaks).toEqual({ count: 4, bytes: 400 });
  });
});
