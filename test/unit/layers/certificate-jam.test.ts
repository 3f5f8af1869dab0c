/**
 * Somebody who had layer 2's socket at layer 1 for a while and had certificates made: what he leaves
 * behind keeps neither layer 2 from being certified nor an old identity key from being retired.
 */
import { rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  CertificateRegister,
  certificatesOfSlotMax,
} from '#agents/layers/1-identity/certificate-register.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { provePossession } from '#agents/layers/service/key-certificate.ts';
import { toBase64Url, toHex } from '#shared/crypto/bytes.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { serviceFolder } from '../../support/layer-service.ts';
import { crypto } from '../../support/world.ts';
import { ManualClock } from '../runtime/manual-clock.ts';
import {
  capabilitiesFor,
  codeOf,
  done,
  introspected,
  logIn,
  startLayers,
  turn,
  until,
  type Layers,
} from './identity-world.ts';

const slot = '2/capability-signature';
const identitySlot = '1/identity-signature';

let layers: Layers;
beforeAll(async () => {
  layers = await startLayers();
});
afterAll(() => layers.end());

/** A certificate for a key of the thief's own, over layer 2's socket. */
async function stolen(): Promise<string> {
  const secret = crypto.randomBytes(32);
  const publicKey = crypto.importSigningSeed(secret).publicKey.raw;
  const keyId = toHex(crypto.sha3_256(publicKey));
  const certified = { slot, keyId, publicKey };
  const open = { kind: 'signature' as const, slot, keyId, secret };
  const proof = toBase64Url(provePossession(crypto, open, certified));
  const body = { ...certified, publicKey: toBase64Url(publicKey), proof };
  const path = '/internal/v1/certificates';
  return codeOf(await layers.identity.asPeer(2).ask({ method: 'POST', path, body }));
}

async function steal(count: number): Promise<void> {
  for (let had = 0; had < count; had += 1) expect(await stolen()).toBe('ok');
  // So that the last signature is a while ago.
  await layers.clock.advance(10);
}

test('however many were made, the next turn is followed, and the old key goes', async () => {
  const adapter = await layers.identity.adapter();
  await steal(certificatesOfSlotMax + 6);
  expect(await adapter.usesLately(identitySlot, 1)).toBe(certificatesOfSlotMax);
  await turn(adapter, identitySlot, 2);
  await until(layers.clock, async () => (await adapter.usesLately(identitySlot, 1)) === 0);
  await until(layers.clock, async () => (await adapter.usesLately(identitySlot, 2)) === 1);
  await adapter.retire(identitySlot, 1);
  const [token = ''] = await capabilitiesFor(layers, await logIn(layers));
  expect(await introspected(layers, token)).toBe('ok');
  adapter.close();
});

test('also while layer 1 certifies nothing they are superseded', async () => {
  const adapter = await layers.identity.adapter();
  const { control } = layers.identity;
  await steal(5);
  expect(await adapter.usesLately(identitySlot, 2)).toBe(6);
  await turn(adapter, identitySlot, 3);
  await done(control, 'POST', '/v1/control/freeze', { slot: identitySlot, frozen: true });
  // Layer 2's own is left: there is no other for it yet.
  await until(layers.clock, async () => (await adapter.usesLately(identitySlot, 2)) === 1);
  await done(control, 'POST', '/v1/control/freeze', { slot: identitySlot, frozen: false });
  await until(layers.clock, async () => (await adapter.usesLately(identitySlot, 2)) === 0);
  await until(layers.clock, async () => (await adapter.usesLately(identitySlot, 3)) === 1);
  adapter.close();
});

test('a register is bounded for each slot, and the latest has its place in it', async () => {
  const folder = serviceFolder();
  const clock = new ManualClock();
  const ports = { disk: new SystemDisk(folder), crypto, clock };
  const keys = EmbeddedAdapter.open({ ...ports, layer: 1, usageWindowMs: 0 });
  const database = new DatabaseSync(':memory:');
  const register = CertificateRegister.open({ database, keys, crypto, clock });
  // As somebody left it who had more made than there may be by now.
  const row = database.prepare('INSERT INTO certificates VALUES (?, ?, ?, 1, ?, ?)');
  for (let count = 0; count < 2_000; count += 1) {
    row.run(`s-${count}`, slot, `k-${count}`, clock.nowMs() + 60_000, '{}');
  }
  const first = register.issue(slot, 'a'.repeat(64));
  expect(register.users(1)).toBe(certificatesOfSlotMax);
  register.keepOnly(slot, [first.body.serial]);
  // A certificate of the same key by the same issuer takes the place of the one before.
  await clock.advance(5 * 24 * 3_600_000);
  const second = register.issue(slot, 'a'.repeat(64));
  expect(second.body.serial).not.toBe(first.body.serial);
  expect(register.users(1)).toBe(1);
  keys.close();
  rmSync(folder, { recursive: true });
});
