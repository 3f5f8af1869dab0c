/**
 * What passes a proxy, read as the text protocol of NATS: which stored messages a client published,
 * and which of them a server acknowledged. The reading is independent of every producer's own books.
 */

export interface Acknowledged {
  readonly stream: string;
  readonly sequence: number;
  readonly subject: string;
  /** Name of the event, 64 hexadecimal digits, without the suffix of a repeated publish. */
  readonly messageId: string;
  /** The server had the message already. */
  readonly duplicate: boolean;
}

interface Published {
  readonly subject: string;
  readonly messageId: string;
}

/** Answers that are waited for on one connection; the oldest are forgotten. */
const awaitedMax = 16_384;
const lineBytesMax = 8 * 1024;
const messageIdPattern = /^Nats-Msg-Id: *([0-9a-f]{64})(?:\.\d+)?\r?$/im;
const crlf = Buffer.from('\r\n');

/** One connection, both ways. */
export class WireTap {
  readonly #awaited = new Map<string, Published>();
  readonly #fromClient: ProtocolReader;
  readonly #fromServer: ProtocolReader;

  constructor(onAcknowledged: (message: Acknowledged) => void) {
    this.#fromClient = new ProtocolReader((words, payload) => this.#published(words, payload));
    this.#fromServer = new ProtocolReader((words, payload) => {
      const known = this.#awaited.get(words[1] ?? '');
      if (known === undefined) return;
      this.#awaited.delete(words[1] ?? '');
      const ack = acknowledgement(payload, known);
      if (ack !== undefined) onAcknowledged(ack);
    });
  }

  clientSaid(chunk: Buffer): void {
    this.#fromClient.take(chunk);
  }

  serverSaid(chunk: Buffer): void {
    this.#fromServer.take(chunk);
  }

  #published(words: readonly string[], payload: Buffer): void {
    // HPUB <subject> <reply> <header bytes> <all bytes>: what is stored names itself in its header.
    const [verb, subject, reply, headerBytes] = words;
    if (verb !== 'HPUB' || words.length !== 5 || subject === undefined || reply === undefined)
      return;
    const head = payload.subarray(0, Number(headerBytes)).toString('latin1');
    const messageId = messageIdPattern.exec(head)?.[1];
    if (messageId === undefined) return;
    this.#awaited.set(reply, { subject, messageId });
    const [oldest] = this.#awaited.keys();
    if (this.#awaited.size > awaitedMax && oldest !== undefined) this.#awaited.delete(oldest);
  }
}

/** Splits one direction into its operations; calls `onMessage` for those that carry a payload. */
class ProtocolReader {
  readonly #onMessage: (words: readonly string[], payload: Buffer) => void;
  #rest: Buffer = Buffer.alloc(0);
  #lost = false;

  constructor(onMessage: (words: readonly string[], payload: Buffer) => void) {
    this.#onMessage = onMessage;
  }

  take(chunk: Buffer): void {
    if (this.#lost) return;
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    for (;;) {
      const end = this.#rest.indexOf(crlf, at);
      if (end < 0) {
        // INFO and CONNECT are the longest lines; what goes on for longer is not this protocol.
        this.#lost = this.#rest.length - at > lineBytesMax * 4;
        break;
      }
      const words = this.#rest.subarray(at, end).toString('latin1').split(' ');
      const bytes = payloadBytes(words);
      const next = bytes === undefined ? end + 2 : end + 2 + bytes + 2;
      if (next > this.#rest.length) break;
      if (bytes !== undefined)
        this.#onMessage(words, this.#rest.subarray(end + 2, end + 2 + bytes));
      at = next;
    }
    this.#rest = this.#rest.subarray(at);
  }
}

function payloadBytes(words: readonly string[]): number | undefined {
  const verb = words[0]?.toUpperCase();
  if (verb !== 'PUB' && verb !== 'HPUB' && verb !== 'MSG' && verb !== 'HMSG') return undefined;
  const bytes = Number(words.at(-1));
  return Number.isInteger(bytes) ? bytes : undefined;
}

function acknowledgement(payload: Buffer, published: Published): Acknowledged | undefined {
  let answer: unknown;
  try {
    answer = JSON.parse(payload.toString('utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (typeof answer !== 'object' || answer === null || 'error' in answer) return undefined;
  if (!('stream' in answer) || !('seq' in answer) || typeof answer.stream !== 'string') {
    return undefined;
  }
  const duplicate = 'duplicate' in answer && answer.duplicate === true;
  return { ...published, stream: answer.stream, sequence: Number(answer.seq), duplicate };
}
