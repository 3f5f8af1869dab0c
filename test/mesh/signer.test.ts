/** What thieves ask of the signer, all at once: it states no two stories. */

import { afterEach, expect, it } from 'vitest';
import type { Token } from '#shared/runtime/token/token.ts';
import type { Bus } from '#shared/bus/bus.ts';
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
  const answers = await Promise.all(['1', '2', '3'].map(askerOf(mesh, bus)));
  expect(answers.filter(({ ok }) => ok)).toHaveLength(1);
  await bus.close();
});

it('what the token signs wrongly leaves nobody', async () => {
  let isFailing = true;
  mesh = await InMemoryMesh.start({
    tokenOf: (token) =>
      standingIn(token, async (...input) => {
        const signature = await token.sign(...input);
        if (isFailing) signature[0] = (signature[0] ?? 0) ^ 1;
        return signature;
      }),
  });
  await mesh.stopAgent('auditor');
  const bus = mesh.world.bus('auditor');
  const ask = askerOf(mesh, bus);
  expect(await ask('1')).toMatchObject({ ok: false, code: 'ORCH-8013' });
  isFailing = false;
  expect(await ask('1')).toMatchObject({ ok: true });
  await bus.close();
});

/** Asks for the statement of a tree head, as an auditor does. */
function askerOf(running: InMemoryMesh, bus: Bus) {
  const thief = running.principal('auditor', { bus });
  return (digit: string) =>
    thief.ask(
      { agentId: 'signer', channel: 'saga' },
      {
        ask: 'sign-statement',
        statement: {
          kind: 'audit_checkpoint',
          mesh: running.world.mesh,
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
}

function standingIn(token: Token, sign: Token['sign']): Token {
  return new Proxy(token, {
    get: (target, property) => {
      const value: unknown = property === 'sign' ? sign : Reflect.get(target, property, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
