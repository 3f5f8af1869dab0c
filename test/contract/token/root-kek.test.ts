/**
 * Layer 4's root KEK in a real token (SoftHSM2): turned there, destroyed there, and never on the disk.
 * The token goes away, hangs and dies at every point of a turn, while data is served all the time.
 */
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { openService } from '#agents/layers/4-encryption/service.ts';
import { definitionsOf } from '#agents/layers/embedded/embedded-adapter.ts';
import { KeyStore } from '#agents/layers/embedded/key-store.ts';
import { heldKeyOf, nameElsewhere } from '#agents/layers/embedded/keys-elsewhere.ts';
import type { RemoteAdapter } from '#agents/layers/service/remote-adapter.ts';
import { fromHex } from '#shared/crypto/bytes.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { openKeyToken } from '#shared/runtime/token/key-token.ts';
import { RunningService, serviceFolder } from '../../support/layer-service.ts';
import { makeRootToken, pinFileOf, rootTokenConfig } from '../../support/root-token.ts';
import { removeOriginals, softHsm, type SoftHsmForTest } from '../../support/softhsm.ts';
import { crypto, quiet } from '../../support/world.ts';
import { ManualClock } from '../../unit/runtime/manual-clock.ts';

const challenge = new Uint8Array([1]);
const [kek, root] = ['4/kek', '4/root-kek'];
let endings: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const end of endings.toReversed()) await end();
  endings = [];
});
afterAll(removeOriginals);

async function softToken(copyOf?: string): Promise<SoftHsmForTest> {
  const hsm = await makeRootToken(copyOf);
  endings.push(() => hsm.remove());
  return hsm;
}

/** The service of layer 4 over `hsm`, or with the root KEK in a file; `pids` of the token's children. */
class Layer4 {
  readonly folder: string;
  readonly clock = new ManualClock();
  readonly pids: number[] = [];
  /** Processes of the token that are gone. */
  lost = 0;
  #running: RunningService | undefined;
  #adapter: RemoteAdapter | undefined;

  constructor(folder = serviceFolder()) {
    this.folder = folder;
    endings.push(() => this.end());
  }

  async start(hsm?: SoftHsmForTest, timeoutMs = 5_000): Promise<void> {
    const note = (fields: object): void => {
      if ('kind' in fields && fields.kind === 'child-started' && 'pid' in fields) {
        this.pids.push(Number(fields.pid));
      }
    };
    const lose = (fields: object): void => {
      if ('kind' in fields && fields.kind === 'child-lost') this.lost += 1;
    };
    const log: Log = { ...quiet, info: note, warn: lose };
    this.#running = await RunningService.start({
      layer: 4,
      open: openService,
      folder: this.folder,
      clock: this.clock,
      log,
      config: {
        recentUseMs: 0,
        ...(hsm === undefined ? {} : { token: rootTokenConfig(hsm, timeoutMs) }),
      },
    });
    this.#adapter = await this.#running.adapter();
  }

  get adapter(): RemoteAdapter {
    if (this.#adapter === undefined) throw new Error('the service is down');
    return this.#adapter;
  }

  get state(): string {
    return join(this.folder, 'layer-4');
  }

  custody() {
    return this.#service().service.custody?.();
  }

  async key(objectId: string): Promise<unknown> {
    const body = { objectId, context: 'c' };
    const path = '/internal/v1/data-keys';
    const answer = await this.#service().asPeer(5).ask({ method: 'POST', path, body });
    return answer.status === 'done' ? (answer.body as { key?: string }).key : answer;
  }

  /** Time goes on, and the processes of the token have some, until it is so. */
  async until(isSo: () => Promise<boolean>): Promise<void> {
    await vi.waitUntil(
      async () => {
        await this.clock.advance(5_000);
        return await isSo();
      },
      { timeout: 20_000, interval: 20 },
    );
  }

  async stop(): Promise<void> {
    this.#adapter?.close();
    await this.#running?.stop();
    this.#adapter = undefined;
  }

  async end(): Promise<void> {
    await this.stop();
    await this.#running?.end();
  }

  #service(): RunningService {
    if (this.#running === undefined) throw new Error('the service is down');
    return this.#running;
  }
}

async function turn({ adapter }: Layer4, slot: string, version: number): Promise<void> {
  await adapter.prepare(slot, version);
  await adapter.activate(slot, version, challenge);
  expect(await adapter.verify(slot, version)).toEqual({ ok: true });
}

/** Nobody reaches it any more, and whoever did has lost it; until it is brought back. */
function takeAway(hsm: SoftHsmForTest, layer: Layer4): () => void {
  const tokens = join(hsm.dir, 'tokens');
  renameSync(tokens, `${tokens}-away`);
  const pid = layer.pids.at(-1);
  if (pid !== undefined) process.kill(pid, 'SIGKILL');
  return () => renameSync(`${tokens}-away`, tokens);
}

/** What `use` finds in the key store of a copy of the disk. */
function inStore<Result>(state: string, use: (store: KeyStore) => Result): Result {
  const store = KeyStore.open({
    disk: new SystemDisk(state),
    crypto,
    definitions: definitionsOf(4),
  });
  try {
    return use(store);
  } finally {
    store.close();
  }
}

/** Whether the token has the key that a version of the root KEK is called by. */
async function hasKey(hsm: SoftHsmForTest, layer: Layer4, version: number): Promise<boolean> {
  const name = inStore(layer.state, (store) => nameElsewhere(store, root, version));
  const token = await openKeyToken(hsm.options);
  try {
    // Made, where it was not there: then with an id that is nobody's.
    const id = await token.makeKey(name);
    const known = inStore(layer.state, (store) => store.version(root, version)?.keyId);
    const isThere = Buffer.compare(id, fromHex(known ?? '') ?? new Uint8Array()) === 0;
    if (!isThere) await token.destroyKey(name);
    return isThere;
  } finally {
    await token.close();
  }
}

const unreachable = { code: 'SYSTEM_UNREACHABLE', retryable: true };

describe.skipIf('missing' in softHsm)('a root KEK in a token', () => {
  test('is made there, turned there, and destroyed there once nothing is under it', async () => {
    const hsm = await softToken('root');
    const layer = new Layer4();
    await layer.start(hsm);
    expect(layer.custody()).toEqual({
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
    expect(layer.custody()?.kind).toBe('file');
    const made = await layer.key('o');
    await layer.stop();
    const thief = new Layer4();
    cpSync(layer.state, thief.state, { recursive: true });
    await thief.start();
    expect(await thief.key('o')).toBe(made);
    await layer.start(hsm);
    expect(layer.custody()?.notice).toContain('turn 4/root-kek');
    await turn(layer, root, 2);
    expect(layer.custody()?.kind).toBe('file');
    await layer.until(async () => (await layer.adapter.usesLately(root, 1)) === 0);
    await layer.adapter.retire(root, 1);
    expect(layer.custody()?.kind).toBe('token');
    expect(await layer.key('o')).toBe(made);
    await layer.stop();
    await expect(layer.start()).rejects.toMatchObject({ code: 'TOKEN_NOT_CONFIGURED' });
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
