import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ChannelRules } from '#schemas/policy.ts';
import {
  activeEpoch,
  initialEpochs,
  pendingEpoch,
  stepEpoch,
  type EpochEvent,
  type EpochState,
} from '#shared/core/epoch.ts';
import {
  epochCommand,
  keptForAudit,
  type EpochCommand,
  type EpochSituation,
} from '#shared/core/epoch-command.ts';

const rules: ChannelRules = {
  epoch_max_ms: 60_000,
  epoch_messages_max: 100,
  epoch_grace_ms: 10_000,
  epoch_accept_ms: 1_000,
  archive_control_events: true,
  amendment_grace_ms: 10_000,
};
const stepRules = { graceMs: rules.epoch_grace_ms, skewMs: 0 };
const members = ['auditor', 'identity-a', 'signer'];

function seenAt(nowMs: number, changes: Partial<EpochSituation> = {}): EpochSituation {
  return {
    nowMs,
    rules,
    entitledDigest: 'all',
    candidates: members,
    prekeyed: new Set(members),
    keepers: ['signer'],
    lookingSinceMs: 0,
    isLost: false,
    messages: 0,
    wish: null,
    sagaSinceMs: null,
    audited: new Set([1, 2, 3]),
    skewMs: 0,
    isStale: false,
    ...changes,
  };
}

function folded(state: EpochState, ...events: readonly EpochEvent[]): EpochState {
  return events.reduce((before, event) => {
    const step = stepEpoch(before, event, stepRules);
    if ('rejected' in step) throw new Error(`${event.type} ${event.epoch}: ${step.rejected}`);
    return step.state;
  }, state);
}

const announced = (epoch: number, atMs: number, who = members, sequence = 10 * epoch) => ({
  type: 'epoch-announced' as const,
  epoch,
  cause: 'time' as const,
  announcementDigest: `digest-${epoch}`,
  entitledDigest: 'all',
  members: who,
  atMs,
  sequence,
});
const accepted = (epoch: number, agentId: string): EpochEvent => ({
  type: 'epoch-accepted',
  epoch,
  agentId,
  announcementDigest: `digest-${epoch}`,
  hash: `hash-${epoch}-${agentId}`,
});
const activated = (epoch: number, atMs: number, absent: readonly string[] = []): EpochEvent => ({
  type: 'epoch-activated',
  epoch,
  accepted: members.slice(absent.length).map((agentId) => `hash-${epoch}-${agentId}`),
  keepers: ['signer'],
  absent,
  atMs,
});
const inUse = (epoch: number, atMs: number): EpochEvent[] => [
  announced(epoch, atMs),
  ...members.map((agentId) => accepted(epoch, agentId)),
  activated(epoch, atMs),
];
const fresh = initialEpochs('saga');

