/**
 * Secrets of epochs on their way: one for a one-time prekey of one member (a capsule), and several for
 * the key that an asker drew for one question. Both are the hybrid KEM X25519MLKEM1024
 * (`hybrid-kem.ts`), HKDF-SHA256 (RFC 5869) and ChaCha20-Poly1305 (RFC 8439).
 *
 * Capsule: ikm = shared secret, salt = "gyre/v1/epoch-capsule", info = mesh, channel, epoch (8 bytes),
 * agent id, prekey id (32), SHA3-256(KEM ciphertext), each behind its two-byte length; output key 32 ‖
 * nonce 12; the salt is the additional data. Every capsule has a fresh shared secret, so no nonce
 * repeats, and it opens for this member, channel and epoch alone.
 *
 * Commitment: SHA3-256 over "gyre/v1/epoch-secret", mesh, channel, epoch and secret, each behind its
 * length. It is what the signer states: a member that was given another secret sees it.
 */

import {
  EpochCapsule,
  EpochSecretsGiven,
  type EpochAnnouncementBody,
  type EpochSecretsAnswer,
} from '#schemas/epoch.ts';
import { compile } from '#schemas/primitives.ts';
import { concat, fromHex, lengthPrefixed, toHex, uint64, utf8 } from './bytes.ts';
import { decodeCanonical, encodeCanonical } from './canonical-msgpack.ts';
import { CryptoError, assertLength, invariant } from './errors.ts';
import {
  hybridDecapsulate,
  hybridEncapsulate,
  hybridPublicKey,
  hybridSizes,
} from './hybrid-kem.ts';
import { channelSecretBytes } from './key-schedule.ts';
import type { CryptoProvider } from './provider.ts';
import { documentDigest } from './signed-document.ts';

export interface EpochName {
  readonly mesh: string;
  readonly channel: string;
  readonly epoch: number;
}

/** A one-time key pair. Whoever holds it wipes `secret` after its use. */
export interface HybridKeyPair {
  /** 96 bytes. */
  readonly secret: Uint8Array;
  /** 1,600 bytes. */
  readonly publicKey: Uint8Array;
  /** SHA3-256 of the public key, hexadecimal. */
  readonly keyId: string;
}

const capsuleSalt = utf8('gyre/v1/epoch-capsule');
const answerSalt = utf8('gyre/v1/epoch-secrets');
const commitmentLabel = utf8('gyre/v1/epoch-secret');
const givenCheck = compile(EpochSecretsGiven);

/** Draws a key pair. */
export function newHybridKey(crypto: CryptoProvider): HybridKeyPair {
  const secret = crypto.randomBytes(hybridSizes.secret);
  const publicKey = hybridPublicKey(crypto, secret);
  return { secret, publicKey, keyId: toHex(crypto.sha3_256(publicKey)) };
}

/** 32 bytes, hexadecimal: what the announcement says of a secret of 32 bytes. */
export function secretCommitment(
  crypto: CryptoProvider,
  { mesh, channel, epoch }: EpochName,
  secret: Uint8Array,
): string {
  assertLength(secret, channelSecretBytes, 'a channel secret');
  const input = lengthPrefixed(commitmentLabel, utf8(mesh), utf8(channel), uint64(epoch), secret);
  const commitment = toHex(crypto.sha3_256(input));
  input.fill(0);
  return commitment;
}

/** SHA3-256 of the canonical MessagePack of a capsule, hexadecimal. */
export function capsuleDigest(crypto: CryptoProvider, capsule: EpochCapsule): string {
  return toHex(crypto.sha3_256(encodeCanonical(capsule)));
}

/** SHA3-256 over agents and their identity keys, hexadecimal: who may hold a channel's secret. */
export function entitledDigest(
  crypto: CryptoProvider,
  channel: string,
  agents: Iterable<{ readonly agentId: string; readonly keyId: string }>,
): string {
  const entitled = Array.from(agents, ({ agentId, keyId }) => ({
    agent_id: agentId,
    key_id: keyId,
  })).toSorted((left, right) => (left.agent_id < right.agent_id ? -1 : 1));
  return documentDigest(crypto, { kind: 'entitled', channel, agents: entitled });
}

