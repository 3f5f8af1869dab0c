/**
 * Where channel secrets come from, by channel and epoch; a keyring with fixed contents, and the one
 * secret that keeps nothing from anyone.
 */
import { utf8 } from './bytes.ts';
import { assertLength, invariant } from './errors.ts';
import { channelSecretBytes } from './key-schedule.ts';
import type { CryptoProvider } from './provider.ts';
import { Secret } from './secret.ts';

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

/** One channel secret: 32 bytes of one channel in one epoch. */
export interface ChannelSecret {
  readonly channel: string;
  readonly epoch: number;
  readonly secret: Uint8Array;
}

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
