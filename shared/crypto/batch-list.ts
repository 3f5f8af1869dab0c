/**
 * The list of events inside a batch: canonical MessagePack, an array of 1 to 256 `bin` of 1 to 4,096
 * bytes. Read and written here directly, without values in between, because this is where the bulk
 * lane spends its time; each event's own bytes are not looked into.
 */
import { batchEventBytesMax, batchEventsMax } from '#schemas/frame.ts';

const fixArray = 0x90;
const array16 = 0xdc;
const bin8 = 0xc4;
const bin16 = 0xc5;
const fixArrayMax = 15;
const bin8Max = 255;

/** `offset` bytes of room, then the list. */
export function encodeEventList(events: readonly Uint8Array[], offset: number): Uint8Array {
  let size = offset + (events.length <= fixArrayMax ? 1 : 3);
  for (const { length } of events) size += (length <= bin8Max ? 2 : 3) + length;
  const bytes = new Uint8Array(size);
  let at = offset;
  if (events.length <= fixArrayMax) {
    bytes[at++] = fixArray | events.length;
  } else {
    bytes[at++] = array16;
    bytes[at++] = events.length >> 8;
    bytes[at++] = events.length & 0xff;
  }
  for (const event of events) {
    if (event.length <= bin8Max) {
      bytes[at++] = bin8;
    } else {
      bytes[at++] = bin16;
      bytes[at++] = event.length >> 8;
    }
    bytes[at++] = event.length & 0xff;
    bytes.set(event, at);
    at += event.length;
  }
  return bytes;
}

/** The events as views, or undefined where `bytes` are not the one encoding of such a list. */
export function parseEventList(bytes: Uint8Array): Uint8Array[] | undefined {
  const [head, high, low] = bytes;
  if (head === undefined) return undefined;
  const isShort = head !== array16;
  if (isShort && (head < fixArray || head > (fixArray | fixArrayMax))) return undefined;
  const count = isShort ? head - fixArray : ((high ?? 0) << 8) | (low ?? 0);
  const isCanonical = isShort ? count >= 1 : count > fixArrayMax && count <= batchEventsMax;
  if (!isCanonical) return undefined;
  const events: Uint8Array[] = [];
  let at = isShort ? 1 : 3;
  for (let index = 0; index < count; index += 1) {
    const type = bytes[at];
    const isBin8 = type === bin8;
    if (!isBin8 && type !== bin16) return undefined;
    const length = isBin8
      ? (bytes[at + 1] ?? 0)
      : ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    if (length < 1 || length > batchEventBytesMax || (!isBin8 && length <= bin8Max)) {
      return undefined;
    }
    const from = at + (isBin8 ? 2 : 3);
    at = from + length;
    if (at > bytes.length) return undefined;
    events.push(bytes.subarray(from, at));
  }
  return at === bytes.length ? events : undefined;
}
