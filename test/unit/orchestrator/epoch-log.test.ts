/** One channel's epoch log: entries and acceptances are followed side by side, so either may come first. */
import { expect, it } from 'vitest';
import { EpochLog, type EntryFacts } from '#agents/orchestrator/epoch-log.ts';
import type { EpochEntry } from '#schemas/epoch.ts';
import { policyOf } from '../core/mesh.ts';

const policy = policyOf();
const digest = 'd'.repeat(64);

function announced(epoch: number): EntryFacts {
  const members = ['auditor', 'signer'].map((agent_id) => ({ agent_id }));
  const body = { cause: 'first', members, entitled_digest: 'all' };
  const event = { type: 'epoch-announced', announcement: { body }, capsules: [] };
  return {
    entry: { channel: 'mesh', epoch, event } as unknown as EpochEntry,
    announcementDigest: digest,
    author: 'orchestrator-a',
    atMs: 1_000 * epoch,
    sequence: epoch,
    keepers: ['signer'],
  };
}

const acceptance = (agentId: string, epoch: number, announcementDigest = digest) => ({
  agentId,
  epoch,
  announcementDigest,
  hash: `${agentId} ${epoch}`,
});

const acceptedIn = ({ state }: EpochLog): string[] =>
  state.epochs.flatMap(({ accepted }) => [...accepted.values()]).toSorted();

it('takes acceptances that came before the announcement, and those after it', () => {
  const log = new EpochLog('mesh');
  expect(log.accepted(acceptance('signer', 1), policy)).toBe('EPOCH_NOT_PENDING');
  expect(log.apply(announced(1), policy)).toBeUndefined();
  expect(acceptedIn(log)).toEqual(['signer 1']);
  expect(log.accepted(acceptance('auditor', 1), policy)).toBeUndefined();
  expect(acceptedIn(log)).toEqual(['auditor 1', 'signer 1']);
});

it('takes none early of another announcement, of nobody, or of another epoch', () => {
  const log = new EpochLog('mesh');
  log.accepted(acceptance('signer', 1, 'e'.repeat(64)), policy);
  log.accepted(acceptance('phi-a', 1), policy);
  log.accepted(acceptance('auditor', 2), policy);
  expect(log.apply(announced(1), policy)).toBeUndefined();
  expect(acceptedIn(log)).toEqual([]);
  const given = { type: 'epoch-abandoned', reason: 'nobody accepts it' } as const;
  const entry: EpochEntry = { channel: 'mesh', epoch: 1, event: given };
  expect(log.apply({ ...announced(1), entry }, policy)).toBeUndefined();
  expect(log.apply(announced(2), policy)).toBeUndefined();
  expect(acceptedIn(log)).toEqual(['auditor 2']);
});
