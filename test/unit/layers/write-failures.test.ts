/**
 * Layers 1 and 2 while their disk takes nothing: what was not kept does not hold, neither for whoever
 * asked nor for the next one, and all goes on where the disk goes on.
 */
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { IdentityStore } from '#agents/layers/1-identity/identity-store.ts';
import { Entitlements } from '#agents/layers/2-authorization/entitlements.ts';
import { ReplayStore } from '#agents/layers/2-authorization/replay-store.ts';
import { StoreKey } from '#agents/layers/embedded/store-key.ts';
import { ExpiryLedger } from '#agents/layers/service/expiry-ledger.ts';
import { Secret } from '#shared/crypto/secret.ts';
import { crypto } from '../../support/world.ts';
import { ManualClock } from '../runtime/manual-clock.ts';

const failed = { code: 'STORE_FAILED' };

function world() {
  const database = new DatabaseSync(':memory:');
  const clock = new ManualClock();
  const refuse = (isRefusing: boolean) =>
    database.exec(`PRAGMA query_only = ${isRefusing ? 'ON' : 'OFF'}`);
  return { database, clock, refuse, endMs: clock.nowMs() + 60_000 };
}

test('roles and those who have them', () => {
  const { database, refuse } = world();
  const entitlements = Entitlements.restore(database);
  entitlements.setRole('nurse', ['record:read']);
  entitlements.setSubject('nora', ['nurse']);
  refuse(true);
  const changes = [
    () => entitlements.setRole('surgeon', ['record:write']),
    () => entitlements.setRole('nurse', ['record:write']),
    () => entitlements.removeRole('nurse'),
    () => entitlements.setSubject('paul', ['nurse']),
    () => entitlements.removeSubject('nora'),
  ];
  for (const change of changes) expect(change).toThrow(expect.objectContaining(failed));
  refuse(false);
  // In memory as on the disk.
  for (const each of [entitlements, Entitlements.restore(database)]) {
    expect([each.hasRole('nurse'), each.hasRole('surgeon'), each.subjects]).toEqual([
      true,
      false,
      1,
    ]);
    expect(each.missing('nora', ['record:read'])).toBe(undefined);
    expect(each.missing('nora', ['record:write'])).toBe('record:write');
  }
});

test('used nonces', async () => {
  const { database, clock, refuse, endMs } = world();
  const store = ReplayStore.open({ database: () => database }, { clock });
  const spend = (first: number) =>
    store.spend({ id: new Uint8Array(16).fill(first), generation: 0, expiresAtMs: endMs });
  expect(await spend(1)).toBe('fresh');
  // The second of two that share a write fails: nobody is told that his is good, none is used up.
  database.exec(`CREATE TRIGGER fault BEFORE INSERT ON used_nonces WHEN NEW.id = x'${'03'.repeat(16)}'
    BEGIN SELECT RAISE(ABORT, 'no'); END`);
  const both = await Promise.allSettled([spend(2), spend(3)]);
  expect(both).toMatchObject([{ reason: failed }, { reason: failed }]);
  expect(store.count).toBe(1);
  refuse(true);
  await expect(spend(2)).rejects.toMatchObject(failed);
  refuse(false);
  expect(await Promise.all([spend(2), spend(2), spend(1)])).toEqual([
    'fresh',
    'replayed',
    'replayed',
  ]);
  expect(store.count).toBe(2);
  store.close();
});

test('until when a key is needed', () => {
  const { database, clock, refuse, endMs } = world();
  const ledger = ExpiryLedger.open({ database, clock, aheadMs: 1_000 });
  refuse(true);
  const note = () => ledger.note('1/session-token', 1, { expiresAtMs: endMs, count: 2 });
  expect(note).toThrow(expect.objectContaining(failed));
  expect(ledger.users('1/session-token', 1)).toBe(0);
  refuse(false);
  note();
  expect(ledger.users('1/session-token', 1)).toBe(2);
  // A later life knows of it, because the disk did before anything left.
  expect(ExpiryLedger.open({ database, clock, aheadMs: 1_000 }).users('1/session-token', 1)).toBe(
    1,
  );
});

test('users, and challenges that were used', () => {
  const { database, clock, refuse, endMs } = world();
  const secrets = new StoreKey(crypto, new Secret(crypto.randomBytes(32)));
  const store = IdentityStore.open({ disk: { database: () => database }, crypto, secrets });
  const [publicKey, secret] = [crypto.randomBytes(2_592), crypto.randomBytes(32)];
  store.enrol('nora', publicKey, secret);
  const used = {
    nonce: crypto.randomBytes(32),
    expiresAtMs: endMs,
    proof: crypto.randomBytes(32),
    usedAtMs: clock.nowMs(),
    session: { tokenId: 'token', endsAtMs: endMs, isMultiFactor: true },
  };
  const factor = { lastStep: 7, failures: 0, lockedUntilMs: 0 };
  refuse(true);
  for (const change of [
    () => store.use(used, 'nora', factor),
    () => store.remove('nora'),
    () => store.enrol('nora', publicKey, undefined),
  ]) {
    expect(change).toThrow(expect.objectContaining(failed));
  }
  expect(store.usedChallenge(used.nonce)).toBe(undefined);
  expect(store.user('nora')).toMatchObject({ hasSecondFactor: true, factor: { lastStep: 0 } });
  refuse(false);
  store.use(used, 'nora', factor);
  expect(store.usedChallenge(used.nonce)?.session).toEqual(used.session);
  // A secret that was changed on the disk does not keep its user here.
  database.prepare('UPDATE users SET totp = ?').run(crypto.randomBytes(80));
  store.remove('nora');
  expect(store.user('nora')).toBe(undefined);
  store.close();
});
