/** Layer 3 turned by a mesh while clients use it: certified by the signer, at no request's cost. */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import {
  openCertificateFiles,
  type CertificateFiles,
} from '#agents/layers/attached/certificate-files-adapter.ts';
import { CertifiedAdapter } from '#agents/layers/service/certified-adapter.ts';
import { openService } from '#agents/layers/3-network/service.ts';
import { SignerAuthority } from '#agents/layers/3-network/signer-authority.ts';
import { TlsClient } from '#agents/layers/service/tls-client.ts';
import { authorityKeyName } from '#agents/signer/certificate-office.ts';
import type { Token } from '#shared/runtime/token/token.ts';
import { validMsMax } from '#shared/core/certificate-evidence.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { FileTlsServer } from '../support/file-tls-server.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';
import { RunningService } from '../support/layer-service.ts';
import { crypto } from '../support/world.ts';

const names = ['localhost'];

it('turns the keys of layer 3 under load, and no request fails', async () => {
  const listen = { host: '127.0.0.1', port: 0, names };
  const network = await RunningService.start({ layer: 3, open: openService, config: { listen } });
  const stateOf = (file: string) => readFileSync(join(network.folder, 'layer-3', file), 'utf8');
  const own = stateOf('roots.pem');
  const remote = await network.adapter();
  let attached: CertifiedAdapter | undefined;
  const mesh = await InMemoryMesh.start({
    times: { soakMs: 0, overlapMs: 300 },
    certificateNames: names,
    tokenOf: withAuthority,
    adapterOf: (layer, embedded, { exchange, trust, clock, log }) => {
      if (layer !== 3) return embedded;
      const authority = new SignerAuthority({ exchange, trust });
      const validMs = (): number => validMsMax(trust.policy);
      attached = new CertifiedAdapter({ remote, authority, validMs, clock, log });
      attached.start();
      return attached;
    },
  });
  await expect.poll(() => stateOf('roots.pem') === own).toBe(false);
  const roots = stateOf('roots.pem');
  const { port } = JSON.parse(stateOf('listening')) as { port: number };
  const user = new TlsClient({ host: '127.0.0.1', port, name: 'localhost', roots });
  await turnedUnderLoad(mesh, user, '/network/v1/health');
  expect(stateOf('roots.pem')).toBe(roots);
  expect(await mesh.versions()).toMatchObject({ '3/tls-certificate': 2, '3/session-ticket': 2 });
  expect(await remote.verify('3/tls-certificate', 2)).toEqual({ ok: true });
  user.close();
  await attached?.stop();
  await mesh.stop();
  remote.close();
  await network.end();
});

it("turns the keys of somebody else's server under load, and no request fails", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gyre-files-'));
  const directory = join(folder, 'out');
  mkdirSync(directory);
  const server = await FileTlsServer.start(directory);
  const opened: { files: CertificateFiles; agent: CertifiedAdapter }[] = [];
  const mesh = await InMemoryMesh.start({
    times: { soakMs: 0, overlapMs: 300 },
    certificateNames: names,
    tokenOf: withAuthority,
    adapterOf: (layer, embedded, { exchange, trust, clock, log }) => {
      if (layer !== 3) return embedded;
      const files = openCertificateFiles({
        layer,
        disk: new SystemDisk(folder),
        crypto,
        clock,
        log,
        usageWindowMs: 0,
        directory,
        names,
        address: { host: '127.0.0.1', port: server.port },
        reload: { program: 'sh', arguments: ['-c', `kill -HUP ${server.pid}`] },
      });
      const authority = new SignerAuthority({ exchange, trust });
      const validMs = (): number => validMsMax(trust.policy);
      const agent = new CertifiedAdapter({ remote: files.adapter, authority, validMs, clock, log });
      agent.start();
      opened.push({ files, agent });
      return agent;
    },
  });
  const shown = () => opened[0]?.files.measure()['certificate-shown'];
  await expect.poll(shown, { timeout: 20_000 }).toBe(1);
  const roots = readFileSync(join(directory, 'roots.pem'), 'utf8');
  const user = new TlsClient({ host: '127.0.0.1', port: server.port, name: 'localhost', roots });
  await turnedUnderLoad(mesh, user, '/');
  expect(await mesh.versions()).toMatchObject({ '3/tls-certificate': 2 });
  expect(readdirSync(join(directory, 'versions')).map((name) => name[0])).toEqual(['2']);
  user.close();
  for (const { agent } of opened) await agent.stop();
  await mesh.stop();
  for (const { files } of opened) files.keys.close();
  await server.stop();
  rmSync(folder, { recursive: true });
});

/** The keys of the test, and the authority's beside them. */
function withAuthority(token: Token): Token {
  const key = crypto.importSigningSeed(crypto.randomBytes(32));
  return {
    describe: () => token.describe(),
    generateKey: (name) => token.generateKey(name),
    publicKey: async (name) =>
      name === authorityKeyName ? key.publicKey.raw : token.publicKey(name),
    sign: async (name, message, context) =>
      name === authorityKeyName
        ? crypto.sign(key, { message, context })
        : token.sign(name, message, context),
    wrap: (bytes, purpose) => token.wrap(bytes, purpose),
    unwrap: (wrapped, purpose) => token.unwrap(wrapped, purpose),
    canary: () => token.canary(),
    close: () => token.close(),
  };
}

/** Turns layer 3 while a client asks all the time; every request is answered. */
async function turnedUnderLoad(mesh: InMemoryMesh, user: TlsClient, path: string): Promise<void> {
  const failures: string[] = [];
  let [done, isOver] = [0, false];
  const load = async (): Promise<void> => {
    while (!isOver) {
      try {
        const answer = await user.ask({ method: 'GET', path });
        if (answer.status === 'refused') failures.push(answer.code);
        else done += 1;
      } catch (error) {
        failures.push(String(error));
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const using = load();
  const plan = await mesh.approvedPlan([3]);
  expect(await mesh.execute(plan)).toMatchObject({ status: 'accepted' });
  await mesh.until(plan.planId, ['retired']);
  isOver = true;
  await using;
  expect(failures).toEqual([]);
  expect(done).toBeGreaterThan(5);
}
