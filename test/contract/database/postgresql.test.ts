/** Layer 5 on a PostgreSQL server, whose tables belong to a user without privileges. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, describe, expect, test } from 'vitest';
import type { Value } from '#agents/layers/5-database/database.ts';
import { PostgresqlDatabase } from '#agents/layers/5-database/postgresql.ts';
import { openService as openEncryption } from '#agents/layers/4-encryption/service.ts';
import { openService } from '#agents/layers/5-database/service.ts';
import { RunningService, serviceFolder } from '../../support/layer-service.ts';
import { MoodyPort } from '../../support/moody-port.ts';
import { startPostgres, type PostgresServer } from '../../support/postgres.ts';
import { quiet } from '../../support/world.ts';
import { databaseSuite } from './database-suite.ts';
import { tamperingSuite } from './tampering-suite.ts';
import type { TestedDatabase } from './world.ts';

const server = await startPostgres();

if (server === undefined) {
  const why = 'there is no initdb and postgres, or no user to run them as';
  process.stderr.write(`\n*** NOT TESTED: layer 5 on PostgreSQL, because ${why} ***\n\n`);
}

/** Asked inside of what runs only where there is one. */
function started(): PostgresServer {
  if (server === undefined) throw new Error('there is no server');
  return server;
}

afterAll(() => server?.stop());

describe.runIf(server !== undefined)('on a server', () => {
  const open = async () => {
    const database = new PostgresqlDatabase(started().url, quiet);
    const thieves = new pg.Client({ connectionString: started().superuserUrl });
    await thieves.connect();
    await thieves.query('DROP SCHEMA IF EXISTS gyre CASCADE');
    return {
      database,
      thief: async (text: string, values: readonly Value[] = []) =>
        (await thieves.query(text, [...values])).rows,
      close: async () => {
        await thieves.end();
        await database.close();
      },
    } satisfies TestedDatabase;
  };
  databaseSuite('PostgreSQL', open);
  tamperingSuite('PostgreSQL', open);

  test('whoever owns the tables sees no row of them either', async () => {
    const owner = new pg.Client({ connectionString: started().url });
    await owner.connect();
    for (const table of ['entries', 'cells']) {
      expect((await owner.query(`SELECT * FROM gyre.${table} LIMIT 1`)).rows).toEqual([]);
    }
    await owner.end();
  });

  test('a server that hangs or is gone is answered for at once, and used again once it is back', async () => {
    const port = new MoodyPort(join(started().folder, '.s.PGSQL.5432'));
    await port.open();
    const folder = serviceFolder();
    writeFileSync(
      join(folder, 'database.url'),
      `postgresql://gyre_owner@127.0.0.1:${port.port}/gyre`,
    );
    const cleared = new pg.Client({ connectionString: started().superuserUrl });
    await cleared.connect();
    await cleared.query('DROP SCHEMA IF EXISTS gyre CASCADE');
    await cleared.end();
    const encryption = await RunningService.start({ layer: 4, open: openEncryption, folder });
    const config = { databaseUrlFile: 'database.url' };
    const service = await RunningService.start({ layer: 5, open: openService, folder, config });
    const path = '/internal/v1/records/r-1';
    const body = { owner: 'ann', kind: 'note', columns: { text: 'b25l' } };
    const put = () => service.asPeer(6).ask({ method: 'PUT', path, body });
    const get = () => service.asPeer(6).ask({ method: 'GET', path: `${path}?owner=ann` });
    const measured = (metric: string) => service.service.measure()[metric] ?? 0;
    const isAway = { code: 'DATABASE_UNAVAILABLE', retryable: true };
    expect((await put()).status).toBe('done');
    for (const [fall, rise] of [
      [async () => port.hang(), async () => port.recover()],
      [() => port.close(), () => port.open()],
    ] as const) {
      await fall();
      while (measured('circuit-database') === 0) expect(await get()).toMatchObject(isAway);
      const refused = measured('circuit-refused');
      for (let count = 0; count < 20; count += 1) expect(await get()).toMatchObject(isAway);
      // Nobody asked the server for any of these.
      expect(measured('circuit-refused')).toBeGreaterThanOrEqual(refused + 20);
      expect(measured('refused-database-unavailable')).toBeGreaterThanOrEqual(20);
      await rise();
      await expect.poll(() => measured('circuit-database')).toBe(0);
      expect((await get()).status).toBe('done');
    }
    await service.end();
    await encryption.end();
    await port.close();
  });

  test('a commit is on the disk of the server before it is answered, whatever the role is set to', async () => {
    const admin = new pg.Client({ connectionString: started().superuserUrl });
    await admin.connect();
    await admin.query('ALTER ROLE gyre_owner SET synchronous_commit = off');
    const database = new PostgresqlDatabase(started().url, quiet);
    const shown = await database.transactAsOwner((on) => on.rows('SHOW synchronous_commit'));
    expect(shown).toEqual([{ synchronous_commit: 'on' }]);
    await admin.query('ALTER ROLE gyre_owner RESET synchronous_commit');
    await admin.end();
    await database.close();
  });

  test('a database whose row security somebody loosened is not used', async () => {
    const thief = new pg.Client({ connectionString: started().superuserUrl });
    await thief.connect();
    const folder = serviceFolder();
    const urlFile = join(folder, 'database.url');
    writeFileSync(urlFile, `${started().url}\n`);
    const config = { databaseUrlFile: 'database.url' };
    const encryption = await RunningService.start({ layer: 4, open: openEncryption, folder });
    const start = () => RunningService.start({ layer: 5, open: openService, folder, config });
    for (const [loosen, mend] of [
      [
        'ALTER TABLE gyre.cells NO FORCE ROW LEVEL SECURITY',
        'ALTER TABLE gyre.cells FORCE ROW LEVEL SECURITY',
      ],
      ['ALTER ROLE gyre_rows BYPASSRLS', 'ALTER ROLE gyre_rows NOBYPASSRLS'],
      [
        'CREATE POLICY loose ON gyre.entries TO gyre_rows USING (true)',
        'DROP POLICY loose ON gyre.entries',
      ],
    ] as const) {
      await thief.query(loosen);
      await expect(start()).rejects.toMatchObject({ code: 'STORE_FAILED' });
      await thief.query(mend);
    }
    const service = await start();
    expect((await service.client.ask({ method: 'GET', path: '/v1/health' })).status).toBe('done');
    await service.end();
    await encryption.end();
    await thief.end();
  });
});
