/** A key service that answers what none of ours would: the client says so in its own words. */
import { createServer, type Server } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KeyClient } from '#agents/layers/key-client.ts';

const folder = mkdtempSync(join(tmpdir(), 'gyre-liar-'));
const path = join(folder, 'liar.sock');
let answer = '';
let liar: Server;

beforeAll(async () => {
  liar = createServer((socket) => socket.once('data', () => socket.end(answer)));
  await new Promise<void>((resolve) => liar.listen(path, resolve));
});

afterAll(() => {
  liar.close();
  rmSync(folder, { recursive: true });
});

const written = (status: number, body: string, length = body.length) =>
  `HTTP/1.1 ${status} OK\r\ncontent-length: ${length}\r\n\r\n${body}`;

test.each([
  ['a refusal with a code that there is not', written(404, '{"error":{"code":"toString"}}')],
  ['slots without a name', written(200, '{"slots":[{}],"version":1,"keyId":"a"}')],
])('%s is no answer', async (_name, text) => {
  answer = text;
  const client = new KeyClient(path);
  const asked = text.includes('slots') ? client.slots() : client.use('x', 'sign', {});
  await expect(asked).rejects.toMatchObject({ name: 'KeyClientError', code: 'ANSWER_MALFORMED' });
  client.close();
});

test('an answer that ends before its length is a service out of reach', async () => {
  answer = written(200, '{"version":1', 400);
  const client = new KeyClient(path);
  const asked = client.use('x', 'sign', {});
  await expect(asked).rejects.toMatchObject({ name: 'KeyClientError', code: 'UNREACHABLE' });
  client.close();
});
