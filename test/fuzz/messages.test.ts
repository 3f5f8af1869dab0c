/**
 * Messages of the bus, of the token's process and of the mesh's agents, as their receivers take them: any
 * bytes on any subject, frames sealed by a member with anything in them, values of any shape where a
 * schema is. A receiver refuses with a code, opens nothing twice, and goes on.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { isReply, isRequest } from '#shared/runtime/token/child-messages.ts';
import { checks } from '#cli/answers.ts';
import { isSupervisorMessage } from '#cli/mesh/supervisor-messages.ts';
import { agentConfigCheck, agentConfigFaults } from '#schemas/config.ts';
import { refusalCodes } from '#schemas/errors.ts';
import { eventTypes } from '#schemas/events.ts';
import { frameBytesMax } from '#schemas/frame.ts';
import { telemetryEventCheck } from '#schemas/telemetry.ts';
import type { Bucket } from '#shared/bus/bus.ts';
import { messageBytesMax } from '#shared/bus/bus.ts';
import { decodeDeadLetter, encodeDeadLetter } from '#shared/bus/dead-letter.ts';
import { jsonOf } from '#shared/bus/nats-link.ts';
import { deliveredOf, storedMessage } from '#shared/bus/nats-messages.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { concat, utf8 } from '#shared/crypto/bytes.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { parseFrame, seal } from '#shared/crypto/envelope.ts';
import { NegotiationReplay } from '#shared/crypto/negotiation-replay.ts';
import { BulkReceiver } from '#shared/runtime/bulk-receiver.ts';
import { KeptDocuments } from '#shared/runtime/kept-documents.ts';
import { Notices } from '#shared/runtime/notices.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { alteredOf } from './alterations.ts';
import { crypto, makeWorld, type World } from '../support/world.ts';
import { anyBytes, anyValue, frameCases, jsonText, mutated } from './inputs.ts';
import { timeoutMs, tries } from './runs.ts';

const options = { timeout: timeoutMs };
const cases = frameCases.map(({ bytes }) => bytes);
const subjects = subjectsOf('test');
let world: World;
let sender: Principal;
let sequence = 0;

beforeAll(async () => {
  world = await makeWorld();
  sender = world.principal('identity-a');
});

const message = (subject: string, data: Uint8Array) => {
  sequence += 1;
  return { subject, data, sequence, messageId: '', deliveryCount: 1, timeMs: Date.now() };
};

const reportBody = {
  commandId: 'rot-1-4-1',
  sagaId: 'rot-1',
  sagaIndex: 4,
  planDigest: '0'.repeat(64),
  operation: 'prepare' as const,
  status: 'done' as const,
  slots: [],
  durationMs: 1,
};

function reportOf(body: typeof reportBody) {
  return sender.seal({
    type: 'step-reported',
    subject: subjects.report(1, 'identity-a'),
    channel: 'layer-1',
    body,
  });
}

describe('receivers', options, () => {
  test('of events, any bytes', () => {
    const receiver = world.principal('orchestrator-a');
    const { subject, frame } = reportOf(reportBody);
    const inputs = fc.oneof(anyBytes, mutated([frame, ...cases]));
    fc.assert(
      fc.property(inputs, (data) => {
        const opening = receiver.open(message(subject, data));
        if (opening.status === 'refused') expect(refusalCodes).toContain(opening.code);
        else expect(Buffer.compare(data, frame)).toBe(0);
      }),
      tries(500),
    );
    const fresh = world.principal('orchestrator-a');
    expect(fresh.open(message(subject, frame)).status).toBe('opened');
  });

  test('of events, anything that a member seals', () => {
    const receiver = world.principal('orchestrator-a');
    const parsed = parseFrame(reportOf(reportBody).frame);
    const signingKey = world.keys.get('identity-a');
    const channelSecret = world.keyring('identity-a').secretOf({ channel: 'layer-1', epoch: 1 });
    if (!parsed.ok || signingKey === undefined || channelSecret === undefined) {
      throw new Error('a member seals');
    }
    const { header } = parsed.frame;
    let { counter } = header;
    fc.assert(
      fc.property(fc.oneof(alteredOf([reportBody]), fc.jsonValue()), (body) => {
        counter += 1;
        const input = { header: { ...header, counter }, body, signingKey, channelSecret };
        const sealed = sealedOrNone(() => seal(crypto, input));
        if (sealed === undefined) return;
        const opening = receiver.open(message(header.subject, sealed.frame));
        if (opening.status === 'opened')
          expect(eventTypes['step-reported'].body.check(body)).toBe(true);
        else expect(opening).toMatchObject({ status: 'refused', code: 'BODY_MALFORMED' });
      }),
      tries(200),
    );
    expect(counter).toBeGreaterThan(100);
  });

  test('of batches', async () => {
    const { trust, clock } = world;
    const receiver = new BulkReceiver({
      crypto,
      trust,
      clock,
      keyring: world.keyring('orchestrator-a'),
    });
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyBytes, mutated(cases)), async (data) => {
        const opening = await receiver.open(
          message('gyre.v1.testkit.telemetry.5.database-a', data),
        );
        expect(opening.status === 'refused' && refusalCodes).toContain(
          opening.status === 'refused' ? opening.code : '',
        );
      }),
      tries(300),
    );
    expect(Object.keys(receiver.refusals()).length).toBeGreaterThan(1);
  });

  test('of notices', async () => {
    const exchange = world.principal('auditor');
    const notices = new Notices({
      agentId: 'auditor',
      kind: 'auditor',
      exchange,
      bus: world.bus('auditor'),
      subjects,
      clock: world.clock,
      catchUp: () => Promise.resolve(),
      admits: () => true,
    });
    const where = fc.oneof(
      fc.constant(subjects.trust('op-1')),
      fc.string({ unit: 'binary', maxLength: 40 }),
    );
    await fc.assert(
      fc.asyncProperty(where, fc.oneof(anyBytes, mutated(cases)), async (subject, data) => {
        const disposition = await notices.take(message(subject, data));
        expect(disposition).toHaveProperty('deadLetter');
        const { deadLetter } = disposition as { deadLetter: string };
        expect(refusalCodes).toContain(deadLetter);
      }),
      tries(200),
    );
    expect(exchange.agentId).toBe('auditor');
  });

  test('of negotiations, computed again', () => {
    const replay = new NegotiationReplay(crypto, {
      trust: world.newTrust(),
      negotiationId: 'n-1',
      subject: subjects.negotiation('n-1'),
    });
    const records = fc.tuple(fc.oneof(anyBytes, mutated(cases)), anyBytes, anyBytes);
    fc.assert(
      fc.property(records, ([frame, salt, body]) => {
        replay.addRecord({ leafIndex: 0, verdict: 'accepted', frame, salt, body });
        expect(replay.log.state).toBeNull();
        expect(replay.isRequestRecorded).toBe(false);
      }),
      tries(200),
    );
    expect(replay.unreadable).toBe(0);
  });
});

/** Nothing for a body without a canonical form. */
function sealedOrNone<Sealed>(seal: () => Sealed): Sealed | undefined {
  try {
    return seal();
  } catch (error) {
    expect(error).toHaveProperty('code', 'NOT_ENCODABLE');
    return undefined;
  }
}

