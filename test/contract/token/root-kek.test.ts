/**
 * Layer 4's root KEK in a real token (SoftHSM2): turned there, destroyed there, and never on the disk.
 * The token goes away, hangs and dies at every point of a turn, while data is served all the time.
 */
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { heldKeyOf, nameElsewhere } from '#agents/layers/embedded/keys-elsewhere.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { openKeyToken } from '#shared/runtime/token/key-token.ts';
import { pinFileOf } from '../../support/root-token.ts';
import { removeOriginals, softHsm, type SoftHsmForTest } from '../../support/softhsm.ts';
import { endAll, hasKey, inStore, Layer4, rootSlot, softToken, takeAway } from './layer-4.ts';

const challenge = new Uint8Array([1]);
const [kek, root] = ['4/kek', rootSlot];

afterEach(endAll);
afterAll(removeOriginals);

async function turn({ adapter }: Layer4, slot: string, version: number): Promise<void> {
  await adapter.prepare(slot, version);
  await adapter.activate(slot, version, challenge);
  expect(await adapter.verify(slot, version)).toEqual({ ok: true });
}

/** As soon as nothing is under it. */
async function retireOld(layer: Layer4, slot: string, version: number): Promise<void> {
  await layer.until(async () => (await layer.adapter.usesLately(slot, version)) === 0);
  await layer.adapter.retire(slot, version);
}

/** Made with a root KEK in a file, and started over a token. */
async function fromFile(hsm: SoftHsmForTest): Promise<Layer4> {
  const layer = new Layer4();
  await layer.start();
  await layer.stop();
  await layer.start(hsm);
  return layer;
}

const copies =
  'in a token, but earlier copies of the disk open what 4/kek needs: turn 4/kek, then retire the old one';
const unreachable = { code: 'SYSTEM_UNREACHABLE', retryable: true };

describe.skipIf('missing' in softHsm)('a root KEK in a token', () => {
  test('is made there, turned there, and destroyed there once nothing is under it', async () => {
    const hsm = await softToken('root');
    const layer = new Layer4();
    await layer.start(hsm);
    expect(await layer.custody()).toEqual({
      kind: 'token',
      notice: 'in token gyre-test, software token (SoftHSM2): not an HSM',
    });
    const made = await layer.key('o');
    await turn(layer, kek, 2);
    await layer.adapter.prepare(root, 2);
    // Frozen, nothing is wrapped anew: what is under the old key holds it.
    await layer.adapter.freeze(root, true);
    await layer.adapter.activate(root, 2, challenge);
    await expect(layer.adapter.retire(root, 1)).rejects.toThrow('2 KEKs are still under version 1');
    expect(await hasKey(hsm, layer, 1)).toBe(true);
    // As after a crash at that point: the next start goes on where it was broken off.
    await layer.adapter.freeze(root, false);
    await layer.stop();
    await layer.start(hsm);
    await layer.until(async () => (await layer.adapter.usesLately(root, 1)) === 0);
    await layer.adapter.retire(root, 1);
    await layer.adapter.retire(root, 1);
    expect(await hasKey(hsm, layer, 1)).toBe(false);
    expect(await hasKey(hsm, layer, 2)).toBe(true);
    expect(await layer.adapter.verify(root, 2)).toEqual({ ok: true });
    expect(await layer.key('o')).toBe(made);
  });

  test('a crash between token and key store is made good, on either side', async () => {
    const hsm = await softToken('root');
    const layer = new Layer4();
    await layer.start(hsm);
    const made = await layer.key('o');
    // Made in the token, and gone before the store had it: the next try takes that key.
    const token = await openKeyToken(hsm.options);
    const id = await token.makeKey(inStore(layer.state, (store) => nameElsewhere(store, root, 2)));
    await token.close();
    expect(await layer.adapter.prepare(root, 2)).toMatchObject({ keyId: toHex(id) });
    await turn(layer, root, 2);
    await layer.stop();
    // Destroyed in the store, and gone before the token had heard of it: the next start tells it.
    inStore(layer.state, (store) => store.destroy(root, 1));
    expect(await hasKey(hsm, layer, 1)).toBe(true);
    await layer.start(hsm);
    await layer.until(async () => !(await hasKey(hsm, layer, 1)));
    expect(await layer.key('o')).toBe(made);
  });

  test('what is on the disk opens nothing without it, nor with another token', async () => {
    const hsm = await softToken('root');
    const layer = new Layer4();
    await layer.start(hsm);
    const made = await layer.key('o');
    await layer.stop();
    const copy = (): Layer4 => {
      const thief = new Layer4();
      cpSync(layer.state, thief.state, { recursive: true });
      return thief;
    };
    await expect(copy().start()).rejects.toMatchObject({ code: 'TOKEN_NOT_CONFIGURED' });
    const another = await softToken();
    await expect(copy().start(another)).rejects.toMatchObject({ code: 'ROOT_KEY_MISSING' });
    // The store's own key opens every secret that is kept: none of them is a root KEK.
    inStore(copy().state, (store) => {
      for (const stored of store.versions(root)) expect(heldKeyOf(store, stored)).toBeDefined();
    });
    const holdsPin = readdirSync(layer.state).some((name) =>
      readFileSync(join(layer.state, name)).includes(hsm.pin),
    );
    expect(holdsPin).toBe(false);
    // With the token it opens: what was missing is the token and nothing else.
    const owner = copy();
    await owner.start(hsm);
    expect(await owner.key('o')).toBe(made);
  });

  test('a root KEK in a file opens with a copy of the disk, and says so; turning it ends that', async () => {
    const hsm = await softToken('root');
    const layer = new Layer4();
    await layer.start();
    expect(await layer.custody()).toEqual({
      kind: 'file',
      notice: 'in a file: a copy of the disk opens everything',
    });
    const made = await layer.key('o');
    await layer.stop();
    const thief = new Layer4();
    cpSync(layer.state, thief.state, { recursive: true });
    await thief.start();
    expect(await thief.key('o')).toBe(made);
    await layer.start(hsm);
    const still = 'still in a file too: turn 4/root-kek, then retire the old one';
    expect(await layer.custody()).toEqual({ kind: 'file', notice: still });
    await turn(layer, root, 2);
    expect(await layer.custody()).toEqual({ kind: 'file', notice: still });
    await retireOld(layer, root, 1);
    // The share of the KEK is what it was: an old copy of the disk has it, and the root that opens it.
    expect(await layer.custody()).toEqual({ kind: 'file', notice: copies });
    await turn(layer, kek, 2);
    await retireOld(layer, kek, 1);
    expect(await layer.custody()).toMatchObject({ kind: 'token' });
    expect(await layer.key('o')).toBe(made);
    await layer.stop();
    await expect(layer.start()).rejects.toMatchObject({ code: 'TOKEN_NOT_CONFIGURED' });
  });
});

