/** Row by row: what the signer announces of epochs, and what a stolen orchestrator does not get. */

import { describe, expect, test } from 'vitest';
import type { EpochAnnouncementBody } from '#schemas/epoch.ts';
import {
  causeAgeMaxMs,
  checkEpochAnnouncement,
  epochLeapMax,
  prekeyAgeMaxMs,
  type EpochCheck,
} from '#shared/core/epoch-evidence.ts';
import type { VerifiedEvent } from '#shared/core/verified-event.ts';

const nowMs = Date.parse('2026-05-01T12:00:00.000Z');
const digest = (digit: string) => digit.repeat(64);
const clockSkewMs = 5_000;

const agents = [
  { agentId: 'auditor', kind: 'auditor' },
  { agentId: 'identity-a', kind: 'layer', layer: 1 },
  { agentId: 'network-a', kind: 'layer', layer: 3 },
  { agentId: 'op-1', kind: 'operator' },
  { agentId: 'orchestrator-a', kind: 'orchestrator' },
  { agentId: 'signer', kind: 'signer' },
] as const;

const idOf = new Map(agents.map(({ agentId }, index) => [agentId as string, digest(`${index}`)]));

/** One agent's prekeys, one for every channel that is asked for here. */
function prekeys(senderId: string, change: Partial<VerifiedEvent> = {}): VerifiedEvent {
  const id = idOf.get(senderId) ?? digest('f');
  const publicKey = new Uint8Array(1600);
  const other = digest('e');
  return {
    hash: digest('a'),
    senderId,
    senderKind: 'layer',
    type: 'prekeys-published',
    timeMs: nowMs - 1_000,
    body: {
      prekeys: [
        { channel: 'layer-1', prekeyId: id, publicKey },
        { channel: 'mesh', prekeyId: other, publicKey },
      ],
    },
    ...change,
  } as VerifiedEvent;
}

function wish(body: object, change: Partial<VerifiedEvent> = {}): VerifiedEvent {
  return {
    hash: digest('b'),
    senderId: 'op-1',
    senderKind: 'operator',
    type: 'epoch-rotation-requested',
    timeMs: nowMs - 1_000,
    body: { requestId: 'r', reason: 'because', cause: 'operator', ...body },
    ...change,
  } as VerifiedEvent;
}

const memberIds = ['auditor', 'identity-a', 'orchestrator-a', 'signer'];
const members = (ids: readonly string[]) =>
  ids.map((agent_id) => ({ agent_id, capsule_digest: digest('c') }));

function statement(change: Partial<EpochAnnouncementBody> = {}): EpochAnnouncementBody {
  return {
    kind: 'epoch_announcement',
    mesh: 'test',
    channel: 'layer-1',
    epoch: 8,
    cause: 'time',
    secret_commitment: digest('d'),
    members: members(memberIds),
    entitled_digest: digest('9'),
    issued_at: '2026-05-01T12:00:00.000Z',
    ...change,
  };
}

function check(
  change: Partial<EpochCheck> = {},
  said: Partial<EpochAnnouncementBody> = {},
): ReturnType<typeof checkEpochAnnouncement> {
  return checkEpochAnnouncement({
    statement: statement(said),
    asker: { agentId: 'orchestrator-a', kind: 'orchestrator' },
    mesh: 'test',
    evidence: memberIds.map((id) => prekeys(id)),
    agents,
    entitledDigest: digest('9'),
    highest: 7,
    isUsed: () => false,
    documents: [{ kind: 'policy', expires_at: '2026-06-01T00:00:00.000Z' }],
    nowMs,
    clockSkewMs,
    ...change,
  });
}

test('what holds is announced, and its prekeys are named', () => {
  const verdict = check();
  expect(verdict.status).toBe('ok');
  expect(verdict.status === 'ok' ? verdict.prekeys : []).toEqual(
    memberIds.map((agentId) => ({
      agentId,
      prekeyId: idOf.get(agentId),
      timeMs: nowMs - 1_000,
    })),
  );
});

test('members may be left out: they ask for the secret', () => {
  expect(check({}, { members: members(['orchestrator-a', 'signer']) }).status).toBe('ok');
});

test.each(['first', 'time', 'count', 'membership'] as const)(
  '%s needs no word of others',
  (cause) => {
    expect(check({}, { cause }).status).toBe('ok');
  },
);

test.each(['operator', 'suspicion'] as const)('%s rests on what an operator signed', (cause) => {
  const keys = memberIds.map((id) => prekeys(id));
  const verdict = (event: VerifiedEvent) => check({ evidence: [...keys, event] }, { cause }).status;
  expect(verdict(wish({ cause }))).toBe('ok');
  expect(verdict(wish({ cause, channel: 'layer-1' }))).toBe('ok');
  expect(check({}, { cause })).toMatchObject({ status: 'refused', code: 'ORCH-8015' });
  expect(verdict(wish({ cause, channel: 'mesh' }))).toBe('refused');
  expect(verdict(wish({ cause: cause === 'operator' ? 'suspicion' : 'operator' }))).toBe('refused');
  expect(verdict(wish({ cause }, { senderKind: 'layer' }))).toBe('refused');
  expect(verdict(wish({ cause }, { timeMs: nowMs - causeAgeMaxMs - 1 }))).toBe('refused');
  expect(verdict(wish({ cause }, { timeMs: nowMs + clockSkewMs + 1 }))).toBe('refused');
});

