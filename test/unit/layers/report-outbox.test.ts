/** Receipts under documents that a layer agent has yet to learn of are waited for: no other one comes. */

import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ReportOutbox } from '#agents/layers/report-outbox.ts';
import type { Bus, BusMessage } from '#shared/bus/bus.ts';
import type { Exchange, Opening } from '#shared/runtime/exchange.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { quiet } from '../../support/world.ts';

const covered = 'a'.repeat(64);
const receipt: BusMessage = {
  subject: 'gyre.v1.test.audit.receipt',
  data: new Uint8Array(),
  messageId: '',
  sequence: 1,
  deliveryCount: 1,
  timeMs: 0,
};

/** Opens receipts once it has learned of the documents, which it can only when somebody tells. */
class Member {
  isTold = false;
  #knows = false;

  catchUp(): Promise<void> {
    this.#knows ||= this.isTold;
    return Promise.resolve();
  }

  open(): Opening {
    if (!this.#knows) return { status: 'refused', code: 'TRUST_BEHIND' };
    const body = { entries: [{ statementHash: covered }] };
    return { status: 'opened', event: { type: 'receipts-issued', body } } as unknown as Opening;
  }
}

let database: DatabaseSync;
let outbox: Outbox;
let member: Member;
let reports: ReportOutbox;

beforeEach(() => {
  database = new DatabaseSync(':memory:');
  const fail = (fault: unknown): void => {
    throw new Error('nothing goes wrong here', { cause: fault });
  };
  outbox = new Outbox({ database, clock: systemClock, onConflict: fail, onTrouble: fail });
  outbox.enqueue({ subject: 'a.report', data: new Uint8Array(1), messageId: covered });
  member = new Member();
  const exchange = member as unknown as Exchange;
  reports = new ReportOutbox({ outbox, bus: {} as Bus, exchange, log: quiet });
});

afterEach(() => database.close());

it('wait until somebody tells', async () => {
  expect(await reports.handle(receipt)).toMatchObject({ retryAfterMs: 1_000 });
  expect(outbox.counts().rows).toBe(1);
  member.isTold = true;
  expect(await reports.handle(receipt)).toBe('ack');
  expect(outbox.counts().rows).toBe(0);
});
