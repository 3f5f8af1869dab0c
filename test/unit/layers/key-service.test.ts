/** The key service over its socket: every operation, its refusals and bounds, and a rotation under load. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { EmbeddedWorkload } from '#agents/layers/embedded/embedded-workload.ts';
import { KeyClient, type KeyUseDone, type KeyUseOutcome } from '#agents/layers/key-client.ts';
import { KeyService } from '#agents/layers/key-service.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { quiet } from '../../support/world.ts';

const crypto = createNativeProvider();
const challenge = new TextEncoder().encode('command-1');
const message = new TextEncoder().encode('a message');
const usageWindowMs = 300;

let folder: string;
const opened: { close(): Promise<void> }[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gyre-keys-'));
});

afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
  rmSync(folder, { recursive: true });
});

describe('operations', () => {
  test('signatures', async () => {
    const { client } = await serve(1);
    const signed = done(await client.use('identity-signature', 'sign', { message }));
    expect(signed).toMatchObject({ version: 1 });
    expect(signed.signature?.length).toBe(4627);
    const { keyId, signature } = signed as Required<KeyUseDone>;
    const verify = (input: object): Promise<KeyUseOutcome> =>
      client.use('identity-signature', 'verify', { message, signature, keyId, ...input });
    expect(await verify({})).toMatchObject({ status: 'done', valid: true, version: 1 });
    expect(await verify({ message: challenge })).toMatchObject({ status: 'done', valid: false });
    expect(await verify({ keyId: '0'.repeat(64) })).toEqual(refused('KEY_UNKNOWN'));
  });

  test('a workload cannot make an activation proof', async () => {
    const { client, adapter } = await serve(1);
    const { signature } = done(await client.use('session-token', 'sign', { message: challenge }));
    const { proof } = await adapter.activate('1/session-token', 1, challenge);
    expect(proof?.length).toBe(4627);
    const keyId = adapter.store.primary('1/session-token')?.keyId ?? '';
    const asUse = { message: challenge, signature: proof ?? message, keyId };
    expect(await client.use('session-token', 'verify', asUse)).toMatchObject({ valid: false });
    const back = { message: challenge, signature: signature ?? message, keyId };
    expect(await client.use('session-token', 'verify', back)).toMatchObject({ valid: true });
  });

  test('message authentication', async () => {
    const { client } = await serve(2);
    const { tag, keyId } = done(await client.use('nonce-mac', 'mac', { message }));
    expect(tag?.length).toBe(48);
    const good = { message, tag: tag ?? message, keyId };
    expect(await client.use('nonce-mac', 'verify-mac', good)).toMatchObject({ valid: true });
    const cut = { ...good, tag: good.tag.subarray(1) };
    expect(await client.use('nonce-mac', 'verify-mac', cut)).toMatchObject({ valid: false });
  });

  test('encryption, with additional data and without', async () => {
    const { client } = await serve(4);
    for (const aad of [undefined, challenge]) {
      const bound = aad === undefined ? {} : { aad };
      const sealed = done(
        await client.use('root-kek', 'encrypt', { plaintext: message, ...bound }),
      );
      const { ciphertext, keyId } = sealed as Required<KeyUseDone>;
      expect(ciphertext.length).toBe(message.length + 88);
      const open = done(await client.use('root-kek', 'decrypt', { ciphertext, keyId, ...bound }));
      expect(open.plaintext).toEqual(message);
      const other = { ciphertext, keyId, aad: new Uint8Array(3) };
      expect(await client.use('root-kek', 'decrypt', other)).toEqual(refused('INPUT_INVALID'));
    }
  });

  test.each([
    [3, 'key-exchange', 1600],
    [4, 'kek', 1600],
  ] as const)('encapsulation: layer %i %s', async (layer, keyType, bytes) => {
    const { client, adapter } = await serve(layer);
    const made = done(await client.use(keyType, 'encapsulate', {})) as Required<KeyUseDone>;
    expect(made.ciphertext.length).toBe(bytes);
    expect(made.sharedSecret.length).toBe(32);
    const { ciphertext, keyId } = made;
    const taken = done(await client.use(keyType, 'decapsulate', { ciphertext, keyId }));
    expect(taken.sharedSecret).toEqual(made.sharedSecret);
    const short = { ciphertext: ciphertext.subarray(1), keyId };
    expect(await client.use(keyType, 'decapsulate', short)).toEqual(refused('INPUT_INVALID'));
    expect((await adapter.samples(`${layer}/${keyType}`)).failures).toBe(0);
  });
});

describe('refusals and bounds', () => {
  test('what is not there, not of this kind, or frozen', async () => {
    const { client, adapter } = await serve(1);
    const frozen = '1/identity-signature';
    expect(await client.use('nothing', 'sign', { message })).toEqual(refused('SLOT_UNKNOWN'));
    expect(await client.use('session-token', 'mac', { message })).toEqual(
      refused('OPERATION_UNSUPPORTED'),
    );
    expect(await client.use('session-token', 'sign', {})).toEqual(refused('INPUT_INVALID'));
    const before = done(await client.use('identity-signature', 'sign', { message }));
    await adapter.freeze(frozen, true);
    expect(await client.use('identity-signature', 'sign', { message })).toEqual(
      refused('SLOT_FROZEN'),
    );
    const { keyId, signature } = before as Required<KeyUseDone>;
    const verified = await client.use('identity-signature', 'verify', {
      message,
      signature,
      keyId,
    });
    expect(verified).toMatchObject({ status: 'done', valid: true });
  });

  test('a key that is only prepared, or destroyed, is no key', async () => {
    const { client, adapter } = await serve(1);
    const slot = '1/session-token';
    const { keyId, signature } = done(
      await client.use('session-token', 'sign', { message }),
    ) as Required<KeyUseDone>;
    const prepared = await adapter.prepare(slot, 2);
    const verify = (named: string): Promise<KeyUseOutcome> =>
      client.use('session-token', 'verify', { message, signature, keyId: named });
    expect(await verify(prepared.keyId)).toEqual(refused('KEY_UNKNOWN'));
    await adapter.activate(slot, 2, challenge);
    expect(await verify(keyId)).toMatchObject({ valid: true, version: 1 });
    await adapter.retire(slot, 1);
    expect(await verify(keyId)).toEqual(refused('KEY_UNKNOWN'));
  });

  test('status codes, malformed bodies and bodies that are too large', async () => {
    const { socketPath, adapter } = await serve(1);
    const sign = '/v1/slots/session-token/sign';
    expect(await raw(socketPath, 'GET', '/', '')).toBe(404);
    expect(await raw(socketPath, 'GET', sign, '')).toBe(405);
    expect(await raw(socketPath, 'POST', '/v1/slots', '{}')).toBe(405);
    expect(await raw(socketPath, 'POST', '/v1/slots/session-token/steal', '{}')).toBe(404);
    for (const body of ['', 'x', '[]', '{"message":1}', '{"message":"A"}', '{"more":"AAAA"}']) {
      expect(await raw(socketPath, 'POST', sign, body)).toBe(400);
    }
    expect(await raw(socketPath, 'POST', sign, '{"message":""}')).toBe(200);
    expect(await raw(socketPath, 'POST', sign, 'x'.repeat(65_537))).toBe(413);
    expect(await raw(socketPath, 'POST', '/v1/slots/nothing/sign', '{}')).toBe(404);
    await adapter.freeze('1/session-token', true);
    expect(await raw(socketPath, 'POST', sign, '{"message":""}')).toBe(423);
  });

  test('a caller that hangs up in the middle harms nobody', async () => {
    const { client, socketPath } = await serve(1);
    const socket = connect(socketPath);
    await new Promise<void>((resolve) => socket.once('connect', resolve));
    const head =
      'POST /v1/slots/session-token/sign HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{';
    await new Promise<void>((resolve) => socket.write(head, () => resolve()));
    await settleFor(20);
    socket.destroy();
    expect(await client.use('session-token', 'sign', { message })).toMatchObject({ version: 1 });
  });

  test('the socket is the owner’s alone, and the list shows public halves only', async () => {
    const { client, socketPath, adapter } = await serve(1);
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
    await adapter.prepare('1/session-token', 2);
    const slots = await client.slots();
    expect(slots.map(({ keyType, version }) => [keyType, version])).toEqual([
      ['identity-signature', 1],
      ['session-token', 1],
    ]);
    expect(JSON.stringify(slots)).not.toMatch(/secret|seed/);
  });
});

describe('a rotation under load', () => {
  test.each([
    [1, 'session-token'],
    [2, 'nonce-mac'],
    [3, 'key-exchange'],
    [5, 'column-key'],
  ] as const)('layer %i %s: no request fails', async (layer, keyType) => {
    const { client, adapter } = await serve(layer);
    const slot = `${layer}/${keyType}`;
    const failures: unknown[] = [];
    const versions = new Set<number>();
    const load = { running: true };
    const workers = [0, 1, 2, 3].map(async () => {
      while (load.running) {
        try {
          versions.add(await roundTrip(client, keyType));
        } catch (error) {
          failures.push(error);
        }
      }
    });
    await settleFor(50);
    await adapter.prepare(slot, 2);
    await adapter.activate(slot, 2, challenge);
    expect(await adapter.verify(slot, 2)).toEqual({ ok: true });
    await settleFor(50);
    await adapter.rollback(slot, 1);
    await settleFor(50);
    await adapter.prepare(slot, 3);
    await adapter.activate(slot, 3, challenge);
    await until(async () => (await adapter.usesLately(slot, 1)) === 0);
    await adapter.retire(slot, 1);
    await settleFor(50);
    load.running = false;
    await Promise.all(workers);
    expect(failures).toEqual([]);
    expect(versions).toEqual(new Set([1, 2, 3]));
    const samples = await adapter.samples(slot);
    expect(samples.operations).toBeGreaterThan(0);
    expect(samples.failures).toBe(0);
  });

  test('uses of the old key are seen until their window is over', async () => {
    const { client, adapter } = await serve(2);
    const slot = '2/nonce-mac';
    const { tag, keyId } = done(await client.use('nonce-mac', 'mac', { message }));
    await adapter.prepare(slot, 2);
    await adapter.activate(slot, 2, challenge);
    await until(async () => (await adapter.usesLately(slot, 1)) === 0);
    const taken = { message, tag: tag ?? message, keyId };
    expect(await client.use('nonce-mac', 'verify-mac', taken)).toMatchObject({ valid: true });
    expect(await adapter.usesLately(slot, 1)).toBe(1);
    await until(async () => (await adapter.usesLately(slot, 1)) === 0);
  });
});

async function serve(layer: LayerNumber) {
  const adapter = EmbeddedAdapter.open({
    layer,
    disk: new SystemDisk(folder),
    crypto,
    clock: systemClock,
    usageWindowMs,
  });
  const { store, usage } = adapter;
  const workload = new EmbeddedWorkload({ layer, store, usage, crypto, clock: systemClock });
  const socketPath = join(folder, 'keys.sock');
  const service = new KeyService({ workload, socketPath, log: quiet });
  await service.start();
  const client = new KeyClient(socketPath);
  opened.push({
    close: async () => {
      client.close();
      await service.stop();
      adapter.close();
    },
  });
  return { adapter, client, socketPath };
}

/** Makes something and takes it back; the version that made it. */
async function roundTrip(client: KeyClient, keyType: string): Promise<number> {
  if (keyType === 'session-token') {
    const { signature, keyId, version } = all(await client.use(keyType, 'sign', { message }));
    const taken = all(await client.use(keyType, 'verify', { message, signature, keyId }));
    if (!taken.valid) throw new Error('a signature does not verify');
    return version;
  }
  if (keyType === 'nonce-mac') {
    const { tag, keyId, version } = all(await client.use(keyType, 'mac', { message }));
    const taken = all(await client.use(keyType, 'verify-mac', { message, tag, keyId }));
    if (!taken.valid) throw new Error('a tag does not verify');
    return version;
  }
  if (keyType === 'key-exchange') {
    const { ciphertext, keyId, version, sharedSecret } = all(
      await client.use(keyType, 'encapsulate', {}),
    );
    const taken = all(await client.use(keyType, 'decapsulate', { ciphertext, keyId }));
    if (Buffer.compare(taken.sharedSecret, sharedSecret) !== 0) throw new Error('secrets differ');
    return version;
  }
  const sealed = all(await client.use(keyType, 'encrypt', { plaintext: message }));
  const { ciphertext, keyId, version } = sealed;
  const taken = all(await client.use(keyType, 'decrypt', { ciphertext, keyId }));
  if (Buffer.compare(taken.plaintext, message) !== 0) throw new Error('plaintexts differ');
  return version;
}

function done(outcome: KeyUseOutcome): KeyUseDone {
  if (outcome.status !== 'done') throw new Error(`refused: ${outcome.code}`);
  return outcome;
}

function all(outcome: KeyUseOutcome): Required<KeyUseDone> {
  return done(outcome) as Required<KeyUseDone>;
}

function refused(code: string): unknown {
  return { status: 'refused', code };
}

async function raw(socketPath: string, method: string, path: string, body: string) {
  return await new Promise<number | undefined>((resolve, reject) => {
    const call = request({ socketPath, method, path }, (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode));
    });
    call.once('error', reject);
    call.end(body);
  });
}

async function settleFor(delayMs: number): Promise<void> {
  await new Promise((resolve) => {
    setTimeout(resolve, delayMs);
  });
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if (await condition()) return;
    await settleFor(50);
  }
  throw new Error('the condition was never met');
}
