/**
 * What is kept of a message that nobody could work off: where it came from, why it was given up,
 * and its bytes as they were. Canonical MessagePack, at most `messageBytesMax` plus 4 KiB.
 */
import {
  BytesMax,
  compile,
  IntegerRange,
  OneOf,
  StrictObject,
  Text,
  Type,
  Uint,
} from '#schemas/primitives.ts';
import type { Static } from '#schemas/primitives.ts';
import { decodeCanonical, encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { messageBytesMax, publishBytesMax, streamNames } from './bus.ts';

const reasonCharsMax = 200;

export const DeadLetter = StrictObject({
  stream: OneOf(streamNames),
  subject: Type.String({ minLength: 1, maxLength: 255 }),
  sequence: IntegerRange({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  messageId: Type.String({ maxLength: 255 }),
  deliveries: Uint(),
  reason: Text(reasonCharsMax),
  data: BytesMax(messageBytesMax),
});
export type DeadLetter = Static<typeof DeadLetter>;

const validator = compile(DeadLetter);

/** The reason given when a message was delivered too often. */
export const attemptsExhausted = 'ATTEMPTS_EXHAUSTED';

/** A longer reason is cut, and what is no text is replaced: a handler made it, and a sender the id. */
export function encodeDeadLetter(letter: DeadLetter): Uint8Array {
  const reason = letter.reason.replace(/[\p{Cc}\ufeff]/gu, ' ').slice(0, reasonCharsMax);
  return encodeCanonical({
    ...letter,
    reason: reason.toWellFormed(),
    messageId: letter.messageId.replace(/^\ufeff+/u, '').toWellFormed(),
  });
}

/** The dead letter in the bytes, or null when they hold none. */
export function decodeDeadLetter(bytes: Uint8Array): DeadLetter | null {
  if (bytes.length > publishBytesMax) return null;
  const decoded = decodeCanonical(bytes);
  return decoded.ok && validator.check(decoded.value) ? decoded.value : null;
}
