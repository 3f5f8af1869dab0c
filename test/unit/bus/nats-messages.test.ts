/** Messages as a server hands them over that is not trusted: whole, or not at all. */
import { headers as newHeaders } from '@nats-io/transport-node';
import { describe, expect, it } from 'vitest';
import { deliveredOf, directMessage, storedMessage } from '#shared/bus/nats-messages.ts';

const subject = 'a.b';
const data = Uint8Array.of(1, 2);
const time = '2026-11-21T12:00:00.123456789Z';

const delivery = (reply: string) => deliveredOf({ subject, data, reply });

describe('deliveries', () => {
  it('are read from either form of settlement subject', () => {
    const expected = {
      message: { subject, data, messageId: '', deliveryCount: 2, sequence: 7, timeMs: 1_234 },
      deliverySequence: 5,
    };
    expect(delivery('$JS.ACK.S.C.2.7.5.1234000000.0')).toMatchObject(expected);
    expect(delivery('$JS.ACK._.hash.S.C.2.7.5.1234000000.0.x')).toMatchObject(expected);
  });

  it.each([
    '',
    '$JS.ACK.S.C',
    '$JS.ACK.S.C.1.x.1.1.0',
    '$JS.ACK.S.C.1.-7.1.1.0',
    '$JS.ACK.S.C.1.99999999999999999.1.1.0',
    '$JS.ACK.S.C.1.1e3.1.1.0',
  ])('are none with a reply like "%s"', (reply) => {
    expect(delivery(reply)).toBeUndefined();
  });
});

describe('stored messages', () => {
  const stored = { subject, seq: 9, data: 'AQI=', time };

  it('are read', () => {
    expect(storedMessage(stored)).toMatchObject({ subject, data, sequence: 9, messageId: '' });
  });

  it.each([
    null,
    'text',
    {},
    { ...stored, subject: 1 },
    { ...stored, seq: '9' },
    { ...stored, seq: Number.NaN },
    { ...stored, seq: -1 },
    { ...stored, time: 'later' },
    { ...stored, hdrs: Buffer.from('NATS/1.0\r\nbad name: 1\r\n\r\n').toString('base64') },
  ])('are refused as %j', (answer) => {
    expect(() => storedMessage(answer)).toThrow(
      expect.objectContaining({ code: 'BUS_REJECTED' }) as Error,
    );
  });

  it('need their headers where they are read directly', () => {
    const headers = newHeaders();
    expect(() => directMessage(data, headers)).toThrow(
      expect.objectContaining({ code: 'BUS_REJECTED' }) as Error,
    );
    headers.set('Nats-Subject', subject);
    headers.set('Nats-Sequence', '3');
    headers.set('Nats-Time-Stamp', time);
    expect(directMessage(data, headers)).toMatchObject({ subject, sequence: 3 });
  });
});
