/**
 * What a stolen orchestrator could do with announcements that the signer stated for it: use up numbers and
 * prekeys so that nobody could rekey without it. Signer, orchestrators and members count alike. The
 * thief breaks no cryptography, which is the simulator's.
 */

import { DatabaseSync } from 'node:sqlite';
import { afterEach, describe, expect, it } from 'vitest';
import { EpochOffice } from '#agents/signer/epoch-office.ts';
import { EpochRecord } from '#agents/signer/epoch-record.ts';
import { members } from '#cli/mesh/members.ts';
import type { EpochCapsule } from '#schemas/epoch.ts';
import { isEntitledTo } from '#shared/core/channels.ts';
import {
  capsuleDigest,
  entitledDigest,
  sealCapsule,
  secretCommitment,
} from '#shared/crypto/epoch-capsule.ts';
import { amended } from '../../support/documents.ts';
import { EpochWorld } from '../../support/epoch-world.ts';

const running = ['signer', 'auditor', 'orchestrator-a', 'orchestrator-b', 'identity-a'];
const enrolled = members.filter(({ id, kind }) => running.includes(id) || kind === 'operator');
const thief = 'orchestrator-a';

let world: EpochWorld;
let office: EpochOffice | undefined;
afterEach(async () => {
  await office?.stop();
  office = undefined;
  await world.stop();
});

async function started(): Promise<EpochRecord> {
  world = await EpochWorld.makeCheap({ members: enrolled });
  await world.start(...running);
  await inUse(1);
  const { bus, exchange } = world.actor('signer');
  const { trust, clock, crypto } = world.world;
  const record = new EpochRecord(new DatabaseSync(':memory:'));
  const { subjects } = world;
  const isLockedOut = () => false;
  office = new EpochOffice({ bus, exchange, trust, crypto, clock, subjects, record, isLockedOut });
  await office.start();
  await world.until('the signer went through the log', () => record.highest('mesh') === 1);
  // The first epochs used prekeys up; their successors are published a moment later.
  await world.until('everyone offers other prekeys', () =>
    running.every((agentId) => !record.isUsed(world.prekeyOf(agentId, 'mesh').prekeyId)),
  );
  return record;
}

async function inUse(epoch: number, who: readonly string[] = running): Promise<void> {
  await world.until(`epoch ${epoch} of mesh is in use`, () =>
    who.every((id) => world.actor(id).keyring.currentEpoch('mesh') === epoch),
  );
}

/** An announcement as the signer would state it for a stolen orchestrator. */
async function made(
  epoch: number,
  agentId: string,
  change: (capsule: EpochCapsule) => EpochCapsule = (same) => same,
) {
  const { trust, mesh, crypto } = world.world;
  const name = { mesh, channel: 'mesh', epoch };
  const secret = crypto.randomBytes(32);
  const prekey = world.prekeyOf(agentId, 'mesh');
  const capsule = change(sealCapsule(crypto, { ...name, agentId, prekey, secret }));
  const agents = trust.agents().filter((agent) => isEntitledTo('mesh', agent, Date.now()));
  const announcement = await world.state({
    kind: 'epoch_announcement',
    ...name,
    cause: 'time',
    secret_commitment: secretCommitment(crypto, name, secret),
    members: [{ agent_id: agentId, capsule_digest: capsuleDigest(crypto, capsule) }],
    entitled_digest: entitledDigest(crypto, 'mesh', agents),
    issued_at: new Date().toISOString(),
  });
  return { announcement, capsule };
}

function logOf(agentId: string) {
  const log = world
    .actor(agentId)
    .driver?.logs()
    .find(({ channel }) => channel === 'mesh');
  if (log === undefined) throw new Error(`${agentId} keeps no log`);
  return log;
}