describe('what follows in an epoch log', () => {
  it('is never a number that was announced before, or a second one while one is pending', () => {
    const one = folded(fresh, announced(3, 0));
    expect(stepEpoch(one, announced(4, 1), stepRules)).toEqual({ rejected: 'EPOCH_PENDING' });
    const over = folded(one, { type: 'epoch-abandoned', epoch: 3, atMs: 2 });
    expect(stepEpoch(over, announced(3, 3), stepRules)).toEqual({ rejected: 'EPOCH_NOT_RISING' });
    expect(activeEpoch(folded(over, ...inUse(5, 4)))?.epoch).toBe(5);
  });

  it('counts acceptances of members only, and of the announcement that stands', () => {
    const state = folded(fresh, announced(1, 0));
    const stranger = stepEpoch(state, accepted(1, 'network-a'), stepRules);
    expect(stranger).toEqual({ rejected: 'NOT_A_MEMBER' });
    const other = { ...accepted(1, 'signer'), announcementDigest: 'another' } as EpochEvent;
    expect(stepEpoch(state, other, stepRules)).toEqual({ rejected: 'ANNOUNCEMENT_UNKNOWN' });
  });

  it('puts an epoch into use only when everyone is accounted for', () => {
    const state = folded(fresh, announced(1, 0), accepted(1, 'signer'));
    const said = activated(1, 5, ['auditor']);
    const step = (change: object) =>
      stepEpoch(state, { ...said, ...change } as EpochEvent, stepRules);
    const mismatch = { rejected: 'MEMBERS_MISMATCH' };
    expect(step({ accepted: ['one'] })).toEqual(mismatch);
    expect(step({ accepted: ['one', 'one'] })).toEqual(mismatch);
    expect(step({ accepted: ['one'], absent: ['auditor', 'auditor'] })).toEqual(mismatch);
    expect(step({ absent: ['stranger'] })).toEqual(mismatch);
    expect(step({ absent: ['signer'] })).toEqual({ rejected: 'KEEPER_ABSENT' });
    expect(step({})).toHaveProperty('state');
    const whole = folded(state, activated(1, 5, ['auditor', 'identity-a']));
    expect(activeEpoch(whole)?.absent).toEqual(['auditor', 'identity-a']);
    expect(activeEpoch(folded(whole, accepted(1, 'auditor')))?.absent).toEqual(['identity-a']);
  });

  it('gives no epoch up that is in use or within its grace', () => {
    const state = folded(fresh, ...inUse(1, 0), ...inUse(2, 1_000));
    const close = (epoch: number, atMs: number) =>
      stepEpoch(state, { type: 'epoch-closed', epoch, atMs }, stepRules);
    expect(close(2, 99_000)).toEqual({ rejected: 'EPOCH_NOT_SUPERSEDED' });
    expect(close(1, 10_999)).toEqual({ rejected: 'EPOCH_IN_GRACE' });
    expect(close(1, 11_000)).toHaveProperty('state');
  });
});

