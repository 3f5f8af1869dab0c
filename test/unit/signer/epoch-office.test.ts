/** How often the signer states epochs: enough for every trouble, and not without end for a stolen orchestrator. */

import { DatabaseSync } from 'node:sqlite';
import { beforeEach, describe, expect, it } from 'vitest';
import { EpochOffice, type EpochOfficePorts } from '#agents/signer/epoch-office.ts';
import { EpochRecord } from '#agents/signer/epoch-record.ts';
import { members } from '#cli/mesh/members.ts';
import type { EpochAnnouncementBody, EpochCause } from '#schemas/epoch.ts';
import { isEntitledTo } from '#shared/core/channels.ts';
import {
  allowanceIntervalMs,
  announcementsAtOnceMax,
  announcementsPerWishMax,
} from '#shared/core/epoch-allowance.ts';
import type { VerifiedEvent } from '#shared/core/verified-event.ts';
import { entitledDigest } from '#shared/crypto/epoch-capsule.ts';
import { ManualClock } from '../runtime/manual-clock.ts';
import { crypto, makeWorld, type World } from '../../support/world.ts';

const thief = 'orchestrator-a';

let world: World;
let clock: ManualClock;
let database: DatabaseSync;
let office: EpochOffice;

beforeEach(async () => {
  world = await makeWorld({ members: members.filter(({ kind }) => kind !== 'layer') });
  clock = new ManualClock();
  await clock.advance(Date.now() - clock.nowMs());
  database = new DatabaseSync(':memory:');
  office = started();
});

/** As after a restart: what is remembered is in the database. */
function started(): EpochOffice {
  const ports = {
    trust: world.trust,
    crypto,
    clock,
    record: new EpochRecord(database),
    isLockedOut: () => false,
  };
  return new EpochOffice(ports as unknown as EpochOfficePorts);
}

function evidence(wish?: string): VerifiedEvent[] {
  const prekeys = [{ channel: 'mesh', prekeyId: 'a'.repeat(64), publicKey: new Uint8Array(1600) }];
  const timeMs = clock.nowMs();
  const shown = { hash: '1'.repeat(64), senderId: 'signer', senderKind: 'signer', timeMs } as const;
  const asked = { hash: wish ?? '', senderId: 'op-1', senderKind: 'operator', timeMs } as const;
  const body = { requestId: 'one', cause: 'operator' as const, reason: 'test' };
  return [
    { ...shown, type: 'prekeys-published', body: { prekeys } },
    ...(wish === undefined ? [] : [{ ...asked, type: 'epoch-rotation-requested' as const, body }]),
  ];
}

/** What an orchestrator is answered that wants the next epoch of a channel stated. */
function asked(cause: EpochCause, choices: { by?: string; wish?: string } = {}): string {
  const { trust, mesh } = world;
  const asker = trust.agent(choices.by ?? thief);
  if (asker === undefined) throw new Error('not enrolled');
  const entitled = trust.agents().filter((agent) => isEntitledTo('mesh', agent, clock.nowMs()));
  const statement: EpochAnnouncementBody = {
    kind: 'epoch_announcement',
    mesh,
    channel: 'mesh',
    epoch: 1,
    cause,
    secret_commitment: '0'.repeat(64),
    members: [{ agent_id: 'signer', capsule_digest: '0'.repeat(64) }],
    entitled_digest: entitledDigest(crypto, 'mesh', entitled),
    issued_at: new Date(clock.nowMs()).toISOString(),
  };
  return office.refusalOf(statement, asker, evidence(choices.wish))?.code ?? 'stated';
}

/** Asks until it is refused, or so often. */
function statedOf(cause: EpochCause, choices: { by?: string; wish?: string } = {}): number {
  let stated = 0;
  while (stated < 200 && asked(cause, choices) === 'stated') stated += 1;
  return stated;
}

describe('epochs that an orchestrator asks for', () => {
  it('are stated in a row up to a bound, then one in a while, over a restart too', async () => {
    expect(statedOf('lost')).toBe(announcementsAtOnceMax);
    expect(asked('membership')).toBe('ORCH-8015');
    office = started();
    expect(asked('time')).toBe('ORCH-8015');
    const intervalMs = allowanceIntervalMs(world.trust.policy.policies.channels);
    await clock.advance(intervalMs - 1);
    expect(asked('time')).toBe('ORCH-8015');
    await clock.advance(1);
    expect(statedOf('time')).toBe(1);
    await clock.advance(1_000 * intervalMs);
    expect(statedOf('count')).toBe(announcementsAtOnceMax);
  });

  it('are used up by who asked, not for the other one', () => {
    expect(statedOf('lost')).toBe(announcementsAtOnceMax);
    expect(asked('time', { by: 'orchestrator-b' })).toBe('stated');
  });

  it('are stated beyond that where an operator asked, a few times for each request', () => {
    expect(statedOf('lost')).toBe(announcementsAtOnceMax);
    const wish = 'b'.repeat(64);
    expect(statedOf('operator', { wish })).toBe(announcementsPerWishMax);
    office = started();
    expect(asked('operator', { wish })).toBe('ORCH-8015');
    expect(statedOf('operator', { wish: 'c'.repeat(64) })).toBe(announcementsPerWishMax);
  });

  it('do not count where they are refused for another reason', () => {
    for (let count = 0; count < 100; count += 1) expect(asked('operator')).toBe('ORCH-8015');
    expect(statedOf('lost')).toBe(announcementsAtOnceMax);
  });
});

it('the allowance follows the policy: what rekeys often may be announced often', () => {
  const rules = world.trust.policy.policies.channels;
  expect(allowanceIntervalMs(rules)).toBeLessThanOrEqual(300_000);
  expect(allowanceIntervalMs({ ...rules, epoch_max_ms: 4_000 })).toBe(1_000);
  expect(allowanceIntervalMs({ ...rules, epoch_messages_max: 1 })).toBe(1);
});
