/**
 * The service of layer 4 over its sockets: data keys and objects before, while and after each of its
 * keys is turned; what is wrapped anew survives a crash in the midst of it; what is in use stays.
 */
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { openService } from '#agents/layers/4-encryption/service.ts';
import { DataKeyStore, objectLimits } from '#agents/layers/4-encryption/data-key-store.ts';
import { batchKeys } from '#agents/layers/4-encryption/data-keys.ts';
import type { RemoteAdapter } from '#agents/layers/service/remote-adapter.ts';
import { strictSettings } from '#agents/layers/service/kept-settings.ts';
import { fromBase64Url, toBase64Url, utf8 } from '#shared/crypto/bytes.ts';
import { capabilityOf, openCapabilityDesk } from '../../support/capability-desk.ts';
import { RunningService, serviceFolder } from '../../support/layer-service.ts';
import { ManualClock } from '../runtime/manual-clock.ts';

const challenge = new Uint8Array([1]);
const kek = '4/kek';
const root = '4/root-kek';
let running: RunningService[] = [];

afterEach(async () => {
  for (const each of running) await each.end();
  running = [];
});

async function world() {
  const folder = serviceFolder();
  const clock = new ManualClock();
  const config = { recentUseMs: 0 };
  const desk = await RunningService.start({ layer: 2, open: openCapabilityDesk, folder });
  const service = await RunningService.start({
    layer: 4,
    open: openService,
    folder,
    clock,
    config,
  });
  running.push(service, desk);
  return { service, clock, folder };
}

async function dataKey(service: RunningService, objectId: string, context = 'c') {
  const answer = await service.asPeer(5).ask({
    method: 'POST',
    path: '/internal/v1/data-keys',
    body: { objectId, context },
  });
  const made: Partial<{ key: string; kekVersion: number; code: string; retryable: boolean }> =
    answer.status === 'done' ? (answer.body as object) : answer;
  return made;
}

function opened(service: RunningService, objectId: string, context = 'c') {
  const path = '/internal/v1/data-keys/open';
  return service.asPeer(5).ask({ method: 'POST', path, body: { objectId, context } });
}

async function turn(adapter: RemoteAdapter, slot: string, version: number) {
  await adapter.prepare(slot, version);
  await adapter.activate(slot, version, challenge);
  expect(await adapter.verify(slot, version)).toEqual({ ok: true });
}

test('a data key belongs to its object and its context, and is gone once it is shredded', async () => {
  const { service } = await world();
  const made = await dataKey(service, 'column-key/1');
  expect(fromBase64Url(made.key ?? '')?.length).toBe(32);
  expect(await dataKey(service, 'column-key/1')).toEqual(made);
  expect(await opened(service, 'column-key/1')).toEqual({ status: 'done', body: made });
  expect(await opened(service, 'column-key/1', 'other')).toMatchObject({
    code: 'CONTEXT_MISMATCH',
  });
  expect(await dataKey(service, 'column-key/1', 'other')).toMatchObject({
    code: 'CONTEXT_MISMATCH',
  });
  expect(await dataKey(service, '')).toMatchObject({ code: 'REQUEST_MALFORMED' });
  const gone = { method: 'DELETE', path: '/internal/v1/data-keys/column-key%2F1' } as const;
  expect((await service.asPeer(5).ask(gone)).status).toBe('done');
  expect((await service.asPeer(5).ask(gone)).status).toBe('done');
  expect(await opened(service, 'column-key/1')).toMatchObject({ code: 'OBJECT_UNKNOWN' });
  expect(await dataKey(service, 'column-key/1')).not.toEqual(made);
});