describe('what is to be done next', () => {
  it('begins with the first epoch once all have prekeys, or have had their time', () => {
    expect(epochCommand(fresh, seenAt(0))).toMatchObject({ type: 'announce', epoch: 1, members });
    const late = seenAt(0, { prekeyed: new Set(['auditor', 'signer']) });
    expect(epochCommand(fresh, late)).toEqual({ type: 'wait', untilMs: 1_000 });
    expect(epochCommand(fresh, { ...late, nowMs: 1_000 })).toMatchObject({
      cause: 'first',
      members: ['auditor', 'signer'],
    });
    const keeperless = seenAt(5_000, { prekeyed: new Set(['auditor', 'identity-a']) });
    expect(epochCommand(fresh, keeperless)).toEqual({ type: 'wait', untilMs: null });
  });

  it('activates with the acceptances, and names who is absent when the time is up', () => {
    const some = folded(fresh, announced(1, 0), accepted(1, 'signer'), accepted(1, 'auditor'));
    expect(epochCommand(some, seenAt(999))).toEqual({ type: 'wait', untilMs: 1_000 });
    expect(epochCommand(some, seenAt(1_000))).toMatchObject({
      type: 'activate',
      accepted: ['hash-1-signer', 'hash-1-auditor'],
      absent: ['identity-a'],
    });
    const all = folded(some, accepted(1, 'identity-a'));
    expect(epochCommand(all, seenAt(1))).toMatchObject({ type: 'activate', absent: [] });
  });

  it('gives up an epoch that its keeper did not accept, or whose members are others by now', () => {
    const keeperless = folded(fresh, announced(1, 0), accepted(1, 'auditor'));
    expect(epochCommand(keeperless, seenAt(1_000))).toEqual({ type: 'wait', untilMs: 4_000 });
    expect(epochCommand(keeperless, seenAt(4_000))).toMatchObject({ type: 'abandon', epoch: 1 });
    const late = folded(keeperless, accepted(1, 'signer'));
    expect(epochCommand(late, seenAt(3_999))).toMatchObject({ type: 'activate' });
    const without = folded(fresh, announced(1, 0, ['auditor']), accepted(1, 'auditor'));
    expect(epochCommand(without, seenAt(0))).toMatchObject({ type: 'abandon', epoch: 1 });
    const complete = folded(fresh, announced(1, 0), ...members.map((id) => accepted(1, id)));
    const revoked = seenAt(1, { entitledDigest: 'one less' });
    expect(epochCommand(complete, revoked)).toMatchObject({ type: 'abandon', epoch: 1 });
  });

  it.each<[string, Partial<EpochSituation>]>([
    ['time', { nowMs: 60_000 }],
    ['count', { messages: 100 }],
    ['membership', { entitledDigest: 'one less' }],
    ['operator', { wish: { cause: 'operator', atMs: 1, sequence: 11 } }],
    ['suspicion', { wish: { cause: 'suspicion', atMs: 1, sequence: 11 } }],
    ['lost', { isLost: true }],
  ])('rekeys for %s', (cause, changes) => {
    const state = folded(fresh, ...inUse(1, 0));
    expect(epochCommand(state, seenAt(1_000))).toEqual({ type: 'wait', untilMs: 60_000 });
    const due = seenAt(1_000, changes);
    expect(epochCommand(state, due)).toMatchObject({ type: 'announce', epoch: 2, cause });
    expect(epochCommand(state, { ...due, isStale: true }).type).toBe('wait');
  });

  it.each<[string, boolean, { atMs: number; sequence: number }]>([
    ['an earlier wish by a clock that runs ahead', true, { atMs: 4_000, sequence: 9 }],
    ['a later wish by a clock that runs behind', false, { atMs: -4_000, sequence: 11 }],
    ['a wish from before the stream began anew', true, { atMs: -20_000, sequence: 9 }],
    ['a wish from after the stream began anew', false, { atMs: 6_001, sequence: 2 }],
  ])('an epoch meets %s: %s', (_, isMet, wish) => {
    const state = folded(fresh, ...inUse(1, 0));
    const seen = seenAt(7_000, { wish: { cause: 'operator', ...wish }, skewMs: 5_000 });
    expect(epochCommand(state, seen).type).toBe(isMet ? 'wait' : 'announce');
  });

  it('closes after the grace, but not under a saga that began before', () => {
    const state = folded(fresh, ...inUse(1, 0), ...inUse(2, 1_000));
    expect(epochCommand(state, seenAt(10_999)).type).toBe('wait');
    expect(epochCommand(state, seenAt(11_000))).toEqual({
      type: 'close',
      epoch: 1,
      isUnaudited: false,
    });
    expect(epochCommand(state, seenAt(11_000, { sagaSinceMs: 900 })).type).toBe('wait');
    expect(epochCommand(state, seenAt(11_000, { sagaSinceMs: 1_001 })).type).toBe('close');
  });

  it('keeps after the grace what an auditor has yet to read, for 24 lives of an epoch', () => {
    const state = folded(fresh, ...inUse(1, 0), ...inUse(2, 1_000), ...inUse(3, 50_000));
    const unread = { audited: new Set<number>() };
    expect(keptForAudit(state, seenAt(10_999))).toEqual([]);
    expect(keptForAudit(state, seenAt(11_000))).toEqual([1]);
    expect(keptForAudit(state, seenAt(11_000, { sagaSinceMs: 900 }))).toEqual([]);
    expect(epochCommand(state, seenAt(11_000, unread))).toEqual({ type: 'wait', untilMs: 60_000 });
    const patientMs = 24 * rules.epoch_max_ms;
    const late = folded(state, ...inUse(4, 900_000), ...inUse(5, patientMs - 1_000));
    expect(epochCommand(late, seenAt(1_000 + patientMs - 1, unread)).type).toBe('wait');
    const given = { type: 'close', epoch: 1, isUnaudited: true };
    expect(epochCommand(late, seenAt(1_000 + patientMs, unread))).toEqual(given);
  });

  it('waits as many graces where these are longer than epochs last', () => {
    const state = folded(fresh, ...inUse(1, 0), ...inUse(2, 1_000));
    const longer = { ...rules, epoch_grace_ms: 90_000, epoch_max_ms: 10_000_000 };
    const brief = { ...longer, epoch_max_ms: 1_000 };
    const at = (nowMs: number, by: ChannelRules): string =>
      epochCommand(state, seenAt(nowMs, { rules: by, audited: new Set(), isStale: true })).type;
    expect(at(1_000 + 24 * 90_000, longer)).toBe('wait');
    expect(at(1_000 + 24 * 90_000 - 1, brief)).toBe('wait');
    expect(at(1_000 + 24 * 90_000, brief)).toBe('close');
  });
});

