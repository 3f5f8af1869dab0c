/**
 * Layer 4's service with its root KEK in a SoftHSM2 token or in a file, for the tests of both: in a folder
 * and with a clock of its own, and told how often the token's process was started and lost. What a test
 * made goes with `endAll`.
 */
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { vi } from 'vitest';
import { openService } from '#agents/layers/4-encryption/service.ts';
import { definitionsOf } from '#agents/layers/embedded/embedded-adapter.ts';
import { KeyStore } from '#agents/layers/embedded/key-store.ts';
import { nameElsewhere } from '#agents/layers/embedded/keys-elsewhere.ts';
import { controlPath } from '#agents/layers/service/control-routes.ts';
import type { RemoteAdapter } from '#agents/layers/service/remote-adapter.ts';
import { fromHex } from '#shared/crypto/bytes.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { openKeyToken } from '#shared/runtime/token/key-token.ts';
import { RunningService, serviceFolder } from '../../support/layer-service.ts';
import { makeRootToken, rootTokenConfig } from '../../support/root-token.ts';
import type { SoftHsmForTest } from '../../support/softhsm.ts';
import { crypto, quiet } from '../../support/world.ts';
import { ManualClock } from '../../unit/runtime/manual-clock.ts';

export const rootSlot = '4/root-kek';
let endings: (() => Promise<void> | void)[] = [];

/** For `afterEach`. */
export async function endAll(): Promise<void> {
  for (const end of endings.toReversed()) await end();
  endings = [];
}

export async function softToken(copyOf?: string): Promise<SoftHsmForTest> {
  const hsm = await makeRootToken(copyOf);
  endings.push(() => hsm.remove());
  return hsm;
}

/** The service of layer 4 over `hsm`, or with the root KEK in a file; `pids` of the token's children. */
export class Layer4 {
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

  /** As the service describes itself to whoever may turn its keys. */
  async custody(): Promise<unknown> {
    const path = controlPath('describe');
    const answer = await this.#service().control.ask({ method: 'POST', path, body: {} });
    return answer.status === 'done' ? (answer.body as { custody?: unknown }).custody : answer;
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

/** Nobody reaches it any more, and whoever did has lost it; until it is brought back. */
export function takeAway(hsm: SoftHsmForTest, layer: Layer4): () => void {
  const tokens = join(hsm.dir, 'tokens');
  renameSync(tokens, `${tokens}-away`);
  const pid = layer.pids.at(-1);
  if (pid !== undefined) process.kill(pid, 'SIGKILL');
  return () => renameSync(`${tokens}-away`, tokens);
}

/** What `use` finds in the key store of a copy of the disk. */
export function inStore<Result>(state: string, use: (store: KeyStore) => Result): Result {
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
export async function hasKey(
  hsm: SoftHsmForTest,
  layer: Layer4,
  version: number,
): Promise<boolean> {
  const name = inStore(layer.state, (store) => nameElsewhere(store, rootSlot, version));
  const token = await openKeyToken(hsm.options);
  try {
    // Made, where it was not there: then with an id that is nobody's.
    const id = await token.makeKey(name);
    const known = inStore(layer.state, (store) => store.version(rootSlot, version)?.keyId);
    const isThere = Buffer.compare(id, fromHex(known ?? '') ?? new Uint8Array()) === 0;
    if (!isThere) await token.destroyKey(name);
    return isThere;
  } finally {
    await token.close();
  }
}