describe('what a bus hands over', options, () => {
  test('dead letters', () => {
    const letter = {
      stream: 'GYRE_CONTROL' as const,
      subject: 'a',
      sequence: 7,
      messageId: 'id',
      deliveries: 2,
    };
    const texts = fc.string({ unit: 'binary', maxLength: 300 });
    fc.assert(
      fc.property(texts, texts, anyBytes, (reason, messageId, data) => {
        const written = encodeDeadLetter({
          ...letter,
          reason,
          messageId: messageId.slice(0, 255),
          data,
        });
        const read = decodeDeadLetter(written)?.data ?? concat();
        expect(Buffer.compare(read, data)).toBe(0);
      }),
      tries(200),
    );
    const valid = encodeDeadLetter({ ...letter, reason: 'x', data: new Uint8Array(9) });
    fc.assert(
      fc.property(fc.oneof(anyBytes, mutated([valid])), (bytes) => {
        const read = decodeDeadLetter(bytes);
        if (read !== null) expect(Buffer.compare(encodeCanonical(read), bytes)).toBe(0);
      }),
      tries(800),
    );
    expect(messageBytesMax).toBeGreaterThan(frameBytesMax);
  });

  test('deliveries, stored messages and answers', () => {
    const hdrs = fc.oneof(anyBytes, mutated([utf8('NATS/1.0 503 x\r\nNats-Msg-Id: a\r\n\r\n')]));
    const stored = fc.record(
      {
        subject: fc.anything(),
        seq: fc.anything(),
        time: fc.anything(),
        data: fc.anything(),
        hdrs: fc.anything(),
      },
      { requiredKeys: [] },
    );
    const headed = fc.tuple(hdrs, fc.nat()).map(([bytes, seq]) => ({
      subject: 'a',
      seq,
      time: '2026-11-21T12:00:00Z',
      hdrs: Buffer.from(bytes).toString('base64'),
    }));
    const token = fc.oneof(
      fc.nat().map(String),
      fc.string({ maxLength: 4 }),
      fc.constantFrom('-1', '1e9', 'NaN', '9'.repeat(19)),
    );
    const reply = fc.array(token, { maxLength: 12 }).map((tokens) => tokens.join('.'));
    fc.assert(
      fc.property(fc.oneof(stored, headed, anyValue), reply, jsonText, (value, text, json) => {
        try {
          const { sequence: at, timeMs } = storedMessage(value);
          expect(Number.isSafeInteger(at) && !Number.isNaN(timeMs)).toBe(true);
        } catch (error) {
          expect(error).toMatchObject({ name: 'BusError', code: 'BUS_REJECTED' });
        }
        const found = deliveredOf({ subject: 'a', data: new Uint8Array(), reply: text });
        if (found !== undefined) expect(Number.isSafeInteger(found.message.sequence)).toBe(true);
        jsonOf(Buffer.from(json));
      }),
      tries(800),
    );
    expect(deliveredOf({ subject: 'a', data: concat(), reply: '' })).toBeUndefined();
  });

  test('documents that are kept for late comers', async () => {
    const key = fc.oneof(
      fc.string({ maxLength: 90 }),
      fc.constantFrom('root', 'policy').map((kind) => `${kind}.2.${'ab'.repeat(32)}`),
    );
    const values = fc.array(fc.tuple(key, anyBytes), { maxLength: 100 });
    await fc.assert(
      fc.asyncProperty(values, async (entries) => {
        const held = new Map(entries);
        const bucket: Bucket = {
          get: (name) => {
            const value = held.get(name);
            return Promise.resolve(value === undefined ? null : { value, revision: 1 });
          },
          put: () => Promise.resolve({ status: 'conflict' }),
          keys: () => Promise.resolve([...held.keys()]),
        };
        const found = await new KeptDocuments(bucket).unknown(
          () => false,
          () => false,
        );
        expect(found.length).toBeLessThanOrEqual(64);
        for (const { bytes } of found) {
          const adoption = world.newTrust().adoptBytes(bytes, world.clock.nowMs());
          expect(adoption.status).toBe('refused');
        }
      }),
      tries(60),
    );
    expect(world.trust.highest().policy.version).toBe(1);
  });
});

