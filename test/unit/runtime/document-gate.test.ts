/** Followers and events under documents that they have yet to learn of. */

import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { OfferedDocument } from '#schemas/trust.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import { heldForDocuments } from '#shared/runtime/document-gate.ts';
import { amended } from '../../support/documents.ts';
import { crypto, makeWorld, type World } from '../../support/world.ts';

const subjects = subjectsOf('test');
let world: World;
let policy: OfferedDocument;
let known: TrustView;
let heard: string[];

beforeAll(async () => {
  world = await makeWorld();
  policy = await amended(world, world.trust.policy);
});

beforeEach(() => {
  known = world.newTrust();
  heard = [];
});

/** Follows acceptances as an orchestrator does, and says what became of each. */
async function follow(catchUp: () => Promise<void>): Promise<Bus> {
  const plain = world.bus('orchestrator-a');
  const { lastSequence } = await plain.streamState('GYRE_CONTROL');
  const bus = heldForDocuments(plain, { crypto, trust: known, clock: world.clock, catchUp });
  const exchange = world.principal('orchestrator-a', { bus, trust: known });
  const { epochReport } = subjects.patterns;
  const from = { stream: 'GYRE_CONTROL', subjects: [epochReport] } as const;
  await bus.follow({ ...from, fromSequence: lastSequence + 1 }, (message) => {
    const opening = exchange.open(message);
    heard.push(opening.status === 'refused' ? opening.code : opening.status);
  });
  return bus;
}

async function say(agentId: string, trust: TrustView): Promise<void> {
  await world.principal(agentId, { trust }).publish({
    type: 'epoch-accepted',
    subject: subjects.epochReport(agentId),
    channel: 'notices',
    body: { channel: 'mesh', epoch: 1, announcementDigest: '0'.repeat(64) },
  });
}

describe('an event under documents that are not known yet', () => {
  it('is handed on once they are', async () => {
    const ahead = world.newTrust();
    expect(ahead.adopt(policy, world.clock.nowMs()).status).toBe('adopted');
    let looks = 0;
    const bus = await follow(() => {
      looks += 1;
      if (looks === 2) known.adopt(policy, world.clock.nowMs());
      return Promise.resolve();
    });
    await say('identity-a', ahead);
    await expect.poll(() => heard).toEqual(['opened']);
    await bus.close();
  });

  it('of a sender who invents them holds the others up once', async () => {
    const invented = world.newTrust();
    expect(invented.adopt(policy, world.clock.nowMs()).status).toBe('adopted');
    const bus = await follow(() => Promise.resolve());
    for (let count = 0; count < 5; count += 1) await say('phi-a', invented);
    await say('identity-a', world.newTrust());
    await expect.poll(() => heard.length, { timeout: 6_000 }).toBe(6);
    expect(heard).toEqual([...Array<string>(5).fill('TRUST_BEHIND'), 'opened']);
    await bus.close();
  });
});
