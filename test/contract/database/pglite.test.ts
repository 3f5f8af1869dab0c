/** Layer 5 on the embedded database. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Value } from '#agents/layers/5-database/database.ts';
import { PgliteDatabase } from '#agents/layers/5-database/pglite.ts';
import { openService as openEncryption } from '#agents/layers/4-encryption/service.ts';
import { openService } from '#agents/layers/5-database/service.ts';
import { RunningService, serviceFolder } from '../../support/layer-service.ts';
import { databaseSuite } from './database-suite.ts';
import { tamperingSuite } from './tampering-suite.ts';
import type { TestedDatabase } from './world.ts';

databaseSuite('PGlite', openPglite);
tamperingSuite('PGlite', openPglite);

async function openPglite() {
  const folder = mkdtempSync(join(tmpdir(), 'gyre-pglite-'));
  const database = await PgliteDatabase.start(join(folder, 'data'));
  return {
    database,
    thief: (text: string, values?: readonly Value[]) =>
      database.transactAsOwner((on) => on.rows(text, values)),
    close: async () => {
      await database.close();
      rmSync(folder, { recursive: true, force: true });
    },
  } satisfies TestedDatabase;
}

test('the service brings its own database along, and finds it again', async () => {
  const folder = serviceFolder();
  const encryption = await RunningService.start({ layer: 4, open: openEncryption, folder });
  const service = await RunningService.start({ layer: 5, open: openService, folder });
  const path = '/internal/v1/records/r-1';
  const body = { owner: 'ann', kind: 'note', columns: { text: 'b25l' } };
  const put = () => service.asPeer(6).ask({ method: 'PUT', path, body });
  const written = await put();
  expect(written.status).toBe('done');
  await service.stop();
  await service.start();
  expect(await put()).toEqual(written);
  await service.end();
  await encryption.end();
});
