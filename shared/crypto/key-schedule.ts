/**
 * From a channel secret to the key, base nonce and commitment of one sender's chain.
 *
 * HKDF-SHA256 (RFC 5869) with ikm = the 32-byte secret of channel and epoch, salt =
 * "gyre/v1/channel", info = channel, epoch (8 bytes), sender, incarnation, audience, lane, each
 * behind its two-byte length; output 76 bytes: key 32 ‖ base nonce 12 ‖ commitment 32.
 *
 * Invariant: no nonce repeats under one key. Counters run per audience and lane, therefore both are
 * in `info`; a restart draws another incarnation, therefore no counter has to survive it.
 */
import { chainMessagesMax } from '#schemas/frame.ts';
import type { Header } from '#schemas/frame.ts';
import { lengthPrefixed, uint64, utf8 } from './bytes.ts';
import { assertLength, invariant } from './errors.ts';
import type { CryptoProvider } from './provider.ts';

/** Secret of one channel in one epoch. */
export const channelSecretBytes = 32;

const salt = utf8('gyre/v1/channel');
const keyBytes = 32;
const nonceBytes = 12;
const commitmentBytes = 32;

/** The part of a header that selects a key. */
export type KeyScope = Pick<
  Header,
  'channel' | 'epoch' | 'sender' | 'incarnation' | 'audience' | 'lane'
>;

export interface ChannelKeys {
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** 12 bytes. */
  readonly baseNonce: Uint8Array;
  /** 32 bytes: sent with every frame, so that a ciphertext opens under one key only. */
  readonly commitment: Uint8Array;
  /** Overwrites key and base nonce (the commitment is public). */
  wipe(): void;
}

/** Derives the keys of `scope` from a channel secret of 32 bytes. The caller wipes them. */
export function deriveChannelKeys(
  crypto: CryptoProvider,
  channelSecret: Uint8Array,
  scope: KeyScope,
): ChannelKeys {
  assertLength(channelSecret, channelSecretBytes, 'a channel secret');
  const output = crypto.hkdfSha256({
    ikm: channelSecret,
    salt,
    info: lengthPrefixed(
      utf8(scope.channel),
      uint64(scope.epoch),
      utf8(scope.sender),
      scope.incarnation,
      utf8(scope.audience),
      utf8(scope.lane),
    ),
    outputBytes: keyBytes + nonceBytes + commitmentBytes,
  });
  const key = output.subarray(0, keyBytes);
  const baseNonce = output.subarray(keyBytes, keyBytes + nonceBytes);
  return {
    key,
    baseNonce,
    commitment: output.slice(keyBytes + nonceBytes),
    wipe: () => {
      key.fill(0);
      baseNonce.fill(0);
    },
  };
}

/** The nonce of message `counter` (1 to 2^20): base nonce XOR counter, big-endian at the right. */
export function messageNonce(baseNonce: Uint8Array, counter: number): Uint8Array {
  assertLength(baseNonce, nonceBytes, 'a base nonce');
  invariant(
    Number.isInteger(counter) && counter >= 1 && counter <= chainMessagesMax,
    'a counter of 1 to 2^20',
  );
  const nonce = new Uint8Array(baseNonce);
  let rest = counter;
  for (let at = nonceBytes - 1; rest > 0; at -= 1) {
    nonce[at] = (nonce[at] ?? 0) ^ (rest & 0xff);
    rest >>>= 8;
  }
  return nonce;
}