describe('properties of every run', () => {
  const moves = fc.array(
    fc.record({
      spanMs: fc.integer({ min: 0, max: 60_000 }),
      accepting: fc.subarray(members),
      entitledDigest: fc.constantFrom('all', 'one less'),
      prekeyed: fc.subarray(members, { minLength: 1 }),
      messages: fc.constantFrom(0, 100),
      isWished: fc.boolean(),
      hasSaga: fc.boolean(),
      isRead: fc.boolean(),
    }),
    { minLength: 1, maxLength: 80 },
  );

  it('numbers rise, one epoch is in use, none before its members accepted or were given up', () => {
    fc.assert(
      fc.property(moves, (run) => {
        let state = fresh;
        let nowMs = 0;
        let highest = 0;
        let used = 0;
        for (const move of run) {
          nowMs += move.spanMs;
          const pending = pendingEpoch(state);
          for (const agentId of pending === undefined ? [] : move.accepting) {
            const step = stepEpoch(state, accepted(pending?.epoch ?? 0, agentId), stepRules);
            if ('state' in step) state = step.state;
          }
          const seen = seenAt(nowMs, {
            entitledDigest: move.entitledDigest,
            prekeyed: new Set(move.prekeyed),
            messages: move.messages,
            wish: move.isWished ? { cause: 'operator', atMs: nowMs, sequence: nowMs } : null,
            sagaSinceMs: move.hasSaga ? 0 : null,
            audited: new Set(move.isRead ? state.epochs.map(({ epoch }) => epoch) : []),
          });
          const command = epochCommand(state, seen);
          if (command.type === 'announce') {
            expect(command.epoch).toBeGreaterThan(highest);
            highest = command.epoch;
            expect(command.members).toContain('signer');
          }
          if (command.type === 'activate') {
            const record = pendingEpoch(state);
            const silent = record?.members.filter((id) => !record.accepted.has(id)) ?? [];
            expect(command.absent).toEqual(silent);
            expect(silent.length === 0 || nowMs >= (record?.announcedAtMs ?? 0) + 1_000).toBe(true);
            expect(command.epoch).toBeGreaterThan(used);
            used = command.epoch;
          }
          if (command.type === 'close') {
            expect(command.epoch).toBeLessThan(used);
            const record = state.epochs.find(({ epoch }) => epoch === command.epoch);
            const patientMs = (record?.supersededAtMs ?? 0) + 24 * rules.epoch_max_ms;
            expect(move.isRead || nowMs >= patientMs).toBe(true);
          }
          const event = eventOf(command, seen);
          if (event === undefined) continue;
          const step = stepEpoch(state, event, stepRules);
          if ('rejected' in step) throw new Error(step.rejected);
          state = step.state;
          expect(state.epochs.filter(({ standing }) => standing === 'active').length).toBeLessThan(
            2,
          );
        }
      }),
      { numRuns: 300 },
    );
  });
});

function eventOf(command: EpochCommand, seen: EpochSituation): EpochEvent | undefined {
  const { nowMs: atMs, entitledDigest } = seen;
  switch (command.type) {
    case 'announce': {
      const event = announced(command.epoch, atMs, [...command.members]);
      return { ...event, entitledDigest } as EpochEvent;
    }
    case 'activate': {
      const { epoch, absent, accepted: all } = command;
      return {
        type: 'epoch-activated',
        epoch,
        accepted: all,
        absent,
        keepers: ['signer'],
        atMs,
      };
    }
    case 'close':
      return { type: 'epoch-closed', epoch: command.epoch, atMs };
    case 'abandon':
      return { type: 'epoch-abandoned', epoch: command.epoch, atMs };
    case 'wait':
      return undefined;
  }
}
