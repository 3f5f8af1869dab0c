/**
 * A TLS server of somebody else's that reads key and certificate from files, as a process of its own:
 * against the adapter contract, and what may go wrong between the agent and such a server.
 */

import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LocalAuthority } from '#agents/layers/3-network/local-authority.ts';
import { AdapterError } from '#agents/layers/adapter.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { CertificateFolder } from '#agents/layers/attached/certificate-folder.ts';
import { openAttached, type Attached } from '#agents/layers/attached/open-attached.ts';
import { CertifiedAdapter } from '#agents/layers/service/certified-adapter.ts';
import { AttachedSystem } from '#schemas/config.ts';
import { compile } from '#schemas/primitives.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { FileTlsServer } from '../../support/file-tls-server.ts';
import { crypto, quiet } from '../../support/world.ts';
import { adapterContract } from './adapter-contract.ts';

const slot = '3/tls-certificate';
const challenge = new Uint8Array([1]);
const names = ['localhost'];
const dayMs = 24 * 3_600_000;
const configCheck = compile(AttachedSystem);

/** A server, an agent's folder, and somebody who certifies. */
class World {
  readonly place = mkdtempSync(join(tmpdir(), 'gyre-tls-files-'));
  readonly out = join(this.place, 'out');
  server!: FileTlsServer;
  #authority!: LocalAuthority;
  #attached: Attached | undefined;
  #adapter: CertifiedAdapter | undefined;
  shownWithinMs = 10_000;

  static async start(...words: 'restless'[]): Promise<World> {
    const world = new World();
    const [state, elsewhere] = ['agent', 'authority'].map((name) => join(world.place, name));
    for (const folder of [state, elsewhere, world.out]) mkdirSync(folder ?? '');
    world.server = await FileTlsServer.start(world.out, ...words);
    // An authority keeps its key under the key store's beside it.
    const disk = new SystemDisk(elsewhere ?? '');
    const beside = { layer: 3, disk, crypto, clock: systemClock, usageWindowMs: 0 } as const;
    EmbeddedAdapter.open(beside).close();
    world.#authority = await LocalAuthority.open({ disk, crypto, clock: systemClock });
    await (await world.open()).certifyAll();
    return world;
  }

  get adapter(): CertifiedAdapter {
    if (this.#adapter === undefined) throw new Error('nothing is open');
    return this.#adapter;
  }

  measure(): Readonly<Record<string, number>> {
    return this.#attached?.measure?.() ?? {};
  }

  /** As after a start of the agent, by its configuration. */
  async open(): Promise<CertifiedAdapter> {
    this.#attached?.close();
    const config: unknown = {
      kind: 'certificate-files',
      directory: 'out',
      names,
      address: { host: '127.0.0.1', port: this.server.port },
      reload: { program: 'sh', arguments: ['-c', `kill -HUP ${this.server.pid}`] },
    };
    if (!configCheck.check(config)) throw new Error(configCheck.errors(config).join('; '));
    this.#attached = await openAttached(config, {
      layer: 3,
      disk: new SystemDisk(join(this.place, 'agent')),
      crypto,
      clock: systemClock,
      usageWindowMs: 0,
      log: quiet,
      shownWithinMs: this.shownWithinMs,
      resolve: (relative) => resolve(this.place, relative),
    });
    const { certified } = this.#attached;
    if (certified === undefined) throw new Error('its keys are certified');
    this.#adapter = new CertifiedAdapter({
      remote: certified,
      authority: this.#authority,
      validMs: () => dayMs,
      clock: systemClock,
      log: quiet,
    });
    return this.#adapter;
  }

  versions(): number[] {
    return readdirSync(join(this.out, 'versions'))
      .map((name) => Number(name.split('-')[0]))
      .toSorted((left, right) => left - right);
  }

  async close(): Promise<void> {
    await this.server.stop();
    this.#attached?.close();
    this.#authority.close();
    rmSync(this.place, { recursive: true });
  }
}

adapterContract('certificate files of a TLS server of its own', async () => {
  const world = await World.start();
  return {
    adapter: world.adapter,
    reopen: () => world.open(),
    close: () => world.close(),
  };
});

