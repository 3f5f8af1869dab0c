import { beforeEach, describe, expect, it } from 'vitest';
import type { EpochAnnouncement, EpochEntry } from '#schemas/epoch.ts';
import { AuditedEpochs } from '#shared/core/audit-epochs.ts';

const channel = 'mesh';
const members = ['auditor', 'identity-a', 'signer'];

let epochs: AuditedEpochs;

beforeEach(() => {
  epochs = new AuditedEpochs({
    isSigned: ({ signatures }) => signatures.length === 1,
    digestOf: ({ body }) => digestOf((body as EpochAnnouncement['body']).secret_commitment),
  });
});

const digestOf = (commitment: string): string => `digest of ${commitment}`;

function announcement(epoch: number, change: { commitment?: string; isSigned?: boolean } = {}) {
  const { commitment = `secret ${epoch}`, isSigned = true } = change;
  const body = {
    channel,
    epoch,
    secret_commitment: commitment,
    members: members.map((id) => ({ agent_id: id, capsule_digest: '' })),
  };
  const signatures = isSigned ? [{}] : [];
  return { body, signatures } as unknown as EpochAnnouncement;
}

function announced(epoch: number, said = announcement(epoch)): string | undefined {
  return entry(epoch, { type: 'epoch-announced', announcement: said, capsules: [] });
}

function entry(epoch: number, event: EpochEntry['event']): string | undefined {
  return epochs.entry({ channel, epoch, event })?.code;
}

function accepts(agentId: string, epoch: number, commitment = `secret ${epoch}`): string {
  const hash = `${agentId} accepts ${commitment}`;
  const announcementDigest = digestOf(commitment);
  epochs.acceptance(hash, agentId, { channel, epoch, announcementDigest });
  return hash;
}

function activated(epoch: number, accepted: readonly string[], absent: readonly string[] = []) {
  return entry(epoch, { type: 'epoch-activated', accepted: [...accepted], absent: [...absent] });
}

describe('an announcement', () => {
  it("is the signer's, and about the channel and epoch of its entry", () => {
    expect(announced(1)).toBeUndefined();
    expect(announced(2, announcement(2, { isSigned: false }))).toBe('EPOCH_DOCUMENT_INVALID');
    expect(announced(3, announcement(2))).toBe('EPOCH_DOCUMENT_INVALID');
  });
});

describe('an epoch comes into use', () => {
  it('by acceptances of all members, or of some with the others named', () => {
    announced(1);
    const [auditor, identity, signer] = members.map((id) => accepts(id, 1));
    expect(activated(1, [auditor ?? '', identity ?? '', signer ?? ''])).toBeUndefined();
    announced(2);
    expect(activated(2, [accepts('signer', 2)], ['auditor', 'identity-a'])).toBeUndefined();
  });

  it.each<[string, (hash: (agentId: string) => string) => [string[], string[]]]>([
    ['a hash that is no event', () => [['made up'], ['auditor', 'identity-a']]],
    ['nobody', () => [[], [...members]]],
    ['one member twice', (hash) => [[hash('signer'), `${hash('signer')} again`], ['auditor']]],
    ['a member that is absent too', (hash) => [[hash('signer'), hash('auditor')], ['auditor']]],
    ['fewer than all', (hash) => [[hash('signer')], ['auditor']]],
    ['an outsider', (hash) => [[hash('signer'), hash('network-a')], ['auditor']]],
    [
      'acceptances of another announcement',
      (hash) => [[hash('signer'), accepts('auditor', 1, 'another')], ['identity-a']],
    ],
  ])('not by %s', (_, said) => {
    announced(1);
    announced(1, announcement(1, { commitment: 'another' }));
    const [accepted, absent] = said((agentId) => accepts(agentId, 1));
    expect(activated(1, accepted, absent)).toBe('ACCEPTANCES_DIFFER');
  });

  it('not by acceptances of an epoch before it', () => {
    announced(1);
    const old = members.map((id) => accepts(id, 1));
    announced(2);
    expect(activated(2, old)).toBe('ACCEPTANCES_DIFFER');
  });

  it('not without an announcement, and not once it is over', () => {
    expect(activated(1, [accepts('signer', 1)], ['auditor', 'identity-a'])).toBe(
      'EPOCH_NOT_ANNOUNCED',
    );
    announced(1);
    expect(entry(1, { type: 'epoch-abandoned', reason: 'test' })).toBeUndefined();
    expect(activated(1, [accepts('signer', 1)], ['auditor', 'identity-a'])).toBe(
      'EPOCH_NOT_ANNOUNCED',
    );
  });

  it('whatever a thief says to be over before', () => {
    announced(1);
    expect(
      activated(
        1,
        members.map((id) => accepts(id, 1)),
      ),
    ).toBeUndefined();
    announced(2);
    const all = members.map((id) => accepts(id, 2));
    entry(9, { type: 'epoch-closed' });
    expect(activated(2, all)).toBeUndefined();
  });
});
