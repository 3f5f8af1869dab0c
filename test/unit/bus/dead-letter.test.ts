/** Dead letters: what goes in comes out, and rubbish does not. */
import { encode } from '@msgpack/msgpack';
import { describe, expect, it } from 'vitest';
import { messageBytesMax, publishBytesMax } from '#shared/bus/bus.ts';
import { decodeDeadLetter, encodeDeadLetter } from '#shared/bus/dead-letter.ts';

const letter = {
  stream: 'GYRE_CONTROL',
  subject: 'gyre.v1.dev.step.1.layer-1',
  sequence: 7,
  messageId: 'id',
  deliveries: 20,
  reason: 'ATTEMPTS_EXHAUSTED',
  data: Uint8Array.of(0, 255, 1),
} as const;

describe('dead letters', () => {
  it('keep the message as it was, up to the largest', () => {
    expect(decodeDeadLetter(encodeDeadLetter(letter))).toEqual(letter);
    const subject = 's'.repeat(255);
    const reason = 'r'.repeat(200);
    const largest = { ...letter, subject, reason, data: new Uint8Array(messageBytesMax) };
    expect(encodeDeadLetter(largest).length).toBeLessThanOrEqual(publishBytesMax);
    expect(decodeDeadLetter(encodeDeadLetter(largest))).toEqual(largest);
  });

  it('bound and clean the reason that a handler gives', () => {
    const reason = `two\nlines\u0000${'x'.repeat(300)}`;
    const decoded = decodeDeadLetter(encodeDeadLetter({ ...letter, reason }));
    expect(decoded?.reason).toBe(`two lines ${'x'.repeat(190)}`);
  });

  it('take a reason and an id that are no text', () => {
    const odd = { ...letter, reason: '\ufeffcut \ud800', messageId: '\ufeff\udc00' };
    const decoded = decodeDeadLetter(encodeDeadLetter(odd));
    expect(decoded).toEqual({ ...letter, reason: ' cut \ufffd', messageId: '\ufffd' });
  });

  it('cost no memory for a list that is declared and not there', () => {
    const before = process.memoryUsage().heapTotal;
    expect(decodeDeadLetter(Uint8Array.of(0xdd, 0x01, 0xff, 0xff, 0xff))).toBeNull();
    expect(process.memoryUsage().heapTotal - before).toBeLessThan(32 * 1024 * 1024);
  });

  it.each([
    ['nothing', new Uint8Array()],
    ['noise', Uint8Array.of(0xc1, 0xff)],
    ['another shape', encode({ ...letter, extra: 1 })],
    ['another stream', encode({ ...letter, stream: 'OTHER' })],
    ['too much', new Uint8Array(publishBytesMax + 1)],
  ])('are not found in %s', (_name, bytes) => {
    expect(decodeDeadLetter(bytes)).toBeNull();
  });
});
