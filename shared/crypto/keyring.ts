/**
 * The channel secrets that an agent holds, by channel and epoch, and their wrapping for one
 * recipient.
 *
 * Wrapping: ML-KEM-1024 to the recipient's key (FIPS 203); HKDF-SHA256 with ikm = shared secret,
 * salt = "gyre/v1/keyring", info = recipient ‖ recipient's key id ‖ SHA3-256(KEM ciphertext), each
 * behind its length, to key 32 ‖ nonce 12; ChaCha20-Poly1305 over the canonical MessagePack of the
 * secrets with "gyre/v1/keyring" ‖ recipient as additional data. Every wrapping has a fresh shared
 * secret, so the nonce is used once. Who wrapped it is not said here: the carrier is signed.
 */
import { Bytes, compile, KebabName, List, StrictObject, Uint } from '#schemas/primitives.ts';
import type { Static } from '#schemas/primitives.ts';
import { wrappedKeyringValidator } from '#schemas/frame.ts';
import type { WrappedKeyring } from '#schemas/frame.ts';
import { concat, lengthPrefixed, utf8 } from './bytes.ts';
import { decodeCanonical, encodeCanonical } from './canonical-msgpack.ts';
import { assertLength, invariant } from './errors.ts';
import type { KemPublicKey, KemSecretKey } from './key-handle.ts';
import { channelSecretBytes } from './key-schedule.ts';
import type { CryptoProvider } from './provider.ts';
import { Secret } from './secret.ts';

/** Secrets in one wrapped keyring, at the most: what fits 64 KiB with the longest names. */
export const keyringEntriesMax = 480;

/** The one epoch of the notices channel. */
export const noticesEpoch = 0;

/**
 * The secret of the notices channel: derived from the mesh's name, so it keeps nothing from anyone.
 * What stands there is public and signed (documents, prekeys, epochs); the frame is the same as
 * everywhere, so that order, replay and audit are too.
 */
export function noticesSecret(crypto: CryptoProvider, mesh: string): ChannelSecret {
  const ikm = utf8(`gyre/v1/notices/${mesh}`);
  const info = utf8('public');
  const secret = crypto.hkdfSha256({ ikm, salt: utf8('gyre/v1/channel'), info, outputBytes: 32 });
  return { channel: 'notices', epoch: noticesEpoch, secret };
}

/** Where channel secrets come from. Epochs change behind it. */
export interface ChannelKeyring {
  /** The 32-byte secret of a channel in an epoch, not a copy; undefined where it is not held. */
  secretOf(name: { readonly channel: string; readonly epoch: number }): Uint8Array | undefined;
  /** The epoch to seal under; undefined where no secret of the channel is held. */
  currentEpoch(channel: string): number | undefined;
}

const ChannelSecretEntry = StrictObject({
  channel: KebabName(),
  epoch: Uint(),
  secret: Bytes(channelSecretBytes),
});
const Entries = List(ChannelSecretEntry, { itemsMax: keyringEntriesMax });
const entriesValidator = compile(Entries);

/** One channel secret: 32 bytes of one channel in one epoch. */
export type ChannelSecret = Static<typeof ChannelSecretEntry>;

/** A keyring with fixed contents. Takes copies; the highest epoch of a channel is the current one. */
export class StaticKeyring implements ChannelKeyring {
  readonly #channels = new Map<string, Map<number, Secret>>();

  /** Distinct channel and epoch pairs; each secret 32 bytes. */
  constructor(entries: Iterable<ChannelSecret>) {
    for (const { channel, epoch, secret } of entries) {
      assertLength(secret, channelSecretBytes, 'a channel secret');
      const epochs = this.#channels.get(channel) ?? new Map<number, Secret>();
      invariant(!epochs.has(epoch), 'one secret per channel and epoch');
      epochs.set(epoch, new Secret(new Uint8Array(secret)));
      this.#channels.set(channel, epochs);
    }
  }

  secretOf(name: { readonly channel: string; readonly epoch: number }): Uint8Array | undefined {
    return this.#channels.get(name.channel)?.get(name.epoch)?.reveal();
  }

  currentEpoch(channel: string): number | undefined {
    const epochs = this.#channels.get(channel);
    return epochs === undefined ? undefined : Math.max(...epochs.keys());
  }