/** @throws CryptoError KEY_INVALID, KEY_AGREEMENT_FAILED for a prekey that is none */
export function sealCapsule(
  crypto: CryptoProvider,
  input: EpochName & {
    readonly agentId: string;
    readonly prekey: { readonly prekeyId: string; readonly publicKey: Uint8Array };
    /** 32 bytes. */
    readonly secret: Uint8Array;
  },
): EpochCapsule {
  const { agentId, prekey, secret } = input;
  assertLength(secret, channelSecretBytes, 'a channel secret');
  const { ciphertext, sharedSecret } = hybridEncapsulate(crypto, prekey.publicKey);
  const { prekeyId } = prekey;
  const keys = capsuleKeys(crypto, sharedSecret, { ...input, agentId, prekeyId, ciphertext });
  const sealedSecret = crypto.aeadSeal({ ...keys, plaintext: secret });
  wipe(sharedSecret, keys.key);
  return { agentId, prekeyId, kemCiphertext: ciphertext, sealedSecret };
}

/** The secret of 32 bytes; undefined for a capsule that this prekey does not open. Never throws. */
export function openCapsule(
  crypto: CryptoProvider,
  input: EpochName & { readonly capsule: EpochCapsule; readonly prekey: HybridKeyPair },
): Uint8Array | undefined {
  const { capsule, prekey } = input;
  const { agentId, prekeyId, kemCiphertext: ciphertext, sealedSecret } = capsule;
  if (prekeyId !== prekey.keyId) return undefined;
  const sharedSecret = decapsulated(crypto, prekey.secret, ciphertext);
  if (sharedSecret === undefined) return undefined;
  const keys = capsuleKeys(crypto, sharedSecret, { ...input, agentId, prekeyId, ciphertext });
  const secret = crypto.aeadOpen({ ...keys, ciphertext: sealedSecret });
  wipe(sharedSecret, keys.key);
  return secret?.length === channelSecretBytes ? secret : undefined;
}

export type AnnouncementFault =
  | 'ANNOUNCEMENT_MISMATCH'
  /** Not one capsule per member in the same order, or not the one that the signer saw. */
  | 'CAPSULES_MISMATCH';

/** Whether the capsules of an entry are those that the announcement names. Signatures come apart. */
export function announcementFault(
  crypto: CryptoProvider,
  name: EpochName,
  { body, capsules }: { body: EpochAnnouncementBody; capsules: readonly EpochCapsule[] },
): AnnouncementFault | undefined {
  const { mesh, channel, epoch, members } = body;
  if (mesh !== name.mesh || channel !== name.channel || epoch !== name.epoch) {
    return 'ANNOUNCEMENT_MISMATCH';
  }
  const isSame =
    members.length === capsules.length &&
    new Set(members.map((member) => member.agent_id)).size === members.length &&
    capsules.every((capsule, index) => {
      const member = members[index];
      return (
        member?.agent_id === capsule.agentId &&
        member.capsule_digest === capsuleDigest(crypto, capsule)
      );
    });
  return isSame ? undefined : 'CAPSULES_MISMATCH';
}

/**
 * The sealed part of an answer to `epoch-secrets`: info = mesh, asker, SHA3-256(asker's key),
 * SHA3-256(KEM ciphertext). @throws CryptoError KEY_INVALID, KEY_AGREEMENT_FAILED
 */