test('objects are sealed once, opened by their owner, and by a capability that was not used', async () => {
  const { service } = await world();
  const ask = (action: string, body: unknown, headers = capabilityOf('ann', 'encryption:use')) =>
    service.client.ask({ method: 'POST', path: `/v1/objects/${action}`, headers, body });
  const object = { objectId: 'o-1', context: 'letters' };
  const plaintext = toBase64Url(utf8('dear bob'));
  const sealed = await ask('encrypt', { ...object, plaintext });
  expect(await ask('encrypt', { ...object, plaintext })).toEqual(sealed);
  const other = toBase64Url(utf8('dear eve'));
  expect(await ask('encrypt', { ...object, plaintext: other })).toMatchObject({
    code: 'DATA_KEY_USED',
  });
  const { ciphertext = '' } = (sealed as { body: { ciphertext?: string } }).body;
  const once = capabilityOf('ann', 'encryption:use');
  const body = { objectId: 'o-1', plaintext };
  expect(await ask('decrypt', { ...object, ciphertext }, once)).toEqual({ status: 'done', body });
  expect(await ask('decrypt', { ...object, ciphertext }, once)).toMatchObject({
    code: 'NONCE_REPLAYED',
  });
  const others = capabilityOf('eve', 'encryption:use');
  expect(await ask('decrypt', { ...object, ciphertext }, others)).toMatchObject({
    code: 'OBJECT_UNKNOWN',
  });
  const changed = fromBase64Url(ciphertext) ?? new Uint8Array();
  for (const place of [0, 1, 40, 70, changed.length - 1]) {
    const bytes = Uint8Array.from(changed);
    bytes[place] = (bytes[place] ?? 0) ^ 1;
    expect(await ask('decrypt', { ...object, ciphertext: toBase64Url(bytes) })).toMatchObject({
      code: 'CIPHERTEXT_INVALID',
    });
  }
  expect(await ask('decrypt', { ...object, ciphertext }, {})).toMatchObject({
    code: 'CAPABILITY_MISSING',
  });
  // A service's own data key is out of every subject's reach.
  await dataKey(service, 'o-2');
  expect(await ask('decrypt', { ...object, objectId: 'o-2', ciphertext })).toMatchObject({
    code: 'OBJECT_UNKNOWN',
  });
});

test('a subject fills his own room and no other; what he destroys makes room again', async () => {
  const { service } = await world();
  const asked = (subject: string) => ({ headers: capabilityOf(subject, 'encryption:use') });
  const encrypt = (subject: string, objectId?: string) =>
    service.client.ask({
      method: 'POST',
      path: '/v1/objects/encrypt',
      ...asked(subject),
      body: { ...(objectId === undefined ? {} : { objectId }), context: '', plaintext: '' },
    });
  const destroy = (subject: string, path: string) =>
    service.client.ask({ method: 'DELETE', path: `/v1/objects/${path}`, ...asked(subject) });
  await service.stop();
  const database = new DatabaseSync(join(service.folder, 'layer-4', 'data-keys.db'));
  database.exec(`
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${objectLimits.perSubject - 1})
    INSERT INTO data_keys (owner, object_id, place, kek_version, capsule, wrapped, created_at_ms)
      SELECT 'subject:eve', 'o-' || i, x'', 1, x'', x'', 0 FROM n`);
  database.close();
  await service.start();
  const last = await encrypt('eve', 'a/last');
  expect(last.status).toBe('done');
  expect(await encrypt('eve')).toMatchObject({ status: 'refused', code: 'STORE_FULL' });
  expect(await encrypt('eve', 'a/last')).toEqual(last);
  expect((await encrypt('ann', 'o-1')).status).toBe('done');
  expect((await dataKey(service, 'o-1')).key).toEqual(expect.any(String));
  // Only one's own: what is another's is not told from what is not there.
  expect((await destroy('bob', 'a%2Flast')).status).toBe('done');
  expect(await encrypt('eve')).toMatchObject({ code: 'STORE_FULL' });
  expect((await destroy('eve', 'a%2Flast')).status).toBe('done');
  expect((await destroy('eve', 'a%2Flast')).status).toBe('done');
  const anew = await encrypt('eve', 'a/last');
  expect(anew.status).toBe('done');
  expect(anew).not.toEqual(last);
  expect(await encrypt('eve')).toMatchObject({ code: 'STORE_FULL' });
  const without = { method: 'DELETE', path: '/v1/objects/o-1' } as const;
  expect(await service.client.ask(without)).toMatchObject({ code: 'CAPABILITY_MISSING' });
  expect(await destroy('eve', '%20')).toMatchObject({ code: 'REQUEST_MALFORMED' });
});

