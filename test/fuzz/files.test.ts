/**
 * Files and rows that somebody else may have written: seeds, PINs, vaults, logs, checkpoints, states,
 * exports, databases. A file that is not what was written is refused with the one error class of its
 * reader and a code; nothing hangs, and nothing of a damaged file is taken.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readCheckpointState } from '#agents/auditor/checkpoint-file.ts';
import { AuditLogError } from '#agents/auditor/log-error.ts';
import { AuditLog, type LogRecord } from '#agents/auditor/log.ts';
import { AdapterError } from '#agents/layers/adapter.ts';
import { openStoreKey } from '#agents/layers/embedded/store-key.ts';
import { openDatabase } from '#agents/layers/sqlite.ts';
import { StepStore } from '#agents/layers/step-store.ts';
import { EpochRecord } from '#agents/signer/epoch-record.ts';
import { EpochVault, VaultError } from '#agents/signer/epoch-vault.ts';
import { readPin } from '#shared/runtime/token/pin.ts';
import { readSeedFile } from '#shared/runtime/token/seed-file.ts';
import { TokenError } from '#shared/runtime/token/token.ts';
import { requireWrapping, unwrapBytes, wrapBytes } from '#shared/runtime/token/wrapping.ts';
import { readExport, writeExport } from '#shared/crypto/audit-export.ts';
import { verifyAuditFile } from '#shared/crypto/audit-verify.ts';
import { concat } from '#shared/crypto/bytes.ts';
import { InvariantError } from '#shared/crypto/errors.ts';
import { loadIdentity, BootError } from '#shared/runtime/boot.ts';
import { readAtMost } from '#shared/runtime/durable-file.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { TrustStateError, TrustStore } from '#shared/runtime/trust-store.ts';
import { amended } from '../support/documents.ts';
import { crypto, makeWorld, quiet, type World } from '../support/world.ts';
import { anyBytes, frameCases, jsonText, mutated } from './inputs.ts';
import { logFileOf } from './log-file-in-memory.ts';
import { timeoutMs, tries } from './runs.ts';

const options = { timeout: timeoutMs };
const folder = mkdtempSync(join(tmpdir(), 'gyre-fuzz-files-'));
const file = join(folder, 'file');
const disk = new SystemDisk(folder);
const [frame = new Uint8Array(1)] = frameCases
  .filter(({ name }) => name === 'event-valid')
  .map(({ bytes }) => bytes);
const fileBytes = fc.oneof(
  anyBytes,
  jsonText.map((text) => new Uint8Array(Buffer.from(text))),
);
const jsonBytes = (value: unknown) => new Uint8Array(Buffer.from(JSON.stringify(value)));
let world: World;

beforeAll(async () => {
  world = await makeWorld();
});
afterAll(() => rmSync(folder, { recursive: true }));

/** What it gives for a file of these bytes, or undefined where it throws what it may throw. */
async function readingOf<Result>(
  bytes: Uint8Array,
  read: () => Result | Promise<Result>,
  declared: new (...given: never[]) => Error,
): Promise<Result | undefined> {
  writeFileSync(file, bytes, { mode: 0o600 });
  try {
    return await read();
  } catch (error) {
    expect(error).toBeInstanceOf(declared);
    expect(error).toHaveProperty('code');
    return undefined;
  }
}

/** The token's wrapping, under a key that a test may have. */
const wrapper = {
  wrap: (bytes: Uint8Array, aad: Uint8Array) => {
    const iv = crypto.randomBytes(12);
    return Promise.resolve({
      iv,
      sealed: crypto.aeadSeal({ ...aead, nonce: iv, aad, plaintext: bytes }),
    });
  },
  unwrap: ({ iv, sealed }: { iv: Uint8Array; sealed: Uint8Array }, aad: Uint8Array) => {
    const opened = crypto.aeadOpen({ ...aead, nonce: iv, aad, ciphertext: sealed });
    return opened === undefined
      ? Promise.reject(new TokenError('TOKEN_FAILED', 'does not open'))
      : Promise.resolve(opened);
  },
};
const aead = { algorithm: 'AES-256-GCM', key: new Uint8Array(32) } as const;
const token = {
  wrap: (bytes: Uint8Array, purpose: Uint8Array) => wrapBytes(wrapper, 'label', { bytes, purpose }),
  unwrap: (wrapped: Uint8Array, purpose: Uint8Array) =>
    unwrapBytes(wrapper, 'label', { wrapped, purpose }),
};

