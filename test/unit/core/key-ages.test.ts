import { describe, expect, it } from 'vitest';
import { slotDefinitions } from '#schemas/layers.ts';
import { keyAges } from '#shared/core/key-ages.ts';
import { nowMs, policyOf } from './mesh.ts';

const dayMs = 24 * 3_600_000;
const session = { slot: '3/session-ticket', activatedAtMs: nowMs - dayMs };

describe('the ages of keys', () => {
  it('are due in the last tenth of their time and overdue after it', () => {
    const policy = policyOf();
    const states = [0, 0.89, 0.9, 0.999, 1, 30].map((days) => {
      const [age] = keyAges([session], policy, session.activatedAtMs + days * dayMs);
      return age?.state;
    });
    expect(states).toEqual(['fresh', 'fresh', 'due', 'due', 'overdue', 'overdue']);
  });

  it('follow the rule of their slot, and there is one for every slot', () => {
    const slots = slotDefinitions.map(({ slot }) => ({ slot, activatedAtMs: nowMs }));
    const ages = keyAges(slots, policyOf(), nowMs);
    expect(ages.map(({ slot }) => slot)).toEqual(slots.map(({ slot }) => slot));
    const days = Object.fromEntries(
      ages.map(({ slot, overAgeAtMs }) => [slot, (overAgeAtMs - nowMs) / dayMs]),
    );
    expect(days).toMatchObject({
      '1/identity-signature': 90,
      '2/nonce-mac': 30,
      '3/session-ticket': 1,
      '4/root-kek': 30,
      '6/patient-mac': 180,
    });
  });

  it('are nobody’s where the slot is unknown', () => {
    expect(keyAges([{ slot: '9/other', activatedAtMs: 0 }], policyOf(), nowMs)).toEqual([]);
  });
});
