import { describe, expect, test } from 'vitest';
import { slotDefinitions } from '#schemas/layers.ts';
import { renderKeys, shown } from '#cli/keys/commands.ts';
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

describe('what holds a slot or an older key', () => {
  const slot = '3/tls-certificate';
  const status = {
    slot,
    keyKind: 'signature' as const,
    algorithm: 'ML-DSA-87',
    version: 2,
    keyId: 'ab'.repeat(32),
    publicDigest: 'ab'.repeat(32),
    activatedAtMs: atMs,
    frozen: false,
    accepted: [2, 1],
    reservedBy: 'rot-1',
  };
  const old = { kind: 'key' as const, slot, planId: 'rot-1', version: 1, heldBy: [] };
  const linesOf = (...holds: Parameters<typeof shown>[1]) =>
    renderKeys([shown(status, holds)], plainStyle)
      .split('\n')
      .slice(2);

  test('is what the mesh says, and not the note that an agent keeps until the old key is gone', () => {
    expect(linesOf()).toEqual([]);
    expect(shown(status, [])).not.toHaveProperty('reservedBy');
    expect(linesOf({ kind: 'slot', slot, planId: 'rot-1' })).toEqual([
      '3/tls-certificate: reserved by rot-1',
    ]);
    expect(linesOf({ kind: 'slot', slot: '3/key-exchange', planId: 'rot-1' })).toEqual([]);
  });

  test('is the overlap, then who uses the key, then nobody', () => {
    expect(linesOf({ ...old, untilMs: atMs + 30_000 })).toEqual([
      '3/tls-certificate: v1 stays valid until 00:00:30Z, the overlap of rot-1',
    ]);
    expect(linesOf({ ...old, heldBy: [{ agentId: 'network-a', uses: 2 }] })).toEqual([
      '3/tls-certificate: v1 stays for 2 uses at network-a; rot-1 destroys it after that',
    ]);
    expect(linesOf(old)).toEqual(['3/tls-certificate: v1 is about to be destroyed by rot-1']);
    expect(shown(status, [old])).toMatchObject({ held: [{ planId: 'rot-1', version: 1 }] });
  });
});
