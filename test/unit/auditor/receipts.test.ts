/** Receipts while they cannot be issued: nothing is lost, nothing fails unheard, and what waits is bounded. */

import { afterEach, beforeEach, expect, it } from 'vitest';
import type { AuditBook } from '#agents/auditor/book.ts';
import type { LeafNote } from '#agents/auditor/leaf-note.ts';
import { IssuedReceipts } from '#agents/auditor/issued-receipts.ts';
import { receiptsWaitingMax, ReceiptWriter } from '#agents/auditor/receipts.ts';
import { members } from '#cli/mesh/members.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { crypto, makeWorld, quiet, type World } from '../../support/world.ts';

const enrolled = members.filter(({ kind }) => kind !== 'layer');

let world: World;
let bus: Bus;
let keyring: EpochKeyring;
let writer: ReceiptWriter;
let warned: string[];

beforeEach(async () => {
  world = await makeWorld({ members: enrolled });
  bus = world.bus('auditor');
  keyring = new EpochKeyring(crypto, world.mesh);
  warned = [];
  const log: Log = { ...quiet, warn: (fields) => warned.push(codeOf(fields)) };
  const book = { size: 1, rootHash: () => '0'.repeat(64) } as AuditBook;
  const subjects = subjectsOf(world.mesh);
  writer = new ReceiptWriter({
    exchange: world.principal('auditor', { bus, keyring }),
    clock: world.clock,
    log,
    book,
    issued: new IssuedReceipts({ clock: world.clock, isOpen: () => false }),
    verdictSubject: subjects.auditReceipt(),
    receiptSubject: subjects.auditReceipt(),
  });
});

afterEach(async () => {
  await writer.stop();
  await bus.close();
});

function codeOf(fields: unknown): string {
  return typeof fields === 'object' && fields !== null && 'code' in fields
    ? String(fields.code)
    : '';
}

function leaf(leafIndex: number): LeafNote {
  return {
    hash: leafIndex.toString(16).padStart(64, '0'),
    leafIndex,
    verdict: 'accepted',
    type: 'step-reported',
    subject: 'any',
    channel: 'mesh',
    expiresMs: 0,
    isCheckpointNote: false,
  };
}

const published = (): number => world.broker.stream('GYRE_AUDIT').lastSequence;

it('wait for the secret of their channel, and are issued once it is there', async () => {
  writer.issue([leaf(0), leaf(1)]);
  await expect.poll(() => warned.length, { timeout: 5_000 }).toBeGreaterThan(1);
  expect(new Set(warned)).toEqual(new Set(['CHANNEL_UNKNOWN']));
  expect(published()).toBe(0);
  const secret = crypto.randomBytes(32);
  keyring.hold({ channel: 'mesh', epoch: 1, standing: 'active', secret });
  await expect.poll(published, { timeout: 5_000 }).toBe(1);
});

it('are bounded while they wait: there is room only once some were issued', async () => {
  writer.issue(Array.from({ length: receiptsWaitingMax + 40 }, (_, index) => leaf(index)));
  await expect.poll(() => warned.length, { timeout: 5_000 }).toBeGreaterThan(0);
  let hasRoom = false;
  const room = writer.room().then(() => (hasRoom = true));
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(hasRoom).toBe(false);
  keyring.hold({
    channel: 'mesh',
    epoch: 1,
    standing: 'active',
    secret: crypto.randomBytes(32),
  });
  await room;
  expect(hasRoom).toBe(true);
});
