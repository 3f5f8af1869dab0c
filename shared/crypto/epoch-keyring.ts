/**
 * The secrets of a member's channels, several epochs of each: announced ones, the one that senders use,
 * and older ones that are only opened. An activation switches the one in use and never goes back
 * (invariant 6); a closed epoch's secret is overwritten. The keyring always holds `notices`.
 *
 * A chain of events goes on across a switch: the epoch is part of the key derivation, so the next
 * counter stands under another key, and no counter is handed out twice in one incarnation anyway.
 */

import type { EpochStanding } from '#schemas/epoch.ts';
import { equalConstantTime } from './bytes.ts';
import { assertLength, invariant } from './errors.ts';
import { channelSecretBytes } from './key-schedule.ts';
import { noticesSecret, type ChannelKeyring } from './keyring.ts';
import type { CryptoProvider } from './provider.ts';
import { Secret } from './secret.ts';

/** What a keyring knows of an epoch: `over` for good, or `unknown` and possibly to be fetched. */
export type EpochKnowledge = 'held' | 'over' | 'unknown';

export interface HeldSecret {
  readonly channel: string;
  readonly epoch: number;
  readonly standing: EpochStanding;
  /** 32 bytes, not a copy. */
  readonly secret: Uint8Array;
}

interface Held {
  readonly secret: Secret;
  standing: EpochStanding;
}

interface Channel {
  readonly held: Map<number, Held>;
  current: number | undefined;
  /** Every epoch up to here that is not held is over. */
  overTo: number;
  /** Over too, above that: epochs that were abandoned. */
  readonly abandoned: Set<number>;
}

const abandonedMax = 64;

export class EpochKeyring implements ChannelKeyring {
  readonly #channels = new Map<string, Channel>();
  readonly #notices: Secret;
  readonly #noticesName: { readonly channel: string; readonly epoch: number };

  constructor(crypto: CryptoProvider, mesh: string) {
    const { channel, epoch, secret } = noticesSecret(crypto, mesh);
    this.#noticesName = { channel, epoch };
    this.#notices = new Secret(secret);
  }

  secretOf({ channel, epoch }: { channel: string; epoch: number }): Uint8Array | undefined {
    if (channel === this.#noticesName.channel) {
      return epoch === this.#noticesName.epoch ? this.#notices.reveal() : undefined;
    }
    return this.#channels.get(channel)?.held.get(epoch)?.secret.reveal();
  }

  currentEpoch(channel: string): number | undefined {
    if (channel === this.#noticesName.channel) return this.#noticesName.epoch;
    return this.#channels.get(channel)?.current;
  }

  /**
   * Holds a copy of a secret of 32 bytes. False, and nothing changes, where the epoch is over or
   * another secret is held for it: an epoch has one secret.
   */
  hold({ channel, epoch, standing, secret }: HeldSecret): boolean {
    assertLength(secret, channelSecretBytes, 'a channel secret');
    invariant(channel !== this.#noticesName.channel, 'the notices channel has no epochs');
    const known = this.#channelOf(channel);
    const held = known.held.get(epoch);
    if (held !== undefined) return equalConstantTime(held.secret.reveal(), secret);
    if (this.knows({ channel, epoch }) === 'over') return false;
    known.held.set(epoch, { secret: new Secret(new Uint8Array(secret)), standing });
    if (standing === 'active') this.activate(channel, epoch);
    return true;
  }

  /** Senders use the epoch from here on. False where it is not held, or a later one is in use. */
  activate(channel: string, epoch: number): boolean {
    const known = this.#channels.get(channel);
    const held = known?.held.get(epoch);
    if (known === undefined || held === undefined) return false;
    if (known.current !== undefined && known.current > epoch) {
      held.standing = 'superseded';
      return false;
    }
    for (const [number, other] of known.held) if (number < epoch) other.standing = 'superseded';
    held.standing = 'active';
    known.current = epoch;
    return true;
  }

  /** Overwrites the secrets of the epoch and of every superseded one before it. */
  close(channel: string, epoch: number): void {
    const known = this.#channelOf(channel);
    for (const number of known.held.keys()) {
      const isOlder = number < epoch && known.held.get(number)?.standing === 'superseded';
      if (number === epoch || isOlder) this.#wipe(known, number);
    }
    known.overTo = Math.max(known.overTo, epoch);
  }

  /** Everything below an epoch is over: who keeps all that is not told so. */
  beginAt(channel: string, epoch: number): void {
    const known = this.#channelOf(channel);
    known.overTo = Math.max(known.overTo, epoch - 1);
  }

  /** An announced epoch that never came into use. */
  abandon(channel: string, epoch: number): void {
    const known = this.#channelOf(channel);
    this.#wipe(known, epoch);
    known.abandoned.add(epoch);
    const [oldest] = known.abandoned;
    if (known.abandoned.size > abandonedMax && oldest !== undefined) known.abandoned.delete(oldest);
  }

  knows({ channel, epoch }: { channel: string; epoch: number }): EpochKnowledge {
    if (this.secretOf({ channel, epoch }) !== undefined) return 'held';
    const known = this.#channels.get(channel);
    const isOver =
      channel === this.#noticesName.channel ||
      (known !== undefined && (epoch <= known.overTo || known.abandoned.has(epoch)));
    return isOver ? 'over' : 'unknown';
  }

  /** All that is held but the notices channel's, by channel, the highest epoch first. */
  held(): HeldSecret[] {
    return [...this.#channels].flatMap(([channel, { held }]) =>
      [...held]
        .toSorted(([left], [right]) => right - left)
        .map(([epoch, { secret, standing }]) => ({
          channel,
          epoch,
          standing,
          secret: secret.reveal(),
        })),
    );
  }

  /** Overwrites everything; only the notices channel stays. */
  wipe(): void {
    for (const known of this.#channels.values()) {
      for (const epoch of known.held.keys()) this.#wipe(known, epoch);
    }
    this.#channels.clear();
  }

  #wipe(known: Channel, epoch: number): void {
    known.held.get(epoch)?.secret.wipe();
    known.held.delete(epoch);
    if (known.current === epoch) known.current = undefined;
  }

  #channelOf(name: string): Channel {
    const known = this.#channels.get(name);
    if (known !== undefined) return known;
    const channel = {
      held: new Map(),
      current: undefined,
      overTo: 0,
      abandoned: new Set<number>(),
    };
    this.#channels.set(name, channel);
    return channel;
  }
}