describe('values where a schema is', options, () => {
  const validators = [
    ...Object.values(checks),
    ...Object.values(eventTypes).map(({ body }) => body),
    telemetryEventCheck,
    agentConfigCheck,
  ];

  test('any value at every check', () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        for (const validator of validators) {
          if (!validator.check(value))
            expect(validator.errors(value).length).toBeLessThanOrEqual(8);
        }
      }),
      tries(60),
    );
    expect(validators.length).toBeGreaterThan(30);
  });

  test('any value where a configuration is, or what is attached', () => {
    const kinds = fc.constantFrom('command', 'key-files', 'certificate-files', '__proto__');
    const attached = fc.oneof(anyValue, fc.record({ kind: kinds, program: anyValue }));
    fc.assert(
      fc.property(anyValue, attached, (value, system) => {
        for (const config of [value, { attached: system }]) {
          const faults = agentConfigFaults(config);
          expect(faults.length).toBeGreaterThan(0);
          expect(faults.length).toBeLessThanOrEqual(16);
          for (const fault of faults) expect(fault.length).toBeLessThanOrEqual(260);
        }
      }),
      tries(60),
    );
  });

  test('messages of the process with the token', () => {
    const valid = [
      { id: 1, op: 'sign', keyName: 'a', message: new Uint8Array(3), context: new Uint8Array() },
      { id: 1, outcome: 'signature', signature: new Uint8Array(4627) },
      { id: 1, outcome: 'failed', code: 'TOKEN_FAILED', detail: 'x' },
      { type: 'ready' },
    ];
    fc.assert(
      fc.property(fc.oneof(alteredOf<unknown>(valid), anyValue), (value) => {
        const isOne = isRequest(value) || isReply(value);
        if (isOne) expect(Object.keys(value).length).toBeLessThanOrEqual(6);
        expect(typeof isSupervisorMessage(value)).toBe('boolean');
      }),
      tries(1_000),
    );
    expect([isRequest(valid[0]), isReply(valid[1]), isReply(valid[2])]).toEqual([true, true, true]);
  });
});