describe('the signer', options, () => {
  test('seeds', async () => {
    const seed = concat(Buffer.from('gyre-seed\0'), Uint8Array.of(1, 12), new Uint8Array(60));
    const seedFile = join(folder, 'a.seed');
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyBytes, mutated([seed])), async (bytes) => {
        writeFileSync(seedFile, bytes);
        const read = await readingOf(bytes, () => readSeedFile(folder, 'a'), TokenError);
        if (read === undefined) return;
        expect(Buffer.compare(concat(seed.subarray(0, 12), read.iv, read.sealed), bytes)).toBe(0);
      }),
      tries(75),
    );
    await expect(readSeedFile(folder, '../a')).rejects.toHaveProperty('code', 'KEY_UNKNOWN');
  });

  test('PINs', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        const pin = await readingOf(bytes, () => readPin({ path: file }), TokenError);
        if (pin !== undefined) expect(pin.length).toBeLessThanOrEqual(255);
        expect(readAtMost(file, 40).length).toBe(Math.min(40, bytes.length));
      }),
      tries(75),
    );
    await expect(readPin({ path: folder })).rejects.toBeInstanceOf(TokenError);
  });

  test('wrappings', async () => {
    const start = concat(Buffer.from('gyre-wrap\0'), Uint8Array.of(1, 12), new Uint8Array(60));
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyBytes, mutated([start])), async (wrapped) => {
        const given = { wrapped, purpose: new Uint8Array(3) };
        const code = 'WRAPPING_INVALID';
        await expect(unwrapBytes(wrapper, 'label', given)).rejects.toHaveProperty('code', code);
      }),
      tries(100),
    );
    expect(() => requireWrapping(start)).not.toThrow();
  });

  test('vaults', async () => {
    const directory = join(folder, 'epochs');
    const record = new EpochRecord(new DatabaseSync(':memory:'));
    const open = () =>
      EpochVault.open({
        disk,
        mesh: 'test',
        token,
        record,
        log: quiet,
      });
    await (
      await open()
    ).keep({ channel: 'saga', epoch: 1, secret: new Uint8Array(32), standing: 'active' });
    await fc.assert(
      fc.asyncProperty(anyBytes, async (bytes) => {
        writeFileSync(join(directory, 'mesh.2.secret'), bytes);
        const vault = await open();
        await expect(vault.load()).rejects.toBeInstanceOf(VaultError);
      }),
      tries(30),
    );
    rmSync(join(directory, 'mesh.2.secret'));
    writeFileSync(join(directory, '..secret'), 'no name');
    expect(await (await open()).load()).toHaveLength(1);
  });

  test('rows about epochs', () => {
    const database = new DatabaseSync(':memory:');
    const record = new EpochRecord(database);
    const name = { channel: 'saga', epoch: 1 };
    record.hold(name, { standing: 'active', announcement: undefined });
    fc.assert(
      fc.property(jsonText, (text) => {
        database.prepare('UPDATE epoch_held SET announcement = ?').run(text.toWellFormed());
        expect(record.held(name)).toEqual({ standing: 'active', announcement: undefined });
      }),
      tries(100),
    );
    expect(record.isClosed(name)).toBe(false);
  });
});

describe('the auditor', options, () => {
  const record: LogRecord = {
    leafIndex: 0,
    sequence: 1,
    receivedAtMs: 5,
    verdict: 'accepted',
    frame,
  };

  test('logs', async () => {
    const written = logFileOf(new Uint8Array());
    const log = await AuditLog.open(written, () => undefined);
    await log.append([record, { ...record, leafIndex: 1, archived: new Uint8Array(90) }]);
    const valid = written.content();
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyBytes, mutated([valid])), async (bytes) => {
        const held = logFileOf(bytes);
        const records: LogRecord[] = [];
        const opened = await readingOf(
          bytes,
          () => AuditLog.open(held, (each) => void records.push(each)),
          AuditLogError,
        );
        if (opened === undefined) return;
        // What is left is the begin of the file, and holds what was read.
        expect(records.length).toBe(opened.size);
        const left = held.content();
        expect(
          Buffer.compare(left, bytes.subarray(0, left.length)) === 0 || left.length === 16,
        ).toBe(true);
        const again = logFileOf(new Uint8Array());
        const copy = await AuditLog.open(again, () => undefined);
        await copy.append(records);
        expect(Buffer.compare(again.content(), left)).toBe(0);
      }),
      tries(125),
    );
    expect(log.size).toBe(2);
  });

  test('checkpoints', async () => {
    const valid = [jsonBytes({ askedSize: 4 }), jsonBytes({})];
    await fc.assert(
      fc.asyncProperty(fc.oneof(fileBytes, mutated(valid)), async (bytes) => {
        writeFileSync(disk.place('checkpoint.json'), bytes);
        const state = await readingOf(bytes, () => readCheckpointState(disk), AuditLogError);
        if (state !== undefined) expect(Object.keys(state).length).toBeLessThanOrEqual(2);
        expect(disk.readFile('file')?.length).toBe(bytes.length);
      }),
      tries(75),
    );
    rmSync(disk.place('checkpoint.json'));
    expect(readCheckpointState(disk)).toEqual({});
  });

  test('exports', async () => {
    const { bundle, rootDigest } = world;
    const records = [{ leafIndex: 0, verdict: 'accepted' as const, frame }];
    const pieces: Uint8Array[] = [];
    const content = { auditor: 'auditor', mesh: 'test', bundle, records, checkpoints: () => [] };
    for await (const piece of writeExport(content)) pieces.push(piece);
    const valid = concat(...pieces);
    const cuts = fc.integer({ min: 1, max: 5_000 });
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyBytes, mutated([valid])), cuts, async (bytes, size) => {
        const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
          bytes.subarray(index * size, (index + 1) * size),
        );
        let faults = 0;
        for await (const reading of readExport(chunks)) if ('fault' in reading) faults += 1;
        expect(faults).toBe(Buffer.compare(bytes, valid) === 0 ? 0 : faults);
        expect(faults).toBeLessThanOrEqual(1);
        const addressesOf = () => () => null;
        const verdict = await verifyAuditFile(crypto, { chunks, rootDigest, addressesOf });
        expect(verdict.ok).toBe(false);
      }),
      tries(12),
    );
    expect(valid.length).toBeGreaterThan(10_000);
  });
});

