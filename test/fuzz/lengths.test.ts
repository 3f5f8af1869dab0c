/**
 * Lengths that are declared and not there: 4 GiB in five bytes, a million items in an empty list. Nothing
 * is allocated for them before they are held against the bytes that came. Inputs are small; so is what
 * reading them may take.
 */
import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { AuditLog } from '#agents/auditor/log.ts';
import { decodeDeadLetter } from '#shared/bus/dead-letter.ts';
import { readExport } from '#shared/crypto/audit-export.ts';
import { parseEventList } from '#shared/crypto/batch-list.ts';
import { parseBatch } from '#shared/crypto/batch.ts';
import { concat, utf8 } from '#shared/crypto/bytes.ts';
import { decodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { readCanonical } from '#shared/crypto/canonical-reader.ts';
import { parseFrame } from '#shared/crypto/envelope.ts';
import { scan } from '#shared/crypto/msgpack-scan.ts';
import { parseHeader } from '#shared/crypto/statement.ts';
import { logFileOf } from './log-file-in-memory.ts';
import { frameCases, hugeHeads } from './inputs.ts';

const growthBytesMax = 24 * 1024 * 1024;

function heldBytes(): number {
  const { heapTotal, external, arrayBuffers } = process.memoryUsage();
  return heapTotal + external + arrayBuffers;
}

/** What `work` allocated and nobody has collected yet. */
async function expectSmall(work: () => unknown): Promise<void> {
  const before = heldBytes();
  await work();
  expect(heldBytes() - before).toBeLessThan(growthBytesMax);
}

const decoders: Readonly<Record<string, (bytes: Uint8Array) => unknown>> = {
  scan,
  decodeCanonical,
  readCanonical,
  parseEventList,
  parseHeader,
  parseFrame,
  parseBatch,
  decodeDeadLetter,
};

/** Such a length alone, inside of others like it, and in place of each length of a frame. */
function hostile(): Uint8Array[] {
  const alone = hugeHeads.flatMap((head) => [
    head,
    concat(head, new Uint8Array(64)),
    concat(Uint8Array.of(0x81, 0xa1, 0x61), head),
    concat(...Array.from({ length: 30 }, () => head)),
  ]);
  const [frame] = frameCases.filter(({ name }) => name === 'event-valid');
  const bytes = frame?.bytes ?? new Uint8Array();
  const places = [...bytes.entries()].filter(([, byte]) => byte === 0xc5).map(([at]) => at);
  const inFrames = places
    .slice(0, 12)
    .flatMap((at) =>
      hugeHeads.map((head) => concat(bytes.subarray(0, at), head, bytes.subarray(at + 3))),
    );
  return [...alone, ...inFrames];
}

describe('declared lengths allocate nothing', () => {
  test.each(Object.keys(decoders))('%s', async (name) => {
    const inputs = hostile();
    const decode = decoders[name];
    // The first call compiles what is to be compiled.
    decode?.(Uint8Array.of(0x80));
    for (const bytes of inputs) await expectSmall(() => decode?.(bytes));
    expect(inputs.length).toBeGreaterThan(48);
  });

  test.each([0xffff_ffff, 0x7fff_ffff, 64 * 1024 * 1024])('in an export: %i', async (length) => {
    const head = new Uint8Array(4);
    new DataView(head.buffer).setUint32(0, length);
    const file = concat(utf8('gyre-audit/1'), new Uint8Array(4), head, new Uint8Array(100));
    await expectSmall(async () => {
      const readings = [];
      for await (const reading of readExport([file])) readings.push(reading);
      expect(readings).toHaveLength(1);
      expect(readings[0]).toHaveProperty('fault');
    });
  });

  test.each([0xffff_ffff, 0x7fff_ffff, 0x0100_0000])('in an audit log: %i', async (length) => {
    const head = new Uint8Array(12);
    const view = new DataView(head.buffer);
    view.setUint32(0, length);
    view.setUint32(8, crc32(head.subarray(0, 8)));
    const file = concat(utf8('gyre-audit-log/1'), head, new Uint8Array(100));
    await expectSmall(async () => {
      const opening = AuditLog.open(logFileOf(file), () => undefined);
      await expect(opening).rejects.toHaveProperty('code', 'AUDIT_LOG_DAMAGED');
    });
  });
});
