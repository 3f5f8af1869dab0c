import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AuditLogError } from '#agents/auditor/log-error.ts';
import { AuditLog, type LogRecord } from '#agents/auditor/log.ts';
import type { LogFile } from '#shared/runtime/disk.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { logFileOf } from '../../fuzz/log-file-in-memory.ts';

let directory: string;
let file: string;

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'gyre-log-'));
  file = path.join(directory, 'audit.log');
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

function record(leafIndex: number): LogRecord {
  const frame = new Uint8Array(100 + leafIndex).fill(leafIndex);
  return { leafIndex, sequence: leafIndex + 10, receivedAtMs: 1000, verdict: 'accepted', frame };
}

async function reopen(): Promise<{ log: AuditLog; seen: LogRecord[] }> {
  const seen: LogRecord[] = [];
  const log = await AuditLog.open(await new SystemDisk(directory).logFile('audit.log'), (one) =>
    seen.push(one),
  );
  return { log, seen };
}

/** The same over a file in memory, for what is tried at every byte. */
async function openedInMemory(bytes: Uint8Array) {
  const held = logFileOf(bytes);
  let seen = 0;
  const log = await AuditLog.open(held, () => (seen += 1));
  return { log, held, seen: () => seen };
}

async function written(count: number): Promise<Buffer> {
  const { log } = await reopen();
  await log.append([...Array(count).keys()].map(record));
  await log.close();
  return readFileSync(file);
}

async function codeOf(work: Promise<unknown>): Promise<AuditLogError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof AuditLogError) return error;
  throw new Error('no audit log error', { cause: error });
}

describe('the log on disk', () => {
  it('gives back what was appended, in order', async () => {
    await written(3);
    const { log, seen } = await reopen();
    expect(seen).toEqual([record(0), record(1), record(2)]);
    expect(log.size).toBe(3);
    expect(log.cutBytes).toBe(0);
    await log.append([record(3)]);
    expect(await log.read(3)).toEqual(record(3));
    expect(await log.read(1)).toEqual(record(1));
    await log.close();
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it('cuts a last record that was torn at any byte, and nothing else', async () => {
    const whole = await written(3);
    rmSync(file);
    const two = (await written(2)).length;
    for (let length = two + 1; length < whole.length; length += 1) {
      const { log, held, seen } = await openedInMemory(whole.subarray(0, length));
      expect([seen(), log.cutBytes, held.content().length]).toEqual([2, length - two, two]);
      await log.append([record(2)]);
      expect(whole.equals(held.content())).toBe(true);
    }
    for (const length of [two + 1, two + 12, two + 13, whole.length - 1]) {
      writeFileSync(file, whole.subarray(0, length));
      const { log, seen } = await reopen();
      expect(seen.length).toBe(2);
      expect(log.cutBytes).toBe(length - two);
      await log.append([record(2)]);
      await log.close();
      expect(readFileSync(file).equals(whole)).toBe(true);
    }
  });

  it('names the position of damage anywhere else, a damaged length included', async () => {
    const whole = await written(3);
    const damagedAt = (position: number) => {
      const damaged = Buffer.from(whole);
      damaged[position] = (damaged[position] ?? 0) ^ 0x40;
      return damaged;
    };
    const expectNamed = async (opening: Promise<unknown>, position: number) => {
      const { code, position: named } = await codeOf(opening);
      expect(code).toBe('AUDIT_LOG_DAMAGED');
      expect(named).toBeLessThanOrEqual(position);
    };
    for (let position = 0; position < whole.length; position += 1) {
      await expectNamed(openedInMemory(damagedAt(position)), position);
    }
    // The magic, a length, its two checks, a payload, the last byte.
    for (const position of [0, 15, 16, 19, 20, 24, 28, whole.length - 1]) {
      writeFileSync(file, damagedAt(position));
      await expectNamed(reopen(), position);
    }
    expect(readFileSync(file).length).toBe(whole.length);
  });

  it('refuses a record out of its place', async () => {
    const whole = await written(3);
    const record0 = Buffer.from(whole.subarray(16, 16 + (whole.length - 16) / 3));
    writeFileSync(file, Buffer.concat([whole, record0]));
    expect((await codeOf(reopen())).code).toBe('AUDIT_LOG_DAMAGED');
  });
});

describe('a disk that fails', () => {
  /** A disk with room for so many bytes, in front of a real file. */
  async function disk(room: number, canUndo = true) {
    const real = await new SystemDisk(directory).logFile('audit.log');
    const state = { room, syncs: 0, canUndo };
    const fake: LogFile = {
      ...real,
      write: async (position, bytes) => {
        const fits = Math.max(0, Math.min(bytes.length, state.room - position));
        await real.write(position, bytes.subarray(0, fits));
        if (fits < bytes.length) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
      },
      sync: async () => {
        state.syncs += 1;
        await real.sync();
      },
      truncate: async (size) => {
        if (!state.canUndo) throw Object.assign(new Error('broken'), { code: 'EIO' });
        await real.truncate(size);
      },
    };
    return { fake, state };
  }

  it('takes a whole batch with one barrier', async () => {
    const { fake, state } = await disk(1_000_000);
    const log = await AuditLog.open(fake, () => undefined);
    const before = state.syncs;
    await log.append([...Array(50).keys()].map(record));
    expect(state.syncs).toBe(before + 1);
    await log.close();
  });

  it('that is full leaves nothing half-written, and goes on when there is room', async () => {
    const { fake, state } = await disk(500);
    const log = await AuditLog.open(fake, () => undefined);
    await log.append([record(0)]);
    const before = statSync(file).size;
    expect((await codeOf(log.append([record(1), record(2), record(3)]))).code).toBe(
      'AUDIT_DISK_FULL',
    );
    expect(statSync(file).size).toBe(before);
    expect(log.size).toBe(1);
    state.room = 1_000_000;
    await log.append([record(1), record(2)]);
    await log.close();
    const { log: again, seen } = await reopen();
    expect(seen.length).toBe(3);
    await again.close();
  });

  it('that cannot even be cut back stops the log for good', async () => {
    const { fake, state } = await disk(500);
    const log = await AuditLog.open(fake, () => undefined);
    await log.append([record(0)]);
    state.canUndo = false;
    expect((await codeOf(log.append([record(1), record(2), record(3)]))).code).toBe(
      'AUDIT_LOG_UNWRITABLE',
    );
    state.room = 1_000_000;
    expect((await codeOf(log.append([record(1)]))).code).toBe('AUDIT_LOG_UNWRITABLE');
    await log.close();
  });
});