test('all subjects together leave the room of the layers alone, also after a new start', () => {
  const database = new DatabaseSync(':memory:');
  const limits = { perSubject: 2, ofAllSubjects: 3, perLayer: 1 };
  let store = new DataKeyStore(database, limits);
  const bytes = new Uint8Array(32);
  const key = { kekVersion: 1, capsule: bytes, wrapped: bytes, place: bytes, salt: undefined };
  const isKept = (owner: string, objectId: string): boolean => {
    if (!store.hasRoomFor({ owner, objectId })) return false;
    store.add({ owner, objectId, ...key }, 0);
    return true;
  };
  expect(['a', 'b', 'c'].map((id) => isKept('subject:ann', id))).toEqual([true, true, false]);
  expect(['a', 'b'].map((id) => isKept('subject:bob', id))).toEqual([true, false]);
  store = new DataKeyStore(database, limits);
  expect(isKept('subject:bob', 'b')).toBe(false);
  expect(['a', 'b'].map((id) => isKept('layer:5', id))).toEqual([true, false]);
  expect(isKept('layer:6', 'a')).toBe(true);
  for (let times = 0; times < 2; times += 1) store.shred({ owner: 'subject:ann', objectId: 'a' });
  expect(['b', 'c'].map((id) => isKept('subject:bob', id))).toEqual([true, false]);
});

test('the policy says how long keys are at the least', async () => {
  const { service } = await world();
  const adapter = await service.adapter();
  const ask = (keyBits: number) =>
    service.client.ask({
      method: 'POST',
      path: '/v1/objects/encrypt',
      headers: capabilityOf('ann', 'encryption:use'),
      body: { context: '', plaintext: '', keyBits },
    });
  expect(await ask(128)).toMatchObject({ code: 'KEY_TOO_SHORT' });
  const looser = { policyVersion: 2, policyDigest: 'a'.repeat(64), aesKeyBitsMin: 128 };
  await adapter.configure({ ...strictSettings, ...looser });
  expect((await ask(128)).status).toBe('done');
  expect(await adapter.measure()).toMatchObject({
    'refused-key-too-short': 1,
    'policy-version': 2,
  });
  adapter.close();
});

test('a new KEK takes over every data key in batches; the old one stays until none is left', async () => {
  const { service, clock } = await world();
  const adapter = await service.adapter();
  const keys = new Map<string, string | undefined>();
  for (let count = 0; count < 2 * batchKeys + 3; count += 1) {
    keys.set(`o-${count}`, (await dataKey(service, `o-${count}`)).key);
  }
  await turn(adapter, kek, 2);
  expect(await dataKey(service, 'after')).toMatchObject({ kekVersion: 2 });
  expect(await adapter.usesLately(kek, 1)).toBeGreaterThanOrEqual(keys.size);
  await expect(adapter.retire(kek, 1)).rejects.toMatchObject({ code: 'STATE_CONFLICT' });
  // One batch, and the process is gone.
  await clock.advance(1);
  await service.stop();
  const files = join(service.folder, 'layer-4', 'data-keys.db');
  const left = new DatabaseSync(files, { readOnly: true })
    .prepare('SELECT count(*) AS n FROM data_keys WHERE kek_version = 1')
    .get() as { n: number };
  expect(left.n).toBe(keys.size - batchKeys);
  await service.start();
  const openAll = async () => {
    for (const [objectId, key] of keys) {
      expect(await opened(service, objectId)).toMatchObject({ status: 'done', body: { key } });
    }
  };
  await openAll();
  await clock.advance(100);
  const metrics = await adapter.measure();
  expect(metrics).toMatchObject({ 'objects-to-rewrap': 0, 'objects-damaged': 0 });
  expect(metrics['objects-rewrapped']).toBe(keys.size - batchKeys);
  await clock.advance(2_000);
  expect(await adapter.usesLately(kek, 1)).toBe(0);
  await adapter.retire(kek, 1);
  await openAll();
  adapter.close();
});