describe('a stolen orchestrator', () => {
  it('leaps ahead while an epoch is pending, and the numbers go on above that', async () => {
    const record = await started();
    // Nobody can open it: it stays pending for as long as members may take.
    const sealedSecret = new Uint8Array(48);
    const pending = await made(2, thief, (capsule) => ({ ...capsule, sealedSecret }));
    const ahead = await made(65, thief);
    await world.announce(thief, pending.announcement, [pending.capsule]);
    await world.announce(thief, ahead.announcement, [ahead.capsule]);
    await world.until('the signer counts it', () => record.highest('mesh') === 65);
    await world.until('it is given up', () => world.entriesOf('mesh').includes('epoch-abandoned'));
    expect(logOf('orchestrator-b').state.highest).toBe(65);
    await world.rekey('mesh');
    await inUse(66);
  });

  it('announces what everyone refuses to hear, and the numbers go on above that', async () => {
    const record = await started();
    const ahead = await made(65, thief);
    await world.revoke(thief);
    await world.announce(thief, ahead.announcement, [ahead.capsule]);
    await world.until('the signer counts it', () => record.highest('mesh') === 65);
    await world.until('its channels are rekeyed', () => logOf('orchestrator-b').state.highest > 65);
    expect(record.isUsed(ahead.capsule.prekeyId)).toBe(false);
  });

  it('uses up no prekey by capsules that the signer did not see', async () => {
    const record = await started();
    const { announcement, capsule } = await made(2, thief);
    const others = running.map((agentId) => world.prekeyOf(agentId, 'mesh'));
    const forged = others.map(({ prekeyId }) => ({ ...capsule, prekeyId }));
    await world.announce(thief, announcement, forged);
    await world.announce(thief, announcement, [capsule]);
    await world.until('the signer counts it', () => record.highest('mesh') === 2);
    const used = others.filter(({ prekeyId }) => record.isUsed(prekeyId));
    expect(used.map(({ prekeyId }) => prekeyId)).toEqual([capsule.prekeyId]);
  });

  it('names the prekey of another member, who then offers another one', async () => {
    const record = await started();
    const before = ['signer', 'identity-a', 'orchestrator-b'].map((agentId) => ({
      agentId,
      prekey: world.prekeyOf(agentId, 'mesh'),
    }));
    let epoch = 1;
    for (const { agentId, prekey } of before) {
      const { prekeyId } = prekey;
      epoch += 1;
      const { announcement, capsule } = await made(epoch, thief, (own) => ({ ...own, prekeyId }));
      await world.announce(thief, announcement, [capsule]);
      await world.until('the signer counts it', () => record.isUsed(prekeyId));
      await world.until(
        `${agentId} offers another prekey`,
        () => world.prekeyOf(agentId, 'mesh').prekeyId !== prekeyId,
      );
      expect(record.isUsed(world.prekeyOf(agentId, 'mesh').prekeyId)).toBe(false);
    }
  });
});

describe('an activation by a stolen orchestrator', () => {
  it('that leaves the signer out puts nothing into use, at nobody', async () => {
    await started();
    // Nobody can open it, so that it stays pending for as long as members may take.
    const sealedSecret = new Uint8Array(48);
    const { announcement, capsule } = await made(2, thief, (own) => ({ ...own, sealedSecret }));
    await world.announce(thief, announcement, [capsule]);
    for (const absent of [[thief], ['signer'], ['signer', thief]]) {
      await world.append(thief, 'mesh', 2, { type: 'epoch-activated', accepted: [], absent });
    }
    const hash = '0'.repeat(64);
    for (const accepted of [[hash], [hash, hash]]) {
      const absent = accepted.length === 1 ? ['signer'] : [];
      await world.append(thief, 'mesh', 2, { type: 'epoch-activated', accepted, absent });
    }
    expect(world.entriesOf('mesh')).not.toContain('epoch-abandoned');
    await world.until('it is given up', () => world.entriesOf('mesh').includes('epoch-abandoned'));
    expect(logOf('orchestrator-b').state.epochs).toMatchObject([{ epoch: 1, standing: 'active' }]);
    for (const id of running) expect(world.actor(id).keyring.currentEpoch('mesh')).toBe(1);
  });
});

describe('orchestrators that start again', () => {
  it('know the log and the prekeys that were said under documents which were amended since', async () => {
    await started();
    const { trust, clock } = world.world;
    const next = await amended(world.world, trust.policy);
    expect(trust.adopt(next, clock.nowMs()).status).toBe('adopted');
    clock.offsetMs += 2 * trust.policy.policies.channels.amendment_grace_ms;
    for (const id of ['orchestrator-a', 'orchestrator-b']) await world.end(id);
    await world.begin('orchestrator-a', 'orchestrator-b');
    for (const id of ['orchestrator-a', 'orchestrator-b']) {
      expect(logOf(id).state).toMatchObject({ highest: 1, epochs: [{ standing: 'active' }] });
    }
    await world.rekey('mesh');
    await inUse(2);
  });
});
