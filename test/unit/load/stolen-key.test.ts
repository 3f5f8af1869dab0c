/** The thief of a load really has the key: his sessions verify as the service's own, also later. */
import { expect, it } from 'vitest';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { checkToken } from '#agents/layers/service/token-check.ts';
import { akpKeyOf } from '#agents/layers/service/token-signer.ts';
import { sessionToken } from '#schemas/identity.ts';
import { systemClock as clock } from '#shared/runtime/system.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { StolenKey } from '../../load/stolen-key.ts';
import { serviceFolder } from '../../support/layer-service.ts';
import { crypto } from '../../support/world.ts';

it('signs sessions under the key that was primary when the disk was copied', async () => {
  const folder = serviceFolder();
  const disk = new SystemDisk(folder);
  const keys = EmbeddedAdapter.open({ layer: 1, disk, crypto, clock, usageWindowMs: 0 });
  const stolen = await StolenKey.steal(folder);
  try {
    const [primary] = keys.store.versions('1/session-token');
    expect(stolen.keyId).toBe(primary?.keyId);
    const asked: string[] = [];
    const keyOf = async (keyId: string) => {
      asked.push(keyId);
      return primary === undefined ? undefined : akpKeyOf(primary);
    };
    const { audience } = sessionToken;
    const verdict = await checkToken(await stolen.session('witness'), {
      ...sessionToken,
      audience,
      clock,
      keyOf,
    });
    expect(verdict).toMatchObject({ status: 'valid', claims: { sub: 'witness' } });
    expect(asked).toEqual([primary?.keyId]);
  } finally {
    await stolen.close();
    keys.close();
  }
});
