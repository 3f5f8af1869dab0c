import { expect, test } from 'vitest';
import { slotDefinitions } from '#schemas/layers.ts';
import { renderKeys } from '#cli/keys/commands.ts';
import { plainStyle } from '#cli/style.ts';

const atMs = Date.UTC(2027, 0, 15);

test('a list of keys says from when on each is over age', () => {
  const key = {
    slot: '3/session-ticket',
    keyKind: 'aead' as const,
    algorithm: 'AES-256-GCM',
    version: 2,
    keyId: 'ab'.repeat(32),
    publicDigest: 'ab'.repeat(32),
    activatedAtMs: atMs,
    frozen: false,
    accepted: [2, 1],
  };
  const aged = (state: 'fresh' | 'due' | 'overdue') => ({
    ...key,
    age: { rule: 'session_keys' as const, overAgeAtMs: atMs + 24 * 3_600_000, state },
  });
  const [head, ...lines] = renderKeys(
    [aged('fresh'), aged('due'), aged('overdue'), key],
    plainStyle,
  ).split('\n');
  expect(head).toContain('over age');
  expect(lines.map((line) => /2027-01-16( \w+)?/.exec(line)?.[0])).toEqual([
    '2027-01-16',
    '2027-01-16 due',
    '2027-01-16 overdue',
    undefined,
  ]);
});

test('the list fits into 100 columns, with two versions accepted and a key that is overdue', () => {
  const slots = slotDefinitions.map(({ slot, keyKind, algorithm }) => ({
    slot,
    keyKind,
    algorithm,
    version: 12,
    keyId: 'ab'.repeat(32),
    publicDigest: 'ab'.repeat(32),
    activatedAtMs: atMs,
    frozen: false,
    reservedBy: 'rot-0123456789abcdef',
    accepted: [12, 11],
    age: { rule: 'session_keys' as const, overAgeAtMs: atMs, state: 'overdue' as const },
  }));
  const lines = renderKeys(slots, plainStyle).split('\n');
  expect(lines).toHaveLength(2 * slots.length + 1);
  expect(lines.filter((line) => line.length > 100)).toEqual([]);
});
