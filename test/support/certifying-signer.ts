/** A signer that is a certificate authority, in a world of the test, over the in-memory bus. */

import { DatabaseSync } from 'node:sqlite';
import { CertificateOffice } from '#agents/signer/certificate-office.ts';
import { CheckpointMemory } from '#agents/signer/checkpoint-memory.ts';
import { EpochRecord } from '#agents/signer/epoch-record.ts';
import { Signer } from '#agents/signer/signer.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import { KeysInMemory } from './keys-in-memory.ts';
import { crypto, quiet, type World } from './world.ts';

export async function startCertifyingSigner(world: World, names: readonly string[]) {
  const database = new DatabaseSync(':memory:');
  const bus = world.bus('signer');
  const { trust, clock, keys } = world;
  const ignore = (): void => undefined;
  const isLockedOut = (): boolean => false;
  const authority = crypto.importSigningSeed(crypto.randomBytes(32));
  const token = new KeysInMemory({
    crypto,
    keys: new Map([...keys, ['certificate-authority', authority]]),
  });
  const ports = { token, database, trust, crypto, clock, isLockedOut };
  const signer = new Signer({
    ...ports,
    agentId: 'signer',
    exchange: world.principal('signer', { bus }),
    bus,
    outbox: new Outbox({ database, clock, onConflict: ignore, onTrouble: ignore }),
    log: quiet,
    subjects: subjectsOf(world.mesh),
    checkpoints: new CheckpointMemory(database, crypto),
    epochRecord: new EpochRecord(database),
    certificates: await CertificateOffice.open({ ...ports, names }),
    childRestarts: () => 0,
  });
  await signer.start();
  return {
    stop: async (): Promise<void> => {
      await signer.stop();
      database.close();
    },
  };
}
