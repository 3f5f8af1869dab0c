/**
 * The key service over its unix socket and the client of it: any body on any operation, bytes that are no
 * HTTP, lengths that do not come; and a service that answers anything. Every answer has a code of the
 * closed set, the client throws its one error class, and both go on.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, connect, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEnvelope, sealEnvelope } from '#agents/layers/embedded/dek-envelope.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { EmbeddedWorkload } from '#agents/layers/embedded/embedded-workload.ts';
import { KeyClient, KeyClientError } from '#agents/layers/key-client.ts';
import { inputOf } from '#agents/layers/key-service-messages.ts';
import { isKeyServiceCode, KeyService } from '#agents/layers/key-service.ts';
import { isUsablePublicKey, verifyActivation } from '#agents/layers/public-keys.ts';
import { workloadOperations } from '#agents/layers/workload.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { quiet } from '../support/world.ts';
import { anyBytes, jsonText, mutated } from './inputs.ts';
import { timeoutMs, tries } from './runs.ts';

const options = { timeout: timeoutMs };
const crypto = createNativeProvider();
const folder = mkdtempSync(join(tmpdir(), 'gyre-fuzz-keys-'));
const layers: readonly LayerNumber[] = [2, 3, 4];
const workloads = new Map<LayerNumber, EmbeddedWorkload>();
const adapters: EmbeddedAdapter[] = [];
const socketPath = join(folder, 'keys.sock');
let service: KeyService;

beforeAll(async () => {
  for (const layer of layers) {
    const directory = join(folder, `${layer}`);
    mkdirSync(directory);
    const adapter = EmbeddedAdapter.open({
      layer,
      disk: new SystemDisk(directory),
      crypto,
      clock: systemClock,
      usageWindowMs: 1_000,
    });
    adapters.push(adapter);
    const { store, usage } = adapter;
    workloads.set(layer, new EmbeddedWorkload({ layer, store, usage, crypto, clock: systemClock }));
  }
  const workload = workloads.get(3);
  if (workload === undefined) throw new Error('there is a workload');
  service = new KeyService({ workload, socketPath, log: quiet });
  await service.start();
});

afterAll(async () => {
  await service.stop();
  for (const adapter of adapters) adapter.close();
  rmSync(folder, { recursive: true });
});

/** All that comes back until the other side is done. */
function answerTo(path: string, sent: Uint8Array): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(path, () => socket.end(sent));
    socket.on('data', (chunk: Buffer) => void chunks.push(chunk));
    socket.once('error', reject);
    socket.once('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
  });
}

