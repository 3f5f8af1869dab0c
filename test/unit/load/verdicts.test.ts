/** What a load must not let pass: each of these once ended with 0, or might have. */
import { describe, expect, it } from 'vitest';
import type { RotationSummary } from '#cli/answers.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import {
  contentFailure,
  countedRead,
  damagedRefusal,
  emergencyIn,
  healingFault,
  isAcceptedInTime,
  isAtRest,
  restFaults,
} from '../../load/verdicts.ts';

function rotation(planId: string, phase: RotationPhase, more: Partial<RotationSummary> = {}) {
  return {
    planId,
    planDigest: '0'.repeat(64),
    phase,
    rotationType: 'scheduled',
    layers: [4, 5],
    requestedBy: 'op-1',
    beganAtMs: 1_000,
    atMs: 2_000,
    ...more,
  } satisfies RotationSummary;
}

describe('at the end', () => {
  it('every rotation that was committed is retired, and none goes on', () => {
    const all = [
      rotation('rot-1', 'retired'),
      rotation('rot-2', 'rolled_back'),
      rotation('rot-3', 'refused'),
      rotation('rot-4', 'validated'),
    ];
    expect(restFaults(all, ['rot-1'])).toEqual([]);
    expect(all.every(isAtRest)).toBe(true);
    for (const phase of ['committed', 'retiring', 'rolled_back', 'validated'] as const) {
      expect(restFaults([rotation('rot-1', phase)], ['rot-1']), phase).toHaveLength(1);
    }
    for (const phase of ['committed', 'retiring', 'preparing', 'locked_out'] as const) {
      expect(restFaults([rotation('rot-5', phase)], []), phase).toHaveLength(1);
    }
    expect(restFaults([], ['rot-1'])).toHaveLength(1);
  });

  it('uses of old keys that hold a rotation are told', () => {
    const [fault] = restFaults([rotation('rot-1', 'retiring', { usesLeft: 3 })], ['rot-1']);
    expect(fault).toBe('rot-1 is retiring at the end, 3 uses of old keys left');
  });
});

describe('an anomaly', () => {
  it('is healed by new keys, and by nothing else', () => {
    for (const phase of ['committed', 'retiring', 'retired'] as const) {
      expect(healingFault(rotation('rot-1', phase))).toBeUndefined();
    }
    for (const phase of ['locked_out', 'rolled_back', 'refused', 'soaking', 'validated'] as const) {
      expect(healingFault(rotation('rot-1', phase)), phase).toBeDefined();
    }
    expect(healingFault(undefined)).toBeDefined();
  });

  it('is answered by an emergency of its layer that began after it', () => {
    const emergency = { rotationType: 'emergency' } as const;
    const wanted = { layer: 4, sinceMs: 1_000 } as const;
    const found = rotation('rot-5', 'retired', emergency);
    const others = [
      rotation('rot-1', 'retired'),
      rotation('rot-2', 'retired', { ...emergency, beganAtMs: 999 }),
      rotation('rot-3', 'retired', { ...emergency, layers: [6] }),
      rotation('rot-4', 'refused', emergency),
    ];
    expect(emergencyIn(others, wanted)).toBeUndefined();
    expect(emergencyIn([...others, found], wanted)).toBe(found);
  });
});

describe('the owner of damaged objects', () => {
  it('fails where any other layer 4 would have failed him', () => {
    const refused = { step: 'read-kept', tookMs: 1, failure: damagedRefusal };
    expect(countedRead(refused, true)).toBe(refused);
    expect(countedRead(refused, false).failure).toBeUndefined();
    const broken = { ...refused, failure: 'UNREACHABLE' };
    expect(countedRead(broken, false)).toBe(broken);
  });

  it('takes nothing for right that is not what he wrote, or that was damaged', () => {
    expect(contentFailure(true, true)).toBeUndefined();
    expect(contentFailure(false, true)).toBe('WRONG_CONTENT');
    expect(contentFailure(true, false)).toBe('OPENED_THOUGH_DAMAGED');
  });
});

it('what is in time is accepted, whatever became of its key', () => {
  const endsAtMs = 60_000;
  const isFine = (code: string, answeredAtMs: number) =>
    isAcceptedInTime({ code, answeredAtMs, endsAtMs });
  expect(isFine('done', 59_999)).toBe(true);
  expect(isFine('SESSION_KEY_UNKNOWN', 59_999)).toBe(false);
  expect(isFine('SESSION_EXPIRED', 59_999)).toBe(false);
  expect(isFine('SESSION_EXPIRED', 60_000)).toBe(true);
});
