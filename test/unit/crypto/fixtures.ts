/** A sender, a channel and an event to seal: what the tests of the envelope start from. */
import type { Header } from '#schemas/frame.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { EventInput } from '#shared/crypto/sender-chain.ts';

export const filled = (byte: number, length = 32) => new Uint8Array(length).fill(byte);

export const crypto: CryptoProvider = createNativeProvider();
export const channelSecret = filled(0x11);
export const signingKey = crypto.importSigningSeed(filled(0x22));
export const verifyKey = crypto.importVerifyKey(signingKey.publicKey.raw);
export const otherKey = crypto.importSigningSeed(filled(0x33));

/** What a caller says of an event. */
export const event: Omit<EventInput, 'body'> = {
  lane: 'control',
  audience: 'saga',
  subject: 'gyre.v1.dev.saga.rotation.r1',
  channel: 'saga',
  registryVersion: 3,
  registryDigest: filled(0x44),
  policyVersion: 5,
  policyDigest: filled(0x55),
  type: 'plan-proposed',
  schemaVersion: 1,
  timeMs: 1_800_000_000_000,
  expiresMs: 1_800_000_060_000,
  eventId: 'r1-000001',
};

export const header: Header = {
  ...event,
  version: 1,
  suite: 1,
  sender: 'orchestrator-1',
  senderKeyId: signingKey.publicKey.keyId,
  epoch: 1,
  incarnation: filled(0x66),
  counter: 1,
  previous: filled(0),
};

export const body = { planId: 'p1', layers: [1, 2, 3], ratio: 0.5, proof: filled(7, 5) };