describe('refused is', () => {
  const rows: [string, Partial<EpochCheck>, Partial<EpochAnnouncementBody>, string][] = [
    ['an announcement of another mesh', {}, { mesh: 'other' }, 'ORCH-8015'],
    [
      'one that an auditor asks for',
      { asker: { agentId: 'auditor', kind: 'auditor' } },
      {},
      'ORCH-8015',
    ],
    [
      'one that an operator asks for',
      { asker: { agentId: 'op-1', kind: 'operator' } },
      {},
      'ORCH-8015',
    ],
    ['one of the archive', {}, { channel: 'archive' }, 'ORCH-8004'],
    ['one of the notices', {}, { channel: 'notices' }, 'ORCH-8004'],
    ['the same epoch once more', { highest: 8 }, {}, 'ORCH-8009'],
    ['a lower epoch', { highest: 9 }, {}, 'ORCH-8009'],
    ['a leap to the end of the numbers', {}, { epoch: 7 + epochLeapMax + 1 }, 'ORCH-8015'],
    [
      'one with stale documents',
      { nowMs: Date.parse('2026-06-01T00:00:00.000Z') },
      {},
      'ORCH-8002',
    ],
    ['one dated back', {}, { issued_at: '2026-05-01T11:59:50.000Z' }, 'ORCH-8004'],
    ['one dated ahead', {}, { issued_at: '2026-05-01T12:00:10.000Z' }, 'ORCH-8004'],
    ['one made for other enrolments', { entitledDigest: digest('8') }, {}, 'ORCH-8004'],
    ['a member out of order', {}, { members: members(['signer', 'auditor']) }, 'ORCH-8004'],
    ['a member named twice', {}, { members: members(['auditor', 'auditor']) }, 'ORCH-8004'],
    ['an agent of another layer', {}, { members: members(['network-a']) }, 'ORCH-8015'],
    ['an operator as a member', {}, { members: members(['op-1']) }, 'ORCH-8015'],
    ['an outsider', {}, { members: members(['stranger']) }, 'ORCH-8015'],
    [
      'an agent that was revoked',
      { agents: agents.filter(({ agentId }) => agentId !== 'identity-a') },
      {},
      'ORCH-8015',
    ],
    ['the signer left out', {}, { members: members(['auditor']) }, 'ORCH-8015'],
    ['a member without evidence', { evidence: [prekeys('auditor')] }, {}, 'ORCH-8014'],
    ['a prekey that was used', { isUsed: (id) => id === idOf.get('signer') }, {}, 'ORCH-8014'],
  ];
  test.each(rows)('%s', (_what, change, said, code) => {
    const evidence = [...memberIds, 'network-a', 'op-1', 'stranger'].map((id) => prekeys(id));
    expect(check({ evidence, ...change }, said)).toMatchObject({ status: 'refused', code });
  });

  test.each([
    ['too old', prekeys('auditor', { timeMs: nowMs - prekeyAgeMaxMs - 1 })],
    ['of the future', prekeys('auditor', { timeMs: nowMs + clockSkewMs + 1 })],
    ['of somebody else', prekeys('network-a')],
    [
      'for another channel',
      prekeys('auditor', {
        body: {
          prekeys: [{ channel: 'mesh', prekeyId: digest('7'), publicKey: new Uint8Array(1600) }],
        },
      } as Partial<VerifiedEvent>),
    ],
  ])('a prekey %s', (_what, event) => {
    const said = { members: members(['auditor', 'signer']) };
    const shown = (each: VerifiedEvent) => check({ evidence: [each, prekeys('signer')] }, said);
    expect(shown(event)).toMatchObject({ code: 'ORCH-8014' });
    expect(shown(prekeys('auditor')).status).toBe('ok');
  });

  test('one of two prekeys, where it is open which', () => {
    const second = prekeys('auditor', {
      body: {
        prekeys: [{ channel: 'layer-1', prekeyId: digest('7'), publicKey: new Uint8Array(1600) }],
      },
    } as Partial<VerifiedEvent>);
    const said = { members: members(['auditor']) };
    expect(check({ evidence: [prekeys('auditor'), second] }, said).status).toBe('refused');
  });

  test('a prekey that two members show', () => {
    const id = idOf.get('auditor');
    const body = {
      prekeys: [{ channel: 'layer-1', prekeyId: id, publicKey: new Uint8Array(1600) }],
    };
    const copied = prekeys('signer', { body } as Partial<VerifiedEvent>);
    const said = { members: members(['auditor', 'signer']) };
    expect(check({ evidence: [prekeys('auditor'), copied] }, said).status).toBe('refused');
  });
});
