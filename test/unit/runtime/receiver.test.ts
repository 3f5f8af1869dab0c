/**
 * What a thief of one agent, of the bus, or of an old recording can send, and what becomes of it:
 * each is refused with its own code, counted, and opens nothing.
 */

import { beforeAll, describe, expect, it } from 'vitest';
import type { BusMessage } from '#shared/bus/bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { makeWorld, type World } from '../../support/world.ts';

let world: World;
let sequence = 0;

beforeAll(async () => {
  world = await makeWorld();
});

const subjects = subjectsOf('test');

function message(subject: string, data: Uint8Array): BusMessage {
  sequence += 1;
  return { subject, data, messageId: '', sequence, deliveryCount: 1, timeMs: 0 };
}

function report(sender: Principal, layer = 1, id = sender.agentId) {
  return sender.seal({
    type: 'step-reported',
    subject: subjects.report(layer, id),
    channel: `layer-${layer}`,
    body: {
      commandId: 'rot-1-4-1',
      sagaId: 'rot-1',
      sagaIndex: 4,
      planDigest: '0'.repeat(64),
      operation: 'prepare',
      status: 'done',
      slots: [],
      durationMs: 1,
    },
  });
}

describe('what a receiver takes', () => {
  it('opens an event of an enrolled sender on its own subject', () => {
    const sealed = report(world.principal('identity-a'));
    const opening = world.principal('orchestrator-a').open(message(sealed.subject, sealed.frame));
    expect(opening.status).toBe('opened');
    expect(opening.status === 'opened' && opening.event.hash).toBe(sealed.hash);
  });

  it('knows the redelivery of one message from a copy in another', () => {
    const receiver = world.principal('orchestrator-a');
    const sealed = report(world.principal('identity-a'));
    const first = message(sealed.subject, sealed.frame);
    expect(receiver.open(first).status).toBe('opened');
    expect(receiver.open({ ...first, deliveryCount: 2 }).status).toBe('redelivered');
    const copy = receiver.open(message(sealed.subject, sealed.frame));
    expect(copy).toEqual({ status: 'refused', code: 'EVENT_REPLAYED' });
    expect(receiver.refusals()).toEqual({ EVENT_REPLAYED: 1 });
  });
});

describe('what a receiver refuses', () => {
  it.each([
    ['a flipped byte in the signature', -10, 'SIGNATURE_INVALID'],
    ['a flipped byte in the middle', 600, 'SIGNATURE_INVALID'],
  ])('%s', (_name, at, code) => {
    const sealed = report(world.principal('identity-a'));
    const bytes = Uint8Array.from(sealed.frame);
    const index = at < 0 ? bytes.length + at : at;
    bytes[index] = (bytes[index] ?? 0) ^ 1;
    expectRefusal('orchestrator-a', message(sealed.subject, bytes), code);
  });

  it('an event signed with the key of another agent', () => {
    const signingKey = world.keys.get('authorization-a');
    const forger = world.principal('identity-a', signingKey === undefined ? {} : { signingKey });
    const sealed = report(forger);
    expectRefusal('orchestrator-a', message(sealed.subject, sealed.frame), 'SIGNATURE_INVALID');
  });

  it('an event moved to the subject of another agent', () => {
    const sealed = report(world.principal('identity-a'));
    const moved = message(subjects.report(2, 'authorization-a'), sealed.frame);
    expectRefusal('orchestrator-a', moved, 'SUBJECT_MISMATCH');
  });

  it('an agent that speaks on the subject of another, signed and all', () => {
    const sealed = report(world.principal('identity-a'), 1, 'layer-9');
    expectRefusal('orchestrator-a', message(sealed.subject, sealed.frame), 'SUBJECT_MISMATCH');
  });

  it('an operator that sends what only an orchestrator may', () => {
    const operator = world.principal('op-1');
    const sealed = operator.seal({
      type: 'request-refused',
      subject: subjects.sagaRequests(),
      channel: 'operators',
      body: { request: '0'.repeat(64), code: 'ORCH-8015', reason: 'no' },
    });
    expectRefusal('orchestrator-a', message(sealed.subject, sealed.frame), 'SENDER_NOT_ENTITLED');
  });

  it('a command that is addressed to another agent', () => {
    const orchestrator = world.principal('orchestrator-a');
    const sealed = orchestrator.seal({
      type: 'query-asked',
      subject: subjects.query('authorization-a'),
      channel: 'layer-2',
      audience: 'authorization-a',
      body: { queryId: 'q1', query: new Uint8Array([0x80]) },
    });
    const stolen = message(subjects.query('authorization-a'), sealed.frame);
    expectRefusal('identity-a', stolen, 'AUDIENCE_MISMATCH');
  });

  it('an event that has expired, and one from the future', () => {
    const sender = world.principal('op-1');
    const sealed = sender.seal({
      type: 'execution-requested',
      subject: subjects.request('op-1'),
      channel: 'operators',
      body: { planId: 'rot-1', planDigest: '0'.repeat(64), dryRun: false },
    });
    const receiver = world.principal('orchestrator-a');
    world.clock.offsetMs = 3 * 3_600_000;
    const late = receiver.open(message(sealed.subject, sealed.frame));
    world.clock.offsetMs = -3_600_000;
    const early = receiver.open(message(sealed.subject, sealed.frame));
    world.clock.offsetMs = 0;
    expect(late).toEqual({ status: 'refused', code: 'EVENT_EXPIRED' });
    expect(early).toEqual({ status: 'refused', code: 'TIME_OUT_OF_RANGE' });
  });

  it('an event under channel secrets of its own making', async () => {
    const other = await makeWorld();
    const stranger = other.principal('identity-a');
    const sealed = report(stranger);
    expectRefusal('orchestrator-a', message(sealed.subject, sealed.frame), 'POLICY_NOT_IN_FORCE');
  });

  it('what is no frame at all, of any length', () => {
    for (const length of [0, 1, 2, 64, 5000]) {
      const noise = new Uint8Array(length).fill(0xc1);
      const opening = world
        .principal('orchestrator-a')
        .open(message(subjects.report(1, 'identity-a'), noise));
      expect(opening).toEqual({ status: 'refused', code: 'FRAME_MALFORMED' });
    }
  });
});

function expectRefusal(receiverId: string, delivered: BusMessage, code: string): void {
  const receiver = world.principal(receiverId);
  expect(receiver.open(delivered)).toEqual({ status: 'refused', code });
  expect(receiver.refusals()).toEqual({ [code]: 1 });
}
