/** A rollback that cannot be done: locked out, and led back by two operators. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { memberFiles } from '#cli/mesh/layout.ts';
import { agents } from '#cli/mesh/members.ts';
import { gyreJson } from '../support/gyre.ts';
import { TestMesh } from '../support/mesh.ts';
import { refuseNewPrimaries, refuseOldPrimaries } from '../support/sabotage.ts';

interface Rotation {
  readonly planId: string;
  readonly phase: string;
  readonly lockout?: { readonly code: string };
}
interface Keys {
  readonly keys: readonly {
    readonly slot: string;
    readonly keyId: string;
    readonly frozen: boolean;
  }[];
}
interface Fault {
  readonly error: { readonly code: string };
}

const slow = 120_000;
let mesh: TestMesh;
let planId = '';
let before: Keys['keys'] = [];
let repair = (): void => undefined;

const gyre = <Shape>(...args: string[]) => gyreJson<Shape>([...args, '--dir', mesh.layout.root]);

function stateOf(layer: number): string {
  const agent = agents.find((member) => member.layer === layer);
  if (agent === undefined) throw new Error(`no agent of layer ${layer}`);
  return join(mesh.layout.memberDirectory(agent), memberFiles.state);
}

beforeAll(async () => {
  mesh = await TestMesh.start();
}, slow);
afterAll(() => mesh.remove(), slow);

test(
  '1. activation fails in layer 5, the way back in layer 4: exit 8',
  { timeout: slow },
  async () => {
    before = (await gyre<Keys>('keys', 'list')).document.keys;
    planId = (await gyre<Rotation>('rotation', 'plan', '--layers', '4,5')).document.planId;
    await gyre('rotation', 'approve', planId, '--as', 'op-2');
    const [allowLayer5, allowLayer4] = [
      refuseNewPrimaries(stateOf(5)),
      refuseOldPrimaries(stateOf(4)),
    ];
    repair = () => {
      allowLayer5();
      allowLayer4();
    };
    const run = await gyre<Rotation>('rotation', 'execute', planId);
    expect(run).toMatchObject({
      code: 8,
      document: { phase: 'locked_out', lockout: { code: 'ORCH-8006' } },
    });
  },
);

test('2. the lockout stays, and the slots sign no more', async () => {
  const shown = await gyre<Rotation>('rotation', 'show', planId);
  expect(shown).toMatchObject({ code: 0, document: { phase: 'locked_out' } });
  const { keys } = (await gyre<Keys>('keys', 'list')).document;
  expect(keys.filter(({ slot }) => slot.startsWith('4/')).map(({ frozen }) => frozen)).toEqual([
    true,
    true,
  ]);
});

test('3. nobody recovers it alone', async () => {
  const early = await gyre<Fault>('rotation', 'recover', planId, '--approve', '--as', 'op-2');
  expect(early.code).not.toBe(0);
  const asked = await gyre<Rotation>('rotation', 'recover', planId);
  expect(asked).toMatchObject({ code: 0, document: { phase: 'locked_out' } });
  const own = await gyre<Fault>('rotation', 'recover', planId, '--approve');
  expect(own).toMatchObject({ code: 6, document: { error: { code: 'ORCH-8015' } } });
});

test('4. repaired and approved, it goes back to the old keys', { timeout: slow }, async () => {
  repair();
  const recovered = await gyre<Rotation>(
    'rotation',
    'recover',
    planId,
    '--approve',
    '--as',
    'op-2',
  );
  expect(recovered).toMatchObject({ code: 0, document: { phase: 'rolled_back' } });
  const { keys } = (await gyre<Keys>('keys', 'list')).document;
  expect(keys.map(({ slot, keyId, frozen }) => ({ slot, keyId, frozen }))).toEqual(
    before.map(({ slot, keyId }) => ({ slot, keyId, frozen: false })),
  );
});