describe('certificate files', () => {
  let world: World;

  beforeEach(async () => {
    world = await World.start();
  });

  afterEach(async () => {
    await world.close();
  });

  test('keys are turned and turned back under load; no request fails, and no pair is ever mixed', async () => {
    await world.close();
    world = await World.start('restless');
    let isOver = false;
    const counts = { done: 0, failed: 0 };
    const load = async (): Promise<void> => {
      while (!isOver) {
        const isServed = await fetched().catch(() => false);
        counts[isServed ? 'done' : 'failed'] += 1;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    const users = [load(), load()];
    for (const version of [2, 3]) {
      await turn(version);
      expect(await world.adapter.verify(slot, version)).toEqual({ ok: true });
    }
    await world.adapter.rollback(slot, 2);
    expect(await shown()).toBe(2);
    await world.adapter.retire(slot, 3);
    await world.adapter.retire(slot, 1);
    expect(world.versions()).toEqual([2]);
    isOver = true;
    await Promise.all(users);
    expect(counts.failed).toBe(0);
    const looked = await world.server.looked();
    expect(looked.mismatches).toBe(0);
    expect(looked.looks).toBeGreaterThan(50);
    expect(counts.done).toBeGreaterThan(10);
  });

  test('files are for their owner alone; a crash in the midst leaves nothing behind', async () => {
    const pair = join(world.out, 'current');
    const modes = [
      world.out,
      join(world.out, 'versions'),
      join(pair, 'key.pem'),
      join(pair, 'chain.pem'),
    ];
    expect(modes.map((path) => statSync(path).mode & 0o777)).toEqual([0o700, 0o700, 0o600, 0o600]);
    const half = join(world.out, 'versions', '.new-7-0123456789abcdef');
    mkdirSync(half);
    writeFileSync(join(half, 'key.pem'), 'a key');
    await (await world.open()).certifyAll();
    expect(world.versions()).toEqual([1]);
    expect(await world.adapter.verify(slot, 1)).toEqual({ ok: true });
  });

  test('a try at writing that failed in the midst is no obstacle to the next', () => {
    const place = join(world.place, 'apart');
    const folder = new CertificateFolder(place);
    mkdirSync(join(place, 'versions', '.new-1-a'));
    writeFileSync(join(place, 'versions', '.new-1-a', 'key.pem'), 'half of a');
    folder.write('1-a', { key: Buffer.from('a key'), chain: 'a chain' });
    folder.point('1-a');
    expect(folder.names()).toEqual(['1-a']);
    expect(readFileSync(join(place, 'current', 'key.pem'), 'utf8')).toBe('a key');
    expect(() => folder.remove('1-a')).toThrow(AdapterError);
  });

  test('a server that does not take the new key goes on with the old one, which is put back in place', async () => {
    world.shownWithinMs = 300;
    await world.open();
    const before = readFileSync(join(world.out, 'current', 'chain.pem'), 'utf8');
    writeFileSync(join(world.out, 'deaf'), '');
    const refused = { code: 'SYSTEM_UNREACHABLE', retryable: true };
    await expect(turn(2)).rejects.toMatchObject(refused);
    expect(readFileSync(join(world.out, 'current', 'chain.pem'), 'utf8')).toBe(before);
    expect(await world.adapter.verify(slot, 2)).toMatchObject({ ok: false });
    expect(world.measure()).toMatchObject({ 'certificate-shown': 0 });
    // Still shown: not to be taken away, whatever the agent believes.
    expect(await world.adapter.usesLately(slot, 1)).toBe(1);
    await expect(world.adapter.retire(slot, 1)).rejects.toMatchObject({ code: 'STATE_CONFLICT' });
    expect(world.versions()).toEqual([1, 2]);
    rmSync(join(world.out, 'deaf'));
    await world.adapter.activate(slot, 2, challenge);
    expect(await shown()).toBe(2);
    expect(world.measure()).toMatchObject({ 'certificate-shown': 1 });
    await world.adapter.retire(slot, 1);
    expect(world.versions()).toEqual([2]);
  });

  test('what a reload was too early for is made up for at the next look', async () => {
    world.shownWithinMs = 300;
    await world.open();
    writeFileSync(join(world.out, 'deaf'), '');
    await expect(turn(2)).rejects.toMatchObject({ code: 'SYSTEM_UNREACHABLE' });
    rmSync(join(world.out, 'deaf'));
    await (await world.open()).certifyAll();
    expect(await shown()).toBe(2);
  });

  test('a server that is away is nobody to retire a key behind', async () => {
    await turn(2);
    const pid = world.server.pid;
    process.kill(pid, 'SIGSTOP');
    try {
      await expect(world.adapter.retire(slot, 1)).rejects.toMatchObject({
        code: 'SYSTEM_UNREACHABLE',
        retryable: true,
      });
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    expect(world.versions()).toEqual([1, 2]);
    await world.adapter.retire(slot, 1);
    expect(world.versions()).toEqual([2]);
  });

  /** Version of the key that the server shows. */
  async function shown(): Promise<number> {
    const slots = await world.adapter.inspect();
    for (const { version } of slots.find((each) => each.slot === slot)?.versions ?? []) {
      if ((await world.adapter.usesLately(slot, version)) > 0) return version;
    }
    return 0;
  }

  async function turn(version: number): Promise<void> {
    await world.adapter.prepare(slot, version);
    await world.adapter.activate(slot, version, challenge);
  }

  /** Each time over a connection of its own. */
  async function fetched(): Promise<boolean> {
    const ca = readFileSync(join(world.out, 'roots.pem'));
    const about = {
      host: '127.0.0.1',
      port: world.server.port,
      servername: 'localhost',
      agent: false,
    };
    return await new Promise((resolve, reject) => {
      const asked = request({ ...about, ca, ecdhCurve: 'SecP384r1MLKEM1024' }, (answer) => {
        answer.resume();
        answer.once('end', () => resolve(answer.statusCode === 200));
      });
      asked.once('error', reject);
      asked.end();
    });
  }
});

if (spawnSync('nginx', ['-v'], { stdio: 'ignore' }).status !== 0) {
  process.stderr.write('\n*** NOT TESTED: certificate files with nginx, for want of it. ***\n\n');
}
