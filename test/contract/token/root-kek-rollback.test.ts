/**
 * The rollback step while layer 4's token is away: a turn of the root KEK goes back at whichever point
 * the token was lost, because what it cannot be asked is shown by what is in memory. Going on is
 * refused meanwhile, and what is damaged is not passed over.
 */
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { runEffect } from '#agents/layers/step-effects.ts';
import type { NamedKey, StepTask } from '#agents/layers/step-task.ts';
import { slotDefinitions } from '#schemas/layers.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { removeOriginals, softHsm, type SoftHsmForTest } from '../../support/softhsm.ts';
import { crypto } from '../../support/world.ts';
import { endAll, Layer4, rootSlot, softToken, takeAway } from './layer-4.ts';

const challenge = new Uint8Array([1]);
const [kek, root] = ['4/kek', rootSlot];
const unreachable = { code: 'SYSTEM_UNREACHABLE', retryable: true };

afterEach(endAll);
afterAll(removeOriginals);

async function keyOf({ adapter }: Layer4, slot: string, version: number): Promise<NamedKey> {
  const inspected = (await adapter.inspect()).find((each) => each.slot === slot);
  const keyId = inspected?.versions.find((key) => key.version === version)?.keyId;
  return { version, keyId: keyId ?? '' };
}

async function primaryOf({ adapter }: Layer4, slot: string): Promise<number | undefined> {
  const inspected = (await adapter.inspect()).find((each) => each.slot === slot);
  return inspected?.versions.find(({ state }) => state === 'primary')?.version;
}

/** The step that takes version 2 of these slots back, as the agent does it. */
async function stepBack(layer: Layer4, slots: readonly string[], recovers = false) {
  const definitions = slotDefinitions.filter(({ slot }) => slots.includes(slot));
  const task: StepTask = {
    commandId: 'command-1',
    sagaId: 'saga-1',
    sagaIndex: 3,
    planDigest: '0'.repeat(64),
    operation: 'rollback',
    recovers,
    slots: await Promise.all(
      definitions.map(async ({ slot, keyKind }) => ({
        slot,
        keyKind,
        role: 'owner' as const,
        checkpoint: await keyOf(layer, slot, 1),
        candidate: await keyOf(layer, slot, 2),
      })),
    ),
  };
  return await runEffect(task, { adapter: layer.adapter, crypto, clock: systemClock });
}

async function prepareBoth({ adapter }: Layer4): Promise<void> {
  for (const slot of [kek, root]) await adapter.prepare(slot, 2);
}

async function started(hsm: SoftHsmForTest): Promise<Layer4> {
  const layer = new Layer4();
  await layer.start(hsm);
  return layer;
}

describe.skipIf('missing' in softHsm)('the rollback step while the token is away', () => {
  test('takes a turn of the whole layer back; what is under the new root is wrapped back later', async () => {
    const hsm = await softToken('root');
    const layer = await started(hsm);
    const made = await layer.key('o');
    await prepareBoth(layer);
    for (const slot of [kek, root]) await layer.adapter.activate(slot, 2, challenge);
    const bringBack = takeAway(hsm, layer);
    await expect(layer.adapter.verify(root, 2)).rejects.toMatchObject(unreachable);
    expect(await stepBack(layer, [kek, root])).toMatchObject({ status: 'done' });
    expect(await stepBack(layer, [kek, root], true)).toMatchObject({ status: 'done' });
    expect([await primaryOf(layer, kek), await primaryOf(layer, root)]).toEqual([1, 1]);
    expect(await layer.key('o')).toBe(made);
    bringBack();
    await layer.until(async () => (await layer.adapter.usesLately(root, 2)) === 0);
    await layer.adapter.retire(root, 2);
    expect(await layer.adapter.verify(root, 1)).toEqual({ ok: true });
    await layer.stop();
    await layer.start(hsm);
    expect(await layer.key('o')).toBe(made);
  });

  test('takes an activation back that the token never answered', async () => {
    const hsm = await softToken('root');
    const layer = await started(hsm);
    const made = await layer.key('o');
    await prepareBoth(layer);
    await layer.adapter.activate(kek, 2, challenge);
    takeAway(hsm, layer);
    await expect(layer.adapter.activate(root, 2, challenge)).rejects.toMatchObject(unreachable);
    expect(await stepBack(layer, [kek, root])).toMatchObject({ status: 'done' });
    expect(await layer.key('o')).toBe(made);
  });

  test('takes the root KEK back into its file, from which it came', async () => {
    const hsm = await softToken('root');
    const layer = new Layer4();
    await layer.start();
    const made = await layer.key('o');
    await layer.stop();
    await layer.start(hsm);
    await layer.adapter.prepare(root, 2);
    await layer.adapter.activate(root, 2, challenge);
    takeAway(hsm, layer);
    expect(await stepBack(layer, [root])).toMatchObject({ status: 'done' });
    await layer.until(async () => (await layer.adapter.usesLately(root, 2)) === 0);
    expect(await layer.key('o')).toBe(made);
  });

  test('is refused where what is in memory serves nothing', async () => {
    const hsm = await softToken('root');
    const layer = await started(hsm);
    await layer.key('o');
    await layer.adapter.prepare(root, 2);
    await layer.adapter.activate(root, 2, challenge);
    const bringBack = takeAway(hsm, layer);
    const database = new DatabaseSync(join(layer.state, 'data-keys.db'));
    database.exec('UPDATE data_keys SET wrapped = zeroblob(48)');
    expect(await stepBack(layer, [root])).toMatchObject({ status: 'failed', code: 'ORCH-8005' });
    // With the token there it is asked, and what it says counts.
    bringBack();
    await layer.until(async () => (await layer.adapter.usesLately(root, 2)) === 0);
    expect(await stepBack(layer, [root])).toMatchObject({ status: 'done' });
    database.exec('UPDATE kek_shares SET sealed = zeroblob(60)');
    database.close();
    expect(await stepBack(layer, [root])).toMatchObject({ status: 'failed', code: 'ORCH-8005' });
  });
});