  /** The channels of which a secret is held, sorted. */
  channels(): string[] {
    return [...this.#channels.keys()].toSorted();
  }

  /** Overwrites every secret; the keyring is empty afterwards. */
  wipe(): void {
    for (const epochs of this.#channels.values()) {
      for (const secret of epochs.values()) secret.wipe();
    }
    this.#channels.clear();
  }
}

/** Why a wrapped keyring cannot be used. */
export type UnwrapRefusal =
  /** Not a wrapped keyring, or its contents are no list of secrets. */
  | 'KEYRING_MALFORMED'
  /** Not wrapped for this recipient and key, or changed since. */
  | 'UNWRAP_FAILED';

export type UnwrapResult =
  | { readonly ok: true; readonly keyring: StaticKeyring }
  | { readonly ok: false; readonly code: UnwrapRefusal };

/** Wraps at most 480 secrets for one recipient. */
export function wrapKeyring(
  crypto: CryptoProvider,
  input: {
    readonly entries: readonly ChannelSecret[];
    /** Agent id of the recipient. */
    readonly recipient: string;
    readonly recipientKey: KemPublicKey;
  },
): WrappedKeyring {
  const { entries, recipient, recipientKey } = input;
  invariant(entriesValidator.check(entries), 'at most 480 well-formed channel secrets');
  const { ciphertext: kemCiphertext, sharedSecret } = crypto.encapsulate(recipientKey);
  const scope = { recipient, keyId: recipientKey.keyId, kemCiphertext };
  const keys = deriveWrappingKeys(crypto, sharedSecret, scope);
  const plaintext = encodeCanonical(entries);
  const ciphertext = crypto.aeadSeal({ ...keys, plaintext });
  for (const secret of [sharedSecret, keys.key, plaintext]) secret.fill(0);
  return { kemCiphertext, ciphertext };
}

/** Opens a wrapped keyring of any origin with the recipient's key. Never throws for what came in. */
export function unwrapKeyring(
  crypto: CryptoProvider,
  input: {
    readonly wrapped: unknown;
    readonly recipient: string;
    readonly recipientKey: KemSecretKey;
  },
): UnwrapResult {
  const { wrapped, recipient, recipientKey } = input;
  if (!wrappedKeyringValidator.check(wrapped)) return { ok: false, code: 'KEYRING_MALFORMED' };
  const { kemCiphertext, ciphertext } = wrapped;
  const sharedSecret = crypto.decapsulate(recipientKey, kemCiphertext);
  const scope = { recipient, keyId: recipientKey.publicKey.keyId, kemCiphertext };
  const keys = deriveWrappingKeys(crypto, sharedSecret, scope);
  const plaintext = crypto.aeadOpen({ ...keys, ciphertext });
  for (const secret of [sharedSecret, keys.key]) secret.fill(0);
  if (plaintext === undefined) return { ok: false, code: 'UNWRAP_FAILED' };
  const decoded = decodeCanonical(plaintext);
  const entries = decoded.ok ? decoded.value : undefined;
  const result: UnwrapResult =
    entriesValidator.check(entries) && areDistinct(entries)
      ? { ok: true, keyring: new StaticKeyring(entries) }
      : { ok: false, code: 'KEYRING_MALFORMED' };
  plaintext.fill(0);
  return result;
}

function areDistinct(entries: readonly ChannelSecret[]): boolean {
  return (
    new Set(entries.map(({ channel, epoch }) => `${epoch} ${channel}`)).size === entries.length
  );
}

const label = utf8('gyre/v1/keyring');

function deriveWrappingKeys(
  crypto: CryptoProvider,
  sharedSecret: Uint8Array,
  scope: {
    readonly recipient: string;
    readonly keyId: Uint8Array;
    readonly kemCiphertext: Uint8Array;
  },
) {
  const recipient = utf8(scope.recipient);
  const output = crypto.hkdfSha256({
    ikm: sharedSecret,
    salt: label,
    info: lengthPrefixed(recipient, scope.keyId, crypto.sha3_256(scope.kemCiphertext)),
    outputBytes: 44,
  });
  return {
    algorithm: 'ChaCha20-Poly1305' as const,
    key: output.subarray(0, 32),
    nonce: output.slice(32),
    aad: concat(label, recipient),
  };
}