export function sealSecrets(
  crypto: CryptoProvider,
  input: {
    readonly mesh: string;
    readonly asker: string;
    /** 1,600 bytes, drawn by the asker for this question. */
    readonly publicKey: Uint8Array;
    readonly secrets: EpochSecretsGiven;
  },
): Omit<EpochSecretsAnswer, 'announcements'> {
  const { publicKey, secrets } = input;
  invariant(givenCheck.check(secrets), 'well-formed secrets of a bounded number');
  const { ciphertext, sharedSecret } = hybridEncapsulate(crypto, publicKey);
  const keys = answerKeys(crypto, sharedSecret, { ...input, publicKey, ciphertext });
  const plaintext = encodeCanonical(secrets);
  const sealed = crypto.aeadSeal({ ...keys, plaintext });
  wipe(sharedSecret, keys.key, plaintext);
  return { kemCiphertext: ciphertext, sealed };
}

/** What an answer gives; undefined where it was not sealed for this key and asker. Never throws. */
export function openSecrets(
  crypto: CryptoProvider,
  input: {
    readonly mesh: string;
    readonly asker: string;
    readonly key: HybridKeyPair;
    readonly answer: Omit<EpochSecretsAnswer, 'announcements'>;
  },
): EpochSecretsGiven | undefined {
  const { key, answer } = input;
  const { kemCiphertext: ciphertext, sealed } = answer;
  const sharedSecret = decapsulated(crypto, key.secret, ciphertext);
  if (sharedSecret === undefined) return undefined;
  const scope = { ...input, publicKey: key.publicKey, ciphertext };
  const keys = answerKeys(crypto, sharedSecret, scope);
  const plaintext = crypto.aeadOpen({ ...keys, ciphertext: sealed });
  wipe(sharedSecret, keys.key);
  if (plaintext === undefined) return undefined;
  const decoded = decodeCanonical(plaintext);
  const given = decoded.ok && givenCheck.check(decoded.value) ? decoded.value : undefined;
  const owned = given?.map((entry) => ({ ...entry, secret: new Uint8Array(entry.secret) }));
  plaintext.fill(0);
  return owned;
}

function decapsulated(
  crypto: CryptoProvider,
  secret: Uint8Array,
  ciphertext: Uint8Array,
): Uint8Array | undefined {
  try {
    return hybridDecapsulate(crypto, secret, ciphertext);
  } catch (error) {
    // A ciphertext of another length, or a point of low order: nothing that was sealed for us.
    if (error instanceof CryptoError) return undefined;
    throw error;
  }
}

function capsuleKeys(
  crypto: CryptoProvider,
  sharedSecret: Uint8Array,
  scope: EpochName & { agentId: string; prekeyId: string; ciphertext: Uint8Array },
) {
  const { mesh, channel, epoch, agentId, prekeyId, ciphertext } = scope;
  return sealingKeys(crypto, sharedSecret, capsuleSalt, [
    utf8(mesh),
    utf8(channel),
    uint64(epoch),
    utf8(agentId),
    fromHex(prekeyId) ?? new Uint8Array(0),
    crypto.sha3_256(ciphertext),
  ]);
}

function answerKeys(
  crypto: CryptoProvider,
  sharedSecret: Uint8Array,
  scope: { mesh: string; asker: string; publicKey: Uint8Array; ciphertext: Uint8Array },
) {
  const { mesh, asker, publicKey, ciphertext } = scope;
  return sealingKeys(crypto, sharedSecret, answerSalt, [
    utf8(mesh),
    utf8(asker),
    crypto.sha3_256(publicKey),
    crypto.sha3_256(ciphertext),
  ]);
}

function sealingKeys(
  crypto: CryptoProvider,
  ikm: Uint8Array,
  salt: Uint8Array,
  parts: readonly Uint8Array[],
) {
  const info = lengthPrefixed(...parts);
  const output = crypto.hkdfSha256({ ikm, salt, info, outputBytes: 44 });
  return {
    algorithm: 'ChaCha20-Poly1305' as const,
    key: output.subarray(0, 32),
    nonce: output.slice(32),
    aad: concat(salt),
  };
}

function wipe(...secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0);
}
