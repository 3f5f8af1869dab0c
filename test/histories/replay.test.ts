/**
 * Recorded meshes, folded by the code of today: the same verdicts, phases, decisions and commands, or the
 * first difference by name. What a recorded entry led to must never change: an instance of another
 * version may hold the same log.
 */

import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { verifyAuditFile } from '#shared/crypto/audit-verify.ts';
import { isSignedStrictly, strictSigners } from '#shared/crypto/audit-trust.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { openTrust } from '#shared/crypto/trust.ts';
import { violationText } from '../sim/checks/check.ts';
import { firstDifference, foldHistory } from './fold.ts';
import { checksOver } from './observe.ts';
import { unpackHistory, type History } from './history.ts';

const crypto = createNativeProvider();
const files = readdirSync(import.meta.dirname);
const histories = files.filter((name) => name.endsWith('.history'));
const wholeExports = files.filter((name) => name.endsWith('.export'));
const bytesMax = 400 * 1024;

function read(file: string): Buffer {
  return readFileSync(path.join(import.meta.dirname, file));
}

function historyOf(file: string): History {
  return unpackHistory(read(file));
}

it('has all the histories, none of them large', () => {
  const names = histories.map((file) => file.replace('.history', ''));
  expect(names.toSorted()).toEqual([
    'amendment',
    'epoch-change',
    'healing',
    'lockout',
    'refused',
    'revocation',
    'rollback',
    'seven-layers',
  ]);
  for (const file of [...histories, ...wholeExports]) {
    expect(read(file).length, file).toBeLessThanOrEqual(bytesMax);
  }
});

it.each(histories)('%s leads to the same commands', (file) => {
  const history = historyOf(file);
  const folding = foldHistory(crypto, history);
  expect(folding.complaints).toEqual([]);
  expect(folding.events).toBeGreaterThan(0);
  expect(firstDifference(history.outcomes, folding.outcomes)).toBeUndefined();
});

it.each(histories)('%s breaks no invariant that an audit shows', (file) => {
  const checks = checksOver(crypto, historyOf(file));
  expect(checks.atRest().map(violationText)).toEqual([]);
  const looked = checks.looked();
  expect(([5, 6, 12, 15] as const).filter((invariant) => looked[invariant] === 0)).toEqual([]);
});

it.each(histories)('%s is what its auditor signed', (file) => {
  const history = historyOf(file);
  const { rootHash } = foldHistory(crypto, history);
  const { checkpoint, leaves } = history;
  expect(checkpoint.body.tree_size).toBe(leaves.length);
  expect(checkpoint.body.root_hash).toBe(rootHash);
  const opening = openTrust(crypto, history);
  if (opening.status === 'refused') throw new Error(opening.reason);
  const signers = strictSigners(opening.trust, 'audit');
  expect(isSignedStrictly(crypto, checkpoint, signers)).toBe(true);
});

it.each(wholeExports)('%s holds before the offline verifier', async (file) => {
  const { rootDigest } = historyOf(file.replace('.export', '.history'));
  const addressesOf = (mesh: string) => {
    const subjects = subjectsOf(mesh);
    return (subject: string) => subjects.parse(subject);
  };
  const chunks = [new Uint8Array(brotliDecompressSync(read(file)))];
  const verdict = await verifyAuditFile(crypto, { chunks, rootDigest, addressesOf });
  expect(verdict).toMatchObject({ ok: true, undisclosed: 0, uncovered: 0 });
});

it('names the first difference', () => {
  const { outcomes } = historyOf('rollback.history');
  const changed = outcomes.map((outcome, at) =>
    at === 5 ? { ...outcome, phase: 'committed', commands: ['commit all'] } : outcome,
  );
  const difference = firstDifference(outcomes, changed);
  expect(difference).toContain(`entry ${outcomes[5]?.index} of ${outcomes[5]?.sagaId}`);
  expect(difference).toContain('is committed');
  expect(difference).toContain('commit all');
  expect(firstDifference(outcomes, outcomes.slice(0, -1))).toContain('is not there');
});
