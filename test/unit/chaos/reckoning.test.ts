/** The reckoning after a chaos run can fail: each thing that it looks for is found where it is. */
import { describe, expect, it } from 'vitest';
import type { RotationDetails } from '#cli/answers.ts';
import { oddKeys, primaries, type Key, type Made } from '../../chaos/cluster/effects.ts';
import { commitsOf } from '../../chaos/cluster/invariants.ts';
import { quantile } from '../../chaos/cluster/report.ts';

const slot = 'encryption/data';
const key = (version: number, state: string): Key => ({
  slot,
  version,
  state,
  keyId: `key-${version}`,
});
const made = (version: number, sagaId: string): Made => ({ slot, version, sagaId });

describe('keys in the stores', () => {
  const keys = [key(1, 'destroyed'), key(2, 'withdrawn'), key(3, 'primary')];
  const byRotations = [made(2, 'one'), made(3, 'two')];

  it('belong to one rotation each, but for the first', () => {
    expect(oddKeys(keys, byRotations)).toEqual([]);
  });

  it.each([
    ['that no rotation made', byRotations.slice(1), 'version 2 was made by 0'],
    ['that two rotations made', [...byRotations, made(3, 'three')], 'version 3 was made by 2'],
    ['that was made before all rotations', [...byRotations, made(1, 'one')], 'version 1 was made'],
  ])('are odd where there is one %s', (_, makers, told) => {
    const [odd, ...others] = oddKeys(keys, makers);
    expect(odd).toContain(told);
    expect(others).toEqual([]);
  });

  it('are in use as the last commit says', () => {
    const committed = new Map([[slot, 'key-3']]);
    expect(primaries(keys, committed)).toEqual([]);
    expect(primaries([key(1, 'primary')], new Map())).toEqual([]);
    expect(primaries(keys, new Map([[slot, 'key-2']]))).toHaveLength(1);
    expect(primaries(keys, new Map())).toHaveLength(1);
    expect(primaries([key(1, 'destroyed')], new Map())).toHaveLength(1);
    expect(primaries([key(2, 'primary'), key(3, 'primary')], committed)).toHaveLength(1);
  });
});

describe('a rotation', () => {
  const story = (phase: RotationDetails['phase'], decision: 'none' | 'commit', commits: number) => {
    const state = { decision } as RotationDetails['state'];
    const entry = { index: 1, author: 'a', atMs: 1, hash: '', event: 'commit-decided' };
    return {
      planId: 'rot-1',
      phase,
      state,
      timeline: Array.from({ length: commits }, () => entry),
    };
  };

  it('has one commit decision where it was retired, and none elsewhere', () => {
    expect(commitsOf([story('retired', 'commit', 1), story('rolled_back', 'none', 0)])).toEqual([]);
    for (const odd of [
      story('retired', 'commit', 2),
      story('retired', 'commit', 0),
      story('retired', 'none', 1),
      story('rolled_back', 'none', 1),
      story('validated', 'commit', 0),
    ]) {
      expect(commitsOf([odd])).toHaveLength(1);
    }
  });
});

describe('figures', () => {
  it('are the nearest rank', () => {
    const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
    expect([0.5, 0.99, 1].map((share) => quantile(hundred, share))).toEqual([50, 99, 100]);
    expect(quantile([7], 0.5)).toBe(7);
    expect(quantile([], 0.5)).toBe(0);
  });
});
