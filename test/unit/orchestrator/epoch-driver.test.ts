/**
 * How epochs of channels begin, follow one another and survive who comes, goes and is revoked: what
 * orchestrators, the signer and members do about them. The cryptography is the simulator's.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { members } from '#cli/mesh/members.ts';
import type { EpochAnnouncementBody } from '#schemas/epoch.ts';
import {
  capsuleDigest,
  newHybridKey,
  sealCapsule,
  secretCommitment,
} from '#shared/crypto/epoch-capsule.ts';
import { EpochWorld } from '../../support/epoch-world.ts';

const running = ['signer', 'auditor', 'orchestrator-a', 'orchestrator-b', 'identity-a'];
const enrolled = members.filter(({ id, kind }) => running.includes(id) || kind === 'operator');

let world: EpochWorld;
afterEach(() => world.stop());

async function started(): Promise<void> {
  world = await EpochWorld.makeCheap({ members: enrolled });
  await world.start(...running);
  await world.until('everyone has the first epochs', () =>
    running.every((id) => world.actor(id).keyring.currentEpoch('mesh') === 1),
  );
}

function secretAt(agentId: string, channel: string, epoch: number) {
  const secret = world.actor(agentId).keyring.secretOf({ channel, epoch });
  return secret === undefined ? undefined : new Uint8Array(secret);
}

async function rekeyed(epoch: number, channel = 'mesh', who = running): Promise<void> {
  await world.rekey(channel);
  await world.until(`epoch ${epoch} of ${channel} is in use`, () =>
    who.every((id) => world.actor(id).keyring.currentEpoch(channel) === epoch),
  );
}

describe('epochs of a running mesh', () => {
  it('begin once everyone is there, with one secret for the members of a channel', async () => {
    await started();
    const secret = secretAt('signer', 'mesh', 1);
    for (const id of running) expect(secretAt(id, 'mesh', 1)).toEqual(secret);
    expect(secretAt('identity-a', 'saga', 1)).toBeUndefined();
    expect(secretAt('signer', 'saga', 1)).toEqual(secretAt('auditor', 'saga', 1));
    expect(world.vault.kept.get('mesh/1')?.standing).toBe('active');
  });

  it('follow one another when an operator wants it, each under a fresh secret', async () => {
    await started();
    const before = secretAt('identity-a', 'mesh', 1);
    await rekeyed(2);
    expect(secretAt('identity-a', 'mesh', 2)).not.toEqual(before);
    expect(secretAt('identity-a', 'mesh', 1)).toEqual(before);
    expect(world.stated.filter(({ channel }) => channel === 'mesh').map((e) => e.epoch)).toContain(
      2,
    );
    expect(world.actor('identity-a').keyring.currentEpoch('layer-1')).toBe(1);
  });

  it('are known again to every agent that was started anew', async () => {
    await started();
    await rekeyed(2);
    const secret = secretAt('auditor', 'mesh', 2);
    for (const id of ['identity-a', 'auditor', 'signer', 'orchestrator-a']) {
      await world.end(id);
      await world.start(id);
      expect(world.actor(id).keyring.currentEpoch('mesh')).toBe(2);
      expect(secretAt(id, 'mesh', 2)).toEqual(secret);
    }
    await rekeyed(3);
  });

  it('survive that everyone stops: the vault has them', async () => {
    await started();
    const secret = secretAt('auditor', 'saga', 1);
    const telemetry = secretAt('identity-a', 'telemetry', 1);
    for (const id of running) await world.end(id);
    await world.start(...running);
    expect(secretAt('auditor', 'saga', 1)).toEqual(secret);
    expect(world.actor('identity-a').keyring.currentEpoch('telemetry')).toBe(1);
    expect(secretAt('identity-a', 'telemetry', 1)).toEqual(telemetry);
  });

  it('go on when the orchestrator that announced one is gone', async () => {
    await started();
    const author = world.authorOf('mesh');
    await world.end(author);
    const others = running.filter((id) => id !== author);
    await rekeyed(2, 'mesh', others);
    await world.start(author);
    expect(world.actor(author).keyring.currentEpoch('mesh')).toBe(2);
  });
});

describe('an announcement that is none', () => {
  const forged = async (change: (body: EpochAnnouncementBody) => EpochAnnouncementBody) => {
    await started();
    const { crypto } = world.world;
    const prekey = world.prekeyOf('identity-a', 'mesh');
    const name = { mesh: world.world.mesh, channel: 'mesh', epoch: 2 };
    const secret = crypto.randomBytes(32);
    const capsule = sealCapsule(crypto, { ...name, agentId: 'identity-a', prekey, secret });
    const body = change({
      kind: 'epoch_announcement',
      ...name,
      cause: 'time',
      secret_commitment: secretCommitment(crypto, name, secret),
      members: [{ agent_id: 'identity-a', capsule_digest: capsuleDigest(crypto, capsule) }],
      entitled_digest: '0'.repeat(64),
      issued_at: new Date().toISOString(),
    });
    return { body, capsule };
  };

  it('gives nobody a secret where the signer did not state it', async () => {
    const { body, capsule } = await forged((same) => same);
    const stated = await world.state(body);
    const announcement = { ...stated, body: { ...body, cause: 'count' as const } };
    await world.announce('orchestrator-a', announcement, [capsule]);
    await rekeyed(2);
    expect(secretAt('identity-a', 'mesh', 2)).toEqual(secretAt('signer', 'mesh', 2));
  });

  it('is not accepted where the capsule holds another secret', async () => {
    const { body, capsule } = await forged((same) => ({
      ...same,
      secret_commitment: '1'.repeat(64),
    }));
    await world.announce('orchestrator-a', await world.state(body), [capsule]);
    await world.until('it is given up', () => world.entriesOf('mesh').includes('epoch-abandoned'));
    expect(secretAt('identity-a', 'mesh', 2)).toBeUndefined();
  });

  it('uses a prekey up: the same capsule opens no second time', async () => {
    const { body, capsule } = await forged((same) => same);
    await world.announce('orchestrator-a', await world.state(body), [capsule]);
    // It was made for others than those who may hold it now: the orchestrators give it up.
    await world.until('it is given up', () => world.entriesOf('mesh').includes('epoch-abandoned'));
    await world.until(
      'another prekey is offered',
      () => world.prekeyOf('identity-a', 'mesh').prekeyId !== capsule.prekeyId,
    );
    expect(secretAt('identity-a', 'mesh', 2)).toBeUndefined();
    await rekeyed(3);
  });
});

describe('a member that comes late', () => {
  it('is given what is in use, and becomes a member of the next epoch', async () => {
    world = await EpochWorld.makeCheap({ members: enrolled });
    const early = running.filter((id) => id !== 'identity-a');
    await world.start(...early);
    await world.start('identity-a');
    expect(secretAt('identity-a', 'mesh', 1)).toEqual(secretAt('signer', 'mesh', 1));
    await rekeyed(2);
    const second = world.stated.findLast(({ channel }) => channel === 'mesh');
    expect(second?.members.map(({ agent_id: id }) => id)).toContain('identity-a');
  });

  it('gets nothing that is not of its channels', async () => {
    await started();
    const key = newHybridKey(world.world.crypto);
    const query = { ask: 'epoch-secrets', publicKey: key.publicKey } as const;
    const { exchange } = world.actor('identity-a');
    const answer = await exchange.ask({ agentId: 'signer', channel: 'notices' }, query, 2_000);
    expect(answer.ok).toBe(true);
    expect(world.channelsIn(answer, 'identity-a', key)).toEqual(['layer-1', 'mesh', 'telemetry']);
  });
});

describe('a member that is revoked', () => {
  it('is given no further secret, and what it holds opens nothing that is said from then on', async () => {
    await started();
    const { keyring, exchange } = world.actor('identity-a');
    await world.revoke('identity-a');
    const others = running.filter((id) => id !== 'identity-a');
    await world.until('its channels are rekeyed', () =>
      others.every((id) => world.actor(id).keyring.currentEpoch('mesh') === 2),
    );
    const second = world.stated.findLast(({ channel }) => channel === 'mesh');
    expect(second?.cause).toBe('membership');
    expect(second?.members.map(({ agent_id: id }) => id)).not.toContain('identity-a');
    const said = world.actor('auditor').exchange.seal({
      type: 'receipts-issued',
      subject: world.subjects.auditReceipt(),
      channel: 'mesh',
      body: {
        treeSize: 1,
        rootHash: '0'.repeat(64),
        entries: [{ statementHash: '0'.repeat(64), leafIndex: 0, verdict: 'accepted' }],
      },
    });
    expect(keyring.knows({ channel: 'mesh', epoch: 2 })).toBe('unknown');
    expect(exchange.openRecord(said.frame)).toBeUndefined();
    expect(world.actor('signer').exchange.openRecord(said.frame)?.type).toBe('receipts-issued');
    const query = {
      ask: 'epoch-secrets',
      publicKey: newHybridKey(world.world.crypto).publicKey,
    } as const;
    const asked = exchange.ask({ agentId: 'signer', channel: 'notices' }, query, 500);
    await expect(asked).rejects.toMatchObject({ name: 'BusError' });
  });
});

describe('what two orchestrators do at once', () => {
  const announcedIn = (channel: string): number =>
    world.entriesOf(channel).filter((type) => type === 'epoch-announced').length;

  it('is one announcement of a first epoch, however slow the signer is', async () => {
    world = await EpochWorld.makeCheap({ members: enrolled });
    // Longer than the second one waits for the first.
    world.statingMs = 700;
    await world.start(...running);
    // Until every statement that was asked for is answered.
    await new Promise((resolve) => setTimeout(resolve, 2 * world.statingMs));
    for (const channel of ['mesh', 'saga', 'telemetry', 'operators', 'layer-1']) {
      expect(world.stated.filter((each) => each.channel === channel).length).toBeGreaterThan(1);
      expect([channel, announcedIn(channel)]).toEqual([channel, 1]);
    }
  });

  it('is one rekeying for one wish, whatever the clock of the operator says', async () => {
    await started();
    await world.rekey('mesh', 4_000);
    await world.until('the next epoch is in use', () =>
      running.every((id) => (world.actor(id).keyring.currentEpoch('mesh') ?? 0) >= 2),
    );
    await world.rekey('mesh', -4_000);
    await world.until('and the next', () =>
      running.every((id) => (world.actor(id).keyring.currentEpoch('mesh') ?? 0) >= 3),
    );
    // Longer than either of them takes to act on what is due.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(announcedIn('mesh')).toBe(3);
  });
});
