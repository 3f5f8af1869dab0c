/**
 * The sending side of a sender's chains: one chain per audience and lane, within one incarnation.
 *
 * Invariants: a counter is handed out once, ever, so that no nonce repeats; `previous` names the
 * last event of the chain that was really published. An event that the bus refused has burned its
 * counter but is no link. Therefore a chain has at most one undecided event: the next is sealed when
 * the one before is `accepted` or `refused` (`CHAIN_BUSY` otherwise). After 2^20 messages, or beyond
 * 4,096 chains, the incarnation is spent (`CHANNEL_EXHAUSTED`): make a new `SenderChain`.
 */
import { chainMessagesMax, protocolVersion, suiteId } from '#schemas/frame.ts';
import type { Header, Lane } from '#schemas/frame.ts';
import { sealBatchAsync } from './batch.ts';
import type { SealedBatch } from './batch.ts';
import { CryptoError, invariant } from './errors.ts';
import { seal } from './envelope.ts';
import type { SealedEvent } from './envelope.ts';
import type { SigningKey } from './key-handle.ts';
import type { ChannelKeyring } from './keyring.ts';
import type { CryptoProvider } from './provider.ts';

/** Audiences times lanes of one incarnation, at the most. */
export const chainsMax = 4096;
const incarnationBytes = 32;

export interface ChainName {
  readonly audience: string;
  readonly lane: Lane;
}

/** A counter and link of one chain, until it is decided whether the event was published. */
export interface ChainSlot {
  /** 1 to 2^20. */
  readonly counter: number;
  /** 32 bytes; zeros for the first event of the chain. Not to be changed. */
  readonly previous: Uint8Array;
  /** The event is published: it is the link of the next one. */
  accepted(statementHash: Uint8Array): void;
  /** The event is not published and never will be: the counter is burned, the link stays. */
  refused(): void;
}

/** What the caller says of an event; the chain adds the rest of the header. */
export type EventInput = Omit<
  Header,
  'version' | 'suite' | 'sender' | 'senderKeyId' | 'epoch' | 'incarnation' | 'counter' | 'previous'
> & { readonly body: unknown };

/** The same of a batch; each event encoded, within the bounds of `sealBatch`. */
export type BatchInput = Omit<EventInput, 'body'> & { readonly events: readonly Uint8Array[] };

/** Call exactly one of the two, once. */
interface Undecided {
  /** The bus has it (or the outbox, which never gives up). */
  accepted(): void;
  /** The bus refused it for good. */
  refused(): void;
}

/** A sealed event whose publication is undecided. */
export interface PendingEvent extends SealedEvent, Undecided {}
export interface PendingBatch extends SealedBatch, Undecided {}

export interface SenderChainOptions {
  readonly crypto: CryptoProvider;
  /** Agent id of the sender. */
  readonly sender: string;
  readonly signingKey: SigningKey;
  readonly keyring: ChannelKeyring;
}

interface ChainState {
  counter: number;
  previous: Uint8Array;
  undecided: boolean;
}

export class SenderChain {
  /** 32 random bytes, drawn here. */
  readonly incarnation: Uint8Array;
  readonly #options: SenderChainOptions;
  readonly #chains = new Map<string, ChainState>();

  constructor(options: SenderChainOptions) {
    this.#options = options;
    this.incarnation = options.crypto.randomBytes(incarnationBytes);
  }

  /**
   * Seals the next event of its chain. Throws `CryptoError`: `CHANNEL_UNKNOWN` (no secret for the
   * channel), `CHAIN_BUSY`, `CHANNEL_EXHAUSTED`, `NOT_ENCODABLE` (body or header; the counter is
   * burned, the chain goes on).
   */
  seal(input: EventInput): PendingEvent {
    const { body, ...fields } = input;
    const { crypto, signingKey } = this.#options;
    const { header, slot, channelSecret } = this.#begin(fields);
    try {
      return pending(seal(crypto, { header, body, signingKey, channelSecret }), slot);
    } catch (fault) {
      slot.refused();
      throw fault;
    }
  }

  /** Seals the next batch of its chain, signed in the thread pool. Throws as `seal`. */
  async sealBatch(input: BatchInput): Promise<PendingBatch> {
    const { events, ...fields } = input;
    const { crypto, signingKey } = this.#options;
    const { header, slot, channelSecret } = this.#begin(fields);
    try {
      const batch = { header, events, signingKey, channelSecret };
      return pending(await sealBatchAsync(crypto, batch), slot);
    } catch (fault) {
      slot.refused();
      throw fault;
    }
  }

  /** Hands out the next counter and link of a chain; `seal` does it for you. */
  next(name: ChainName): ChainSlot {
    const state = this.#stateOf(name);
    if (state.undecided) {
      throw new CryptoError('CHAIN_BUSY', 'the event before is neither accepted nor refused');
    }
    if (state.counter >= chainMessagesMax) {
      throw new CryptoError('CHANNEL_EXHAUSTED', 'this incarnation has sent 2^20 messages');
    }
    state.counter += 1;
    state.undecided = true;
    let decided = false;
    const decide = (): void => {
      invariant(!decided, 'an event is accepted or refused once');
      decided = true;
      state.undecided = false;
    };
    return {
      counter: state.counter,
      previous: state.previous,
      accepted: (statementHash) => {
        decide();
        state.previous = new Uint8Array(statementHash);
      },
      refused: decide,
    };
  }

  /** Secret, counter and header of what is sealed next. */
  #begin(fields: Omit<EventInput, 'body'>) {
    const { sender, signingKey, keyring } = this.#options;
    const { channel } = fields;
    const epoch = keyring.currentEpoch(channel);
    const channelSecret = epoch === undefined ? undefined : keyring.secretOf({ channel, epoch });
    if (epoch === undefined || channelSecret === undefined) {
      throw new CryptoError('CHANNEL_UNKNOWN', `no secret for channel ${channel}`);
    }
    const slot = this.next(fields);
    const header: Header = {
      ...fields,
      version: protocolVersion,
      suite: suiteId,
      sender,
      senderKeyId: signingKey.publicKey.keyId,
      epoch,
      incarnation: this.incarnation,
      counter: slot.counter,
      previous: slot.previous,
    };
    return { header, slot, channelSecret };
  }

  #stateOf({ audience, lane }: ChainName): ChainState {
    const name = `${lane} ${audience}`;
    const known = this.#chains.get(name);
    if (known !== undefined) return known;
    if (this.#chains.size >= chainsMax) {
      throw new CryptoError('CHANNEL_EXHAUSTED', `this incarnation has ${chainsMax} chains`);
    }
    const state = { counter: 0, previous: new Uint8Array(32), undecided: false };
    this.#chains.set(name, state);
    return state;
  }
}

function pending<Sealed extends SealedBatch>(sealed: Sealed, slot: ChainSlot): Sealed & Undecided {
  return {
    ...sealed,
    accepted: () => {
      slot.accepted(sealed.statementHash);
    },
    refused: () => {
      slot.refused();
    },
  };
}
