/**
 * Why the epochs of a running mesh are renewed by themselves: their time, and what was said under them.
 * The cryptography is the simulator's.
 */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { members } from '#cli/mesh/members.ts';
import { amended } from '../../support/documents.ts';
import { EpochWorld } from '../../support/epoch-world.ts';
import { utf8 } from '#shared/crypto/bytes.ts';

const running = ['signer', 'auditor', 'orchestrator-a', 'orchestrator-b', 'identity-a'];
const enrolled = members.filter(({ id, kind }) => running.includes(id) || kind === 'operator');

let world: EpochWorld;

beforeEach(async () => {
  world = await EpochWorld.makeCheap({ members: enrolled });
  const { trust, clock } = world.world;
  const document = await amended(world.world, trust.policy, (draft) => {
    draft.policies.channels.epoch_messages_max = 5;
  });
  const bytes = new Uint8Array(utf8(JSON.stringify(document)));
  const { status } = trust.adoptBytes(bytes, clock.nowMs());
  if (status !== 'adopted') throw new Error(`the policy is ${status}`);
  await world.start(...running);
});

afterEach(() => world.stop());

const causesOf = (channel: string) =>
  world.stated.filter((each) => each.channel === channel).map(({ cause }) => cause);

const inUse = (channel: string, epoch: number) => () =>
  running
    .filter((id) => world.actor(id).keyring.currentEpoch(channel) !== undefined)
    .every((id) => (world.actor(id).keyring.currentEpoch(channel) ?? 0) >= epoch);

it('by count: at the bound, of that channel alone, and only what was said under it', async () => {
  const { driver } = world.actor('orchestrator-a');
  const { driver: other } = world.actor('orchestrator-b');
  const now = world.actor('auditor').keyring.currentEpoch('mesh') ?? 0;
  const hear = (epoch: number, count: number): void => {
    for (let each = 0; each < count; each += 1) {
      driver?.count({ channel: 'mesh', epoch });
      other?.count({ channel: 'mesh', epoch });
    }
  };
  hear(now + 1, 50);
  hear(now, 4);
  driver?.sagasAreRead(() => []);
  expect(driver?.logs().find(({ channel }) => channel === 'mesh')?.messages).toBe(4);
  hear(now, 1);
  await world.until('a further epoch', inUse('mesh', now + 1), 30_000);
  expect(causesOf('mesh').at(-1)).toBe('count');
  expect(causesOf('saga')).not.toContain('count');
  expect(driver?.logs().find(({ channel }) => channel === 'mesh')?.messages).toBe(0);
});

it('by time: all channels, once their epochs are an hour old', async () => {
  const now = world.actor('auditor').keyring.currentEpoch('mesh') ?? 0;
  world.world.clock.offsetMs += 3_600_000 + 15_000;
  await world.until('further epochs', inUse('mesh', now + 1), 30_000);
  await world.until('further epochs', inUse('saga', 2), 30_000);
  expect(causesOf('mesh').at(-1)).toBe('time');
  expect(causesOf('saga').at(-1)).toBe('time');
});