describe.skipIf('missing' in softHsm)('a KEK from before the token', () => {
  test('is one of a turn of both at once, and goes with the next turn', async () => {
    const hsm = await softToken('root');
    const layer = await fromFile(hsm);
    const made = await layer.key('o');
    for (const slot of [kek, root]) await layer.adapter.prepare(slot, 2);
    const copy = new Layer4();
    cpSync(layer.state, copy.state, { recursive: true });
    for (const slot of [kek, root]) await layer.adapter.activate(slot, 2, challenge);
    for (const slot of [kek, root]) await retireOld(layer, slot, 1);
    // Whoever copied the disk before the root was turned has the new KEK and all that it needs.
    const inCopy = inStore(copy.state, (store) => store.version(kek, 2)?.keyId);
    expect(inCopy).toBe(inStore(layer.state, (store) => store.primary(kek)?.keyId));
    expect(await layer.custody()).toEqual({ kind: 'file', notice: copies });
    await layer.stop();
    await layer.start(hsm);
    expect(await layer.custody()).toEqual({ kind: 'file', notice: copies });
    for (const slot of [kek, root]) await turn(layer, slot, 3);
    for (const slot of [kek, root]) await retireOld(layer, slot, 2);
    expect(await layer.custody()).toMatchObject({ kind: 'token' });
    expect(await layer.key('o')).toBe(made);
  });

  test('is also one that was under a file for the time of a rollback, or of which it is not known', async () => {
    const hsm = await softToken('root');
    const layer = await fromFile(hsm);
    await turn(layer, root, 2);
    await turn(layer, kek, 2);
    await retireOld(layer, kek, 1);
    await layer.adapter.rollback(root, 1);
    await turn(layer, root, 3);
    for (const version of [1, 2]) await retireOld(layer, root, version);
    expect(await layer.custody()).toEqual({ kind: 'file', notice: copies });
    await turn(layer, kek, 3);
    await retireOld(layer, kek, 2);
    expect(await layer.custody()).toMatchObject({ kind: 'token' });
    await layer.stop();
    const database = new DatabaseSync(join(layer.state, 'data-keys.db'));
    database.exec('ALTER TABLE kek_shares DROP COLUMN was_in_file');
    database.close();
    await layer.start(hsm);
    expect(await layer.custody()).toEqual({ kind: 'file', notice: copies });
  });
});

