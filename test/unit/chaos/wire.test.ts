/** The watch on the wire: it reads whatever the pieces, and counts only what a server acknowledged. */
import { describe, expect, it } from 'vitest';
import { WireTap, type Acknowledged } from '../../chaos/cluster/wire.ts';

const id = 'ab'.repeat(32);
const subject = 'a.b';

function published(reply: string, messageId: string, payload = 'xyz\r\nPUB a 3'): Buffer {
  const head = `NATS/1.0\r\nNats-Msg-Id: ${messageId}\r\nNats-Expected-Stream: S\r\n\r\n`;
  const sizes = `${head.length} ${head.length + payload.length}`;
  return Buffer.from(`HPUB ${subject} ${reply} ${sizes}\r\n${head}${payload}\r\n`);
}

function answered(inbox: string, answer: object): Buffer {
  const text = JSON.stringify(answer);
  return Buffer.from(`MSG ${inbox} 1 ${text.length}\r\n${text}\r\n`);
}

function seen(pieces: (tap: WireTap) => void): Acknowledged[] {
  const found: Acknowledged[] = [];
  pieces(new WireTap((message) => found.push(message)));
  return found;
}

describe('the watch on the wire', () => {
  const connect = Buffer.from('CONNECT {"verbose":false}\r\nPING\r\nSUB _INBOX.> 1\r\n');
  const info = Buffer.from('INFO {"server_id":"x"}\r\nPONG\r\n');

  it.each([1, 2, 7, 64, 4_096])('reads pieces of %s bytes', (size) => {
    const say = Buffer.concat([
      connect,
      published('_INBOX.1', id),
      published('_INBOX.2', `${id}.3`),
    ]);
    const hear = Buffer.concat([
      info,
      answered('_INBOX.1', { stream: 'S', seq: 4 }),
      answered('_INBOX.2', { stream: 'S', seq: 4, duplicate: true }),
    ]);
    const found = seen((tap) => {
      for (let at = 0; at < say.length; at += size) tap.clientSaid(say.subarray(at, at + size));
      for (let at = 0; at < hear.length; at += size) tap.serverSaid(hear.subarray(at, at + size));
    });
    expect(found).toEqual([
      { subject, messageId: id, stream: 'S', sequence: 4, duplicate: false },
      { subject, messageId: id, stream: 'S', sequence: 4, duplicate: true },
    ]);
  });

  it('counts nothing that was refused, unanswered, answered elsewhere or not named', () => {
    const found = seen((tap) => {
      tap.clientSaid(published('_INBOX.1', id));
      tap.serverSaid(answered('_INBOX.1', { error: { code: 503 }, stream: 'S', seq: 0 }));
      tap.serverSaid(answered('_INBOX.1', { stream: 'S', seq: 1 }));
      tap.clientSaid(published('_INBOX.2', 'no-event'));
      tap.serverSaid(answered('_INBOX.2', { stream: 'S', seq: 2 }));
      tap.clientSaid(published('_INBOX.3', id));
      tap.serverSaid(answered('_INBOX.4', { stream: 'S', seq: 3 }));
      tap.clientSaid(Buffer.from('PUB a.b _INBOX.5 2\r\nhi\r\n'));
      tap.serverSaid(answered('_INBOX.5', { stream: 'S', seq: 4 }));
    });
    expect(found).toEqual([]);
  });
});
