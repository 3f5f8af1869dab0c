/** Who is locked out, for how long, and that the ledger is the same after a restart. */

import { describe, expect, it } from 'vitest';
import { LockoutLedger, lockoutsMax } from '#shared/core/lockout.ts';

const nowMs = 1_000_000;

describe('the ledger of lockouts', () => {
  it('locks out for 900 seconds who offered a bad root, registry or policy', () => {
    for (const code of ['ORCH-8010', 'ORCH-8011'] as const) {
      const ledger = new LockoutLedger();
      expect(ledger.note('op-1', code, nowMs)?.untilMs).toBe(nowMs + 900_000);
      expect(ledger.isLockedOut('op-1', nowMs + 899_999)).toBe(true);
      expect(ledger.isLockedOut('op-1', nowMs + 900_000)).toBe(false);
      expect(ledger.isLockedOut('op-2', nowMs)).toBe(false);
    }
  });

  it('locks out for nothing else', () => {
    const ledger = new LockoutLedger();
    for (const code of ['ORCH-8015', 'ORCH-8006', 'ORCH-8001'] as const) {
      expect(ledger.note('op-1', code, nowMs)).toBeUndefined();
    }
    expect(ledger.isLockedOut('op-1', nowMs)).toBe(false);
  });

  it('counts from the last offence, and never ends earlier for a clock that went back', () => {
    const ledger = new LockoutLedger();
    ledger.note('op-1', 'ORCH-8010', nowMs);
    expect(ledger.note('op-1', 'ORCH-8011', nowMs + 1000)?.untilMs).toBe(nowMs + 901_000);
    expect(ledger.note('op-1', 'ORCH-8010', nowMs - 500_000)?.untilMs).toBe(nowMs + 901_000);
  });

  it('is the same after a restart', () => {
    const ledger = new LockoutLedger();
    ledger.note('op-1', 'ORCH-8010', nowMs);
    ledger.note('phi-a', 'ORCH-8011', nowMs + 5);
    const again = LockoutLedger.fromJSON(JSON.parse(JSON.stringify(ledger)));
    expect(again?.lasting(nowMs + 900_000)).toEqual(ledger.lasting(nowMs + 900_000));
    expect(again?.isLockedOut('phi-a', nowMs + 900_004)).toBe(true);
  });

  it('is not read from anything else', () => {
    const good = { sender: 'op-1', code: 'ORCH-8010', untilMs: nowMs };
    expect(LockoutLedger.fromJSON([good])).toBeDefined();
    for (const bad of [
      null,
      {},
      'x',
      [{ ...good, code: 'ORCH-9999' }],
      [{ ...good, untilMs: '1' }],
      [{ ...good, sender: 1 }],
      [null],
      Array.from({ length: lockoutsMax + 1 }, () => good),
    ]) {
      expect(LockoutLedger.fromJSON(bad)).toBeUndefined();
    }
  });

  it('is bounded, and lets go of what ends first', () => {
    const ledger = new LockoutLedger();
    for (let each = 0; each <= lockoutsMax; each += 1) {
      ledger.note(`agent-${each}`, 'ORCH-8010', nowMs + each);
    }
    expect(ledger.toJSON()).toHaveLength(lockoutsMax);
    expect(ledger.isLockedOut('agent-0', nowMs)).toBe(false);
    expect(ledger.isLockedOut('agent-1', nowMs)).toBe(true);
    expect(ledger.isLockedOut(`agent-${lockoutsMax}`, nowMs)).toBe(true);
  });
});
