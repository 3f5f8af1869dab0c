/** What thieves ask of the signer, all at once: it states no two stories. */

import { afterEach, expect, it } from 'vitest';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';

let mesh: InMemoryMesh | undefined;

afterEach(async () => {
  await mesh?.stop();
  mesh = undefined;
});

it('of two tree heads that are asked for at once, one is signed', async () => {
  mesh = await InMemoryMesh.start();
  await mesh.stopAgent('auditor');
  const bus = mesh.world.bus('auditor');
  const thief = mesh.principal('auditor', { bus });
  const ask = (digit: string) =>
    thief.ask(
      { agentId: 'signer', channel: 'saga' },
      {
        ask: 'sign-statement',
        statement: {
          kind: 'audit_checkpoint',
          mesh: mesh?.world.mesh ?? '',
          auditor: 'auditor',
          tree_size: 5,
          root_hash: digit.repeat(64),
          issued_at: new Date().toISOString(),
        },
        evidence: [],
        consistency: [],
      },
      5_000,
    );
  const answers = await Promise.all([ask('1'), ask('2'), ask('3')]);
  expect(answers.filter(({ ok }) => ok)).toHaveLength(1);
  await bus.close();
});