describe.skipIf('missing' in softHsm)('while the token is away', () => {
  test('data is served on, new data keys too; no key of the hierarchy is turned, and turns go back', async () => {
    const hsm = await softToken('root');
    const layer = new Layer4();
    await layer.start(hsm);
    const made = await layer.key('o');
    // What a new process has of it, it has from its start.
    await layer.stop();
    await layer.start(hsm);
    await layer.adapter.prepare(root, 2);
    const bringBack = takeAway(hsm, layer);
    expect(await layer.key('o')).toBe(made);
    const during = await layer.key('during');
    expect(during).toEqual(expect.any(String));
    await expect(layer.adapter.activate(root, 2, challenge)).rejects.toMatchObject(unreachable);
    await expect(layer.adapter.prepare(kek, 2)).rejects.toMatchObject(unreachable);
    await layer.adapter.rollback(root, 1);
    await layer.adapter.rollback(kek, 1);
    // A token that is away is looked for once in two seconds, however often a step is tried.
    const started = layer.pids.length + layer.lost;
    for (let attempt = 0; attempt < 5; attempt += 1) {
      await expect(layer.adapter.prepare(root, 3)).rejects.toMatchObject(unreachable);
    }
    expect(layer.pids.length + layer.lost).toBeLessThanOrEqual(started + 1);
    expect(await layer.key('during')).toBe(during);
    bringBack();
    // What was prepared and given up is destroyed in the token as soon as that can be done.
    await layer.until(async () => !(await hasKey(hsm, layer, 2)));
    await turn(layer, root, 3);
    await turn(layer, kek, 3);
    expect(await layer.key('o')).toBe(made);
  });

  test('a turn that was made goes back, and what is under the new key is wrapped back later', async () => {
    const hsm = await softToken('root');
    const layer = new Layer4();
    await layer.start(hsm);
    const made = await layer.key('o');
    await turn(layer, root, 2);
    const bringBack = takeAway(hsm, layer);
    await layer.adapter.rollback(root, 1);
    expect(await layer.key('o')).toBe(made);
    await expect(layer.adapter.retire(root, 2)).rejects.toThrow('1 KEKs are still under version 2');
    bringBack();
    await layer.until(async () => (await layer.adapter.usesLately(root, 2)) === 0);
    await layer.adapter.retire(root, 2);
    expect(await layer.adapter.verify(root, 1)).toEqual({ ok: true });
    await layer.stop();
    await layer.start(hsm);
    expect(await layer.key('o')).toBe(made);
  });

  test('a start is refused with what to do, and nothing is made in its place', async () => {
    const hsm = await softToken('root');
    const layer = new Layer4();
    await layer.start(hsm);
    const made = await layer.key('o');
    await layer.stop();
    const bringBack = takeAway(hsm, new Layer4());
    const refused = await layer.start(hsm).catch((error: unknown) => error);
    expect(refused).toMatchObject({
      name: 'BootError',
      code: expect.stringMatching(/^TOKEN_(?:NOT_FOUND|UNREACHABLE)$/),
      remedy: expect.any(String),
    });
    bringBack();
    writeFileSync(pinFileOf(hsm), 'not-the-pin');
    await expect(layer.start(hsm)).rejects.toMatchObject({ code: 'TOKEN_PIN_WRONG' });
    writeFileSync(pinFileOf(hsm), hsm.pin);
    await layer.start(hsm);
    expect(await layer.key('o')).toBe(made);
    expect(existsSync(layer.state)).toBe(true);
  });
});

describe.skipIf('missing' in softHsm)('the process of the token', () => {
  test('killed in the midst of any operation of a turn, it is done in the next one', async () => {
    const hsm = await softToken('root');
    const layer = new Layer4();
    await layer.start(hsm);
    const made = await layer.key('o');
    /** The child is stopped, so that it dies with the operation under way. */
    const killedDuring = async <Result>(operation: () => Promise<Result>): Promise<Result> => {
      const pid = layer.pids.at(-1) ?? 0;
      process.kill(pid, 'SIGSTOP');
      const running = operation();
      setTimeout(() => process.kill(pid, 'SIGKILL'), 100);
      return await running;
    };
    await killedDuring(() => layer.adapter.prepare(root, 2));
    await killedDuring(() => layer.adapter.activate(root, 2, challenge));
    expect(await killedDuring(() => layer.adapter.verify(root, 2))).toEqual({ ok: true });
    await killedDuring(() => layer.adapter.rollback(root, 1));
    await turn(layer, root, 3);
    await killedDuring(() => layer.adapter.retire(root, 1));
    expect(await hasKey(hsm, layer, 1)).toBe(false);
    expect(layer.pids.length).toBeGreaterThanOrEqual(6);
    expect(await layer.key('o')).toBe(made);
  });

  test('a child that hangs twice is a fault worth another try, and the outcome is found out', async () => {
    const hsm = await softToken('root');
    const layer = new Layer4();
    await layer.start(hsm, 300);
    const made = await layer.key('o');
    const started = layer.pids.length;
    process.kill(layer.pids.at(-1) ?? 0, 'SIGSTOP');
    const preparing = layer.adapter.prepare(root, 2).catch((error: unknown) => error);
    await vi.waitUntil(
      () => {
        if (layer.pids.length === started) return false;
        process.kill(layer.pids.at(-1) ?? 0, 'SIGSTOP');
        return true;
      },
      { timeout: 10_000, interval: 1 },
    );
    const outcome = await preparing;
    // The second may have answered before it was stopped.
    if (outcome instanceof Error) expect(outcome).toMatchObject(unreachable);
    await layer.clock.advance(5_000);
    await turn(layer, root, 2);
    expect(await layer.key('o')).toBe(made);
  });
});
