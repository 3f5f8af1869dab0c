/** The circuit breaker around layer 5's database, and PostgreSQL's driver before a server that hangs. */
import { createServer, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { AdapterError } from '#agents/layers/adapter.ts';
import type { Actor, Database } from '#agents/layers/5-database/database.ts';
import { GuardedDatabase } from '#agents/layers/5-database/guarded-database.ts';
import { PostgresqlDatabase } from '#agents/layers/5-database/postgresql.ts';
import { quiet } from '../../support/world.ts';
import { ManualClock } from '../runtime/manual-clock.ts';

const actor: Actor = { role: 'gyre_rows' };
const away = { name: 'AdapterError', code: 'SYSTEM_UNREACHABLE', retryable: true };

/** Answers, or does not. */
class MoodyDatabase implements Database {
  readonly kind = 'postgresql';
  calls = 0;
  fault: AdapterError | undefined;

  async transact<Result>(): Promise<Result> {
    this.calls += 1;
    if (this.fault !== undefined) throw this.fault;
    return undefined as Result;
  }

  transactAsOwner = this.transact;
  async close(): Promise<void> {}
}

function guarded() {
  const clock = new ManualClock();
  const moody = new MoodyDatabase();
  const database = new GuardedDatabase(moody, { clock, log: quiet });
  const ask = () => database.transact(actor, async () => undefined);
  return { clock, moody, database, ask };
}

const unreachable = new AdapterError('SYSTEM_UNREACHABLE', 'gone', { retryable: true });

test('a database that does not answer is not asked by requests, and asked again once it answers', async () => {
  const { clock, moody, database, ask } = guarded();
  moody.fault = unreachable;
  for (let count = 0; count < 3; count += 1) await expect(ask()).rejects.toMatchObject(away);
  expect(moody.calls).toBe(3);
  for (let count = 0; count < 5; count += 1) await expect(ask()).rejects.toMatchObject(away);
  expect([moody.calls, database.breaker.refused]).toEqual([3, 5]);
  // It is tried meanwhile, by nobody's request.
  await clock.advance(1_000);
  expect(moody.calls).toBeGreaterThan(5);
  await expect(ask()).rejects.toMatchObject(away);
  expect(database.breaker.standing).not.toBe('closed');
  moody.fault = undefined;
  await clock.advance(210);
  expect(database.breaker.standing).toBe('closed');
  await ask();
  const { calls } = moody;
  await clock.advance(5_000);
  expect(moody.calls).toBe(calls);
});

test('what a database answers is no reason to stop asking it', async () => {
  const { clock, moody, database, ask } = guarded();
  moody.fault = new AdapterError('STORE_FAILED', 'SQLSTATE 42P01');
  for (let count = 0; count < 6; count += 1) {
    await expect(ask()).rejects.toMatchObject({ code: 'STORE_FAILED' });
  }
  expect([moody.calls, database.breaker.standing]).toEqual([6, 'closed']);
  // Back with another fault than silence is back.
  moody.fault = unreachable;
  for (let count = 0; count < 3; count += 1) await expect(ask()).rejects.toMatchObject(away);
  moody.fault = new AdapterError('DISK_FULL', 'no room');
  await clock.advance(210);
  await expect(ask()).rejects.toMatchObject({ code: 'DISK_FULL' });
});

test('a server that takes connections and says nothing is not there', async () => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const driver = new PostgresqlDatabase(`postgresql://nobody@127.0.0.1:${port}/none`, quiet);
  const clock = new ManualClock();
  const database = new GuardedDatabase(driver, { clock, log: quiet });
  const ask = () => database.transact(actor, (on) => on.rows('SELECT 1'));
  const asked = Promise.allSettled([ask(), ask(), ask()]);
  for (const answer of await asked) expect(answer).toMatchObject({ reason: away });
  const connections = sockets.length;
  for (let count = 0; count < 20; count += 1) await expect(ask()).rejects.toMatchObject(away);
  expect([sockets.length, database.breaker.refused]).toEqual([connections, 20]);
  for (const socket of sockets) socket.destroy();
  await database.close();
  await new Promise((resolve) => server.close(resolve));
});