function requestOf(path: string, body: Uint8Array, length = body.length): Uint8Array {
  const head = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: ${length}\r\nconnection: close\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

const fields = ['message', 'signature', 'tag', 'plaintext', 'ciphertext', 'aad'] as const;
const input = fc.record(
  Object.fromEntries(fields.map((name) => [name, fc.uint8Array({ maxLength: 1_700 })])),
  { requiredKeys: [] },
);
const bodies = fc.oneof(
  anyBytes,
  jsonText.map((text) => Buffer.from(text)),
  fc
    .dictionary(
      fc.constantFrom(...fields, 'keyId', 'other'),
      fc.oneof(
        fc.string({ maxLength: 80 }),
        fc.stringMatching(/^[A-Za-z0-9_-]{0,80}$/),
        fc.jsonValue(),
      ),
    )
    .map((made) => Buffer.from(JSON.stringify(made))),
);

describe('the key service', options, () => {
  test('reads a body as an input, or not at all', () => {
    fc.assert(
      fc.property(bodies, (body) => {
        const read = inputOf(body);
        if (read === undefined) return;
        const known = new Set<string>([...fields, 'keyId']);
        expect(Object.keys(read).every((name) => known.has(name))).toBe(true);
      }),
      tries(800),
    );
    expect(inputOf(Buffer.from('{"message":"AA"}'))).toEqual({ message: Uint8Array.of(0) });
  });

  test('takes any input to any operation', () => {
    const uses = fc.tuple(
      fc.constantFrom(...layers),
      fc.constantFrom(...workloadOperations),
      input,
      fc.nat(),
    );
    fc.assert(
      fc.property(uses, ([layer, operation, given, which]) => {
        const workload = workloads.get(layer);
        const slots = workload?.slots() ?? [];
        const slot = slots[which % slots.length];
        const keyId = slot?.keyId ?? '';
        const outcome = workload?.use(slot?.keyType ?? '', operation, { ...given, keyId });
        if (outcome?.status === 'refused') expect(isKeyServiceCode(outcome.code)).toBe(true);
      }),
      tries(300),
    );
    expect(workloads.get(3)?.slots().length).toBeGreaterThan(0);
  });

  test('answers anything on its socket, and goes on', async () => {
    const path = fc.constantFrom(
      '/v1/slots',
      '/v1/slots/x/sign',
      '/v1/slots/tls-kem/decapsulate',
      '/',
      '*',
    );
    const sent = fc.oneof(
      anyBytes,
      fc.tuple(path, bodies).map(([where, body]) => requestOf(where, body)),
      fc.tuple(path, bodies).chain(([where, body]) => mutated([requestOf(where, body)])),
      fc
        .constantFrom(2 ** 32, 2 ** 53, 70_000)
        .map((length) => requestOf('/v1/slots/x/sign', new Uint8Array(9), length)),
    );
    await fc.assert(
      fc.asyncProperty(sent, async (bytes) => {
        const answer = await answerTo(socketPath, bytes).catch(() => '');
        if (answer !== '') expect(answer.startsWith('HTTP/1.1 ')).toBe(true);
      }),
      tries(60),
    );
    const client = new KeyClient(socketPath);
    expect((await client.slots()).length).toBeGreaterThan(0);
    client.close();
  });
});

describe('what a layer is given', options, () => {
  test('envelopes', () => {
    const key = { slot: '4/kek', keyId: 'ab'.repeat(32), secret: new Uint8Array(32) };
    const aad = new Uint8Array(2);
    const sealed = sealEnvelope(crypto, key, { plaintext: Uint8Array.of(1, 2, 3), aad });
    fc.assert(
      fc.property(fc.oneof(anyBytes, mutated([sealed])), (ciphertext) => {
        const opened = openEnvelope(crypto, key, { ciphertext, aad });
        if (opened !== undefined) expect(Buffer.compare(ciphertext, sealed)).toBe(0);
      }),
      tries(500),
    );
    expect(openEnvelope(crypto, key, { ciphertext: sealed, aad })).toEqual(Uint8Array.of(1, 2, 3));
  });

  test('public halves of any size', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        expect(isUsablePublicKey(crypto, 'mac', bytes)).toBe(false);
        for (const kind of ['signature', 'kem', 'hybrid-kem'] as const) {
          expect(typeof isUsablePublicKey(crypto, kind, bytes)).toBe('boolean');
        }
        expect(verifyActivation(crypto, bytes, { challenge: bytes, proof: bytes })).toBe(false);
      }),
      tries(300),
    );
    expect(isUsablePublicKey(crypto, 'kem', new Uint8Array())).toBe(false);
  });

  test('public halves of the right size', () => {
    const sized = fc.constantFrom(1568, 1600, 2592).chain((size) =>
      fc.tuple(fc.nat(255), fc.uint8Array({ maxLength: 64 })).map(([byte, begin]) => {
        const bytes = new Uint8Array(size).fill(byte);
        bytes.set(begin);
        return bytes;
      }),
    );
    fc.assert(
      fc.property(sized, (bytes) => {
        for (const kind of ['signature', 'kem', 'hybrid-kem'] as const) {
          expect(typeof isUsablePublicKey(crypto, kind, bytes)).toBe('boolean');
        }
      }),
      tries(80),
    );
    expect(isUsablePublicKey(crypto, 'kem', new Uint8Array(1568).fill(255))).toBe(false);
  });
});

describe('the client of a key service', options, () => {
  const path = join(folder, 'liar.sock');
  let answer: Uint8Array = new Uint8Array();
  let liar: Server;

  beforeAll(async () => {
    liar = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end(answer));
    });
    await new Promise<void>((resolve) => liar.listen(path, resolve));
  });
  afterAll(() => void liar.close());

  const written = (status: number, body: string) =>
    Buffer.from(
      `HTTP/1.1 ${status} OK\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  const good = written(200, JSON.stringify({ version: 1, keyId: 'a', tag: 'AA', slots: [{}] }));
  const refusal = written(404, JSON.stringify({ error: { code: 'SLOT_UNKNOWN' } }));

  test('takes an answer, or throws its own error', async () => {
    const answers = fc.oneof(
      anyBytes,
      mutated([good, refusal]),
      fc
        .tuple(fc.constantFrom(200, 404, 500), jsonText)
        .map(([status, body]) => written(status, body)),
      fc
        .tuple(fc.constantFrom(200, 422), fc.jsonValue())
        .map(([status, code]) => written(status, JSON.stringify({ error: { code } }))),
    );
    await fc.assert(
      fc.asyncProperty(answers, async (bytes) => {
        answer = bytes;
        const client = new KeyClient(path, { timeoutMs: 2_000 });
        try {
          const outcome = await client.use('x', 'sign', { message: new Uint8Array() });
          if (outcome.status === 'refused') expect(isKeyServiceCode(outcome.code)).toBe(true);
          const slots = await client.slots();
          expect(slots.every(({ slot }) => typeof slot === 'string')).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(KeyClientError);
        } finally {
          client.close();
        }
      }),
      tries(120),
    );
    answer = refusal;
    const client = new KeyClient(path);
    const outcome = await client.use('x', 'sign', {});
    expect(outcome).toEqual({ status: 'refused', code: 'SLOT_UNKNOWN' });
    client.close();
  });
});
