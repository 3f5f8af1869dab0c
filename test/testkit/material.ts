/**
 * What the cases are made from: keys, secrets and salts that follow from labels, so that everyone can
 * make them again and nobody takes them for secrets. Signatures are FIPS 204's deterministic ones,
 * because the entropy behind them is zero.
 */
import type { Header } from '#schemas/frame.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';

/** 32 bytes that follow from a label. */
export function labelled(label: string): Uint8Array {
  return crypto.sha3_256(utf8(`gyre testkit: ${label}`));
}

/** Every salt that a case draws is this one; signatures draw zeros behind it. */
let salts: Uint8Array[] = [];

export const crypto = createNobleProvider({
  randomBytes: (count) => salts.shift()?.slice(0, count) ?? new Uint8Array(count),
});

/** Runs `make` with one fixed salt to draw. */
export function withSalt<Result>(make: () => Result): Result {
  salts = [labelled('salt')];
  try {
    return make();
  } finally {
    salts = [];
  }
}

export const signingKey = crypto.importSigningSeed(labelled('identity of the sender'));
export const otherKey = crypto.importSigningSeed(labelled('identity of another agent'));
export const channelSecret = labelled('secret of the channel');

export const eventHeader: Header = {
  version: 1,
  suite: 1,
  lane: 'control',
  sender: 'op-2',
  senderKeyId: signingKey.publicKey.keyId,
  audience: 'operators',
  subject: 'gyre.v1.testkit.request.op-2',
  channel: 'operators',
  epoch: 1,
  incarnation: labelled('incarnation'),
  counter: 7,
  previous: labelled('event before'),
  registryVersion: 1,
  registryDigest: labelled('registry'),
  policyVersion: 1,
  policyDigest: labelled('policy'),
  type: 'plan-approved',
  schemaVersion: 1,
  timeMs: 1_800_000_000_000,
  expiresMs: 1_800_086_400_000,
  eventId: 'testkit-1',
};

export const batchHeader: Header = {
  ...eventHeader,
  lane: 'bulk',
  sender: 'database-a',
  audience: 'telemetry',
  subject: 'gyre.v1.testkit.telemetry.5.database-a',
  channel: 'telemetry',
  type: 'telemetry-batch',
};

export const eventBody = { planId: 'rot-1', planDigest: 'ab'.repeat(32) };