describe('everyone', options, () => {
  test('states of trust', async () => {
    const store = () => TrustStore.open({ disk, crypto, trust: world.newTrust() });
    const first = store();
    first.keepDocument(await amended(world, world.trust.policy), world.clock.nowMs());
    const valid = new Uint8Array(disk.readFile('trust.json') ?? []);
    await fc.assert(
      fc.asyncProperty(fc.oneof(fileBytes, mutated([valid])), async (bytes) => {
        writeFileSync(first.file, bytes);
        const read = await readingOf(bytes, store, TrustStateError);
        if (read !== undefined) expect(Buffer.compare(bytes, valid)).toBe(0);
      }),
      tries(60),
    );
    writeFileSync(first.file, valid);
    expect(store().documents).toHaveLength(1);
  });

  test('configurations and bundles', async () => {
    const config = {
      mesh: 'test',
      agentId: 'auditor',
      agentKind: 'auditor',
      rootDigest: world.rootDigest,
      trustBundle: 'bundle.json',
      natsUrl: 'x',
      identitySeedFile: 'identity.seed',
      kemSeedFile: 'kem.seed',
      nkeySeedFile: 'nkey.seed',
      stateDirectory: 'state',
    };
    const bundle = jsonBytes(world.bundle);
    await fc.assert(
      fc.asyncProperty(mutated([jsonBytes(config)]), fileBytes, async (bytes, other) => {
        writeFileSync(join(folder, 'identity.seed'), other);
        writeFileSync(join(folder, 'bundle.json'), other.length % 2 === 0 ? bundle : other);
        expect(await readingOf(bytes, () => loadIdentity(file), BootError)).toBeUndefined();
        expect(
          await readingOf(jsonBytes(config), () => loadIdentity(file), BootError),
        ).toBeUndefined();
      }),
      tries(12),
    );
    await expect(loadIdentity(join(folder, 'none'))).rejects.toBeInstanceOf(BootError);
  });
});

describe('layers', options, () => {
  const place = { slot: '1/a', version: 1, keyId: 'ab'.repeat(32) };

  test('store keys and what lies under them', async () => {
    const keyFile = disk.place('keystore.key');
    const key = openStoreKey(crypto, disk, { mayCreate: true });
    const sealed = key.seal(place, new Uint8Array(32));
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyBytes, mutated([sealed])), async (bytes) => {
        const opened = await readingOf(bytes, () => key.open(place, bytes), AdapterError);
        if (opened !== undefined) expect(Buffer.compare(bytes, sealed)).toBe(0);
        writeFileSync(keyFile, bytes, { mode: 0o600 });
        const read = () => openStoreKey(crypto, disk, { mayCreate: false });
        const other = await readingOf(bytes, read, AdapterError);
        if (other !== undefined) expect(bytes).toHaveLength(32);
      }),
      tries(100),
    );
    expect(key.open(place, sealed)).toHaveLength(32);
  });

  test('databases and rows of steps', async () => {
    await fc.assert(
      fc.asyncProperty(anyBytes, fc.nat(), async (bytes, which) => {
        await readingOf(bytes, () => openDatabase(disk, 'file').close(), AdapterError);
        rmSync(`${file}-wal`, { force: true });
        const database = new DatabaseSync(':memory:');
        const store = new StepStore(database);
        const step = {
          commandId: 'c',
          operation: 'prepare',
          slots: ['1/a'],
          recovers: false,
        } as const;
        const sql = 'INSERT INTO steps VALUES (?, ?, ?, ?, ?)';
        database.prepare(sql).run('c prepare  1/a', 's', bytes, bytes, 1);
        database
          .prepare('INSERT INTO sagas VALUES (?, ?, ?, ?, ?, ?)')
          .run('s', 'd', bytes, null, 1, 1);
        const reads = [() => store.saga('s'), () => store.reportOf(step), () => store.taskOf(step)];
        // A row that is not what was written is a broken invariant: the process stops.
        expect(reads[which % 3]).toThrow(InvariantError);
        database.close();
      }),
      tries(40),
    );
    expect(new StepStore(new DatabaseSync(':memory:')).saga('s')).toBeUndefined();
  });
});