test('a rollback takes everything back; a withdrawn KEK goes when nothing is under it', async () => {
  const { service, clock } = await world();
  const adapter = await service.adapter();
  const before = await dataKey(service, 'before');
  await turn(adapter, kek, 2);
  const during = await dataKey(service, 'during');
  await adapter.rollback(kek, 1);
  expect(await opened(service, 'during')).toMatchObject({ body: { key: during.key } });
  await clock.advance(100);
  expect(await opened(service, 'during')).toMatchObject({
    body: { key: during.key, kekVersion: 1 },
  });
  await adapter.retire(kek, 2);
  await adapter.prepare(kek, 3);
  await adapter.rollback(kek, 1);
  expect(await opened(service, 'before')).toMatchObject({ body: { key: before.key } });
  expect(await adapter.verify(kek, 1)).toEqual({ ok: true });
  // Refused, and the share of the key in use is still there.
  await expect(adapter.retire(kek, 1)).rejects.toMatchObject({ code: 'STATE_CONFLICT' });
  expect((await opened(service, 'before')).status).toBe('done');
  adapter.close();
});

test('a new root KEK wraps the shares anew; without the root nothing opens', async () => {
  const { service, clock } = await world();
  const adapter = await service.adapter();
  const made = await dataKey(service, 'o');
  await turn(adapter, root, 2);
  await expect(adapter.retire(root, 2)).rejects.toMatchObject({ code: 'STATE_CONFLICT' });
  await clock.advance(2_000);
  expect(await adapter.usesLately(root, 1)).toBe(0);
  await adapter.retire(root, 1);
  await service.stop();
  await service.start();
  expect(await opened(service, 'o')).toMatchObject({ body: { key: made.key } });
  await turn(adapter, kek, 2);
  await service.stop();
  const database = new DatabaseSync(join(service.folder, 'layer-4', 'data-keys.db'));
  database.exec('UPDATE kek_shares SET sealed = zeroblob(60) WHERE kek_version = 1');
  database.close();
  await service.start();
  expect((await opened(service, 'o')).status).toBe('refused');
  expect(await adapter.verify(root, 2)).toMatchObject({ ok: false });
  adapter.close();
});

test('a changed row is refused, left under its key and counted; a frozen KEK makes nothing new', async () => {
  const { service, clock } = await world();
  const adapter = await service.adapter();
  await dataKey(service, 'changed');
  const whole = await dataKey(service, 'whole');
  const database = new DatabaseSync(join(service.folder, 'layer-4', 'data-keys.db'));
  database.exec(`UPDATE data_keys SET wrapped = zeroblob(48) WHERE object_id = 'changed'`);
  database.close();
  expect(await opened(service, 'changed')).toMatchObject({ code: 'DATA_KEY_DAMAGED' });
  await turn(adapter, kek, 2);
  await clock.advance(100);
  expect(await adapter.measure()).toMatchObject({ 'objects-damaged': 1, 'objects-to-rewrap': 1 });
  expect(await opened(service, 'whole')).toMatchObject({ body: { key: whole.key, kekVersion: 2 } });
  await expect(adapter.retire(kek, 1)).rejects.toMatchObject({ code: 'STATE_CONFLICT' });
  await service.asPeer(5).ask({ method: 'DELETE', path: '/internal/v1/data-keys/changed' });
  await adapter.retire(kek, 1);
  await adapter.freeze(kek, true);
  expect(await dataKey(service, 'new')).toMatchObject({ code: 'SLOT_FROZEN', retryable: true });
  expect((await opened(service, 'whole')).status).toBe('done');
  adapter.close();
});
