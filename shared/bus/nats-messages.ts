/**
 * Messages as the server hands them over, by delivery or on request. The server is not trusted: numbers
 * that are none, headers that cannot be read and subjects that are no text are refused here, so that
 * nothing behind this compares or stores what has no order.
 */
import { errors, MsgHdrsImpl } from '@nats-io/transport-node';
import type { Msg, MsgHdrs } from '@nats-io/transport-node';
import { BusError } from './bus.ts';
import type { BusMessage } from './bus.ts';
import { isRecord } from './nats-link.ts';
import { messageIdOf } from './publisher.ts';

export interface Delivered {
  readonly message: BusMessage;
  /** Position among all deliveries of this consumer, from 1. */
  readonly deliverySequence: number;
  /** Subject on which the delivery is settled. */
  readonly reply: string;
}

const messageIdHeader = 'Nats-Msg-Id';

/**
 * A delivery from its settlement subject: `$JS.ACK.<stream>.<consumer>.<count>.<sequence>.<delivery
 * sequence>.<nanoseconds>.<pending>`, or the longer form with domain and account hash in front.
 * Undefined for what the server does not write so.
 */
export function deliveredOf(
  message: Pick<Msg, 'subject' | 'data' | 'reply' | 'headers'>,
): Delivered | undefined {
  const reply = message.reply ?? '';
  const tokens = reply.split('.');
  const from = tokens.length === 9 ? 4 : 6;
  const [deliveryCount, sequence, deliverySequence, timeNs] = [0, 1, 2, 3].map((index) =>
    wholeOf(tokens[from + index]),
  );
  if (
    deliveryCount === undefined ||
    sequence === undefined ||
    deliverySequence === undefined ||
    timeNs === undefined ||
    !Number.isSafeInteger(sequence) ||
    !Number.isSafeInteger(deliverySequence)
  ) {
    return undefined;
  }
  const messageId = readable(() => message.headers?.get(messageIdHeader) ?? '');
  if (messageId === undefined) return undefined;
  return {
    message: {
      subject: message.subject,
      data: new Uint8Array(message.data),
      messageId: messageIdOf(messageId),
      deliveryCount,
      sequence,
      timeMs: Math.floor(timeNs / 1_000_000),
    },
    deliverySequence,
    reply,
  };
}

/** A stored message in an answer of the API. @throws BusError BUS_REJECTED */
export function storedMessage(stored: unknown): BusMessage {
  if (!isRecord(stored)) throw nonsense();
  const { subject, seq: sequence, time } = stored;
  const encoded = bytesOf(stored['hdrs']);
  const messageId =
    encoded.length === 0 ? '' : readable(() => MsgHdrsImpl.decode(encoded).get(messageIdHeader));
  return readMessage({ subject, sequence, time, messageId, data: bytesOf(stored['data']) });
}

/** A message that was read directly: what it is stands in its headers. @throws BusError BUS_REJECTED */
export function directMessage(data: Uint8Array, headers: MsgHdrs): BusMessage {
  return readMessage({
    subject: headers.get('Nats-Subject'),
    sequence: wholeOf(headers.get('Nats-Sequence')),
    time: headers.get('Nats-Time-Stamp'),
    messageId: headers.get(messageIdHeader),
    data: new Uint8Array(data),
  });
}

function readMessage(read: {
  readonly subject: unknown;
  readonly sequence: unknown;
  readonly time: unknown;
  readonly messageId: string | undefined;
  readonly data: Uint8Array;
}): BusMessage {
  const { subject, sequence, time, messageId, data } = read;
  const timeMs = typeof time === 'string' ? Date.parse(time) : Number.NaN;
  const isPlaced = typeof sequence === 'number' && Number.isSafeInteger(sequence) && sequence >= 0;
  if (typeof subject !== 'string' || !isPlaced || Number.isNaN(timeMs)) throw nonsense();
  if (messageId === undefined) throw nonsense();
  return { subject, data, messageId: messageIdOf(messageId), sequence, deliveryCount: 1, timeMs };
}

/** What the client reads of headers, or undefined where they are none. */
function readable(read: () => string): string | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof errors.InvalidArgumentError) return undefined;
    throw error;
  }
}

function bytesOf(text: unknown): Uint8Array {
  return Uint8Array.from(Buffer.from(typeof text === 'string' ? text : '', 'base64'));
}

/** Times are in nanoseconds: beyond 2^53, so what is lost is below a microsecond. */
function wholeOf(token: string | undefined): number | undefined {
  return token !== undefined && /^\d{1,19}$/.test(token) ? Number(token) : undefined;
}

function nonsense(): BusError {
  return new BusError('BUS_REJECTED', 'the JetStream API answered nonsense');
}
