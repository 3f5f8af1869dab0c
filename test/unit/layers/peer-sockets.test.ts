/**
 * What a stolen service gets of the others: nothing of what another layer alone is served. Each attack
 * is tried over the sockets that a configuration gives the thief.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Hono } from 'hono';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openService as openNetwork } from '#agents/layers/3-network/service.ts';
import { openService as openEncryption } from '#agents/layers/4-encryption/service.ts';
import { openService as openPhi } from '#agents/layers/6-phi/service.ts';
import { openService as openSelfHealing } from '#agents/layers/7-self-healing/service.ts';
import { provePossession, type CertifiedKey } from '#agents/layers/service/key-certificate.ts';
import { peerFaceOf } from '#agents/layers/service/service-faces.ts';
import { startService } from '#agents/layers/service/service-process.ts';
import { ServiceClient } from '#agents/layers/service/service-client.ts';
import { SocketServer } from '#agents/layers/service/socket-server.ts';
import { layoutOf, socketPathBytesMax } from '#cli/mesh/layout.ts';
import { writeServiceConfigs } from '#cli/mesh/services.ts';
import { layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import { peersServed, serviceConfigCheck } from '#schemas/service.ts';
import { toBase64Url, toHex } from '#shared/crypto/bytes.ts';
import { RunningService } from '../../support/layer-service.ts';
import { crypto } from '../../support/world.ts';
import {
  capabilitiesFor,
  codeOf,
  introspected,
  logIn,
  startLayers,
  type Layers,
} from './identity-world.ts';

let layers: Layers;
let others: RunningService[];

beforeAll(async () => {
  layers = await startLayers();
  const { folder } = layers.identity;
  const more = [
    [3, openNetwork],
    [4, openEncryption],
    [6, openPhi],
    [7, openSelfHealing],
  ] as const;
  others = [];
  for (const [layer, open] of more)
    others.push(await RunningService.start({ layer, open, folder }));
});
afterAll(async () => {
  for (const other of others) await other.stop();
  await layers.end();
  for (const other of others) await other.end();
});

describe('a stolen service', () => {
  test('finds no internal route on a public socket, whoever it is', async () => {
    const running = [layers.identity, layers.authorization, ...others];
    const internal = running.flatMap(({ service: { peerRoutes = {} } }) =>
      Object.values(peerRoutes).flatMap(({ routes }) => routes),
    );
    const asked = internal.filter(({ path: of }) => of.startsWith('/internal/'));
    expect(asked.length).toBeGreaterThan(5);
    for (const service of running) {
      expect(service.service.routes.routes.filter(({ path: of }) => /internal/.test(of))).toEqual(
        [],
      );
      for (const { method, path: of } of asked) {
        const about = { path: of.replace(/:objectId.*/, 'o'), method: method as 'POST', body: {} };
        expect(codeOf(await service.client.ask(about))).toBe('PATH_UNKNOWN');
      }
    }
  });

  test('cannot use up or read a capability that is for another layer', async () => {
    const [token = ''] = await capabilitiesFor(layers, await logIn(layers));
    for (const by of [4, 6, 7] as const) {
      expect(await introspected(layers, token, { by })).toBe('AUDIENCE_WRONG');
    }
    const body = { token, scope: 'record:read', audience: 'database' };
    const request = { method: 'POST', path: '/internal/v1/introspections', body } as const;
    expect(codeOf(await layers.authorization.asPeer(4).ask(request))).toBe('REQUEST_MALFORMED');
    expect(await introspected(layers, token, { by: 5 })).toBe('ok');
  });

  test('has the socket of one layer and none of the routes of another', async () => {
    const [, encryption] = others;
    const body = { objectId: 'column-key/1', context: 'c' };
    const dataKey = { method: 'POST', path: '/internal/v1/data-keys', body } as const;
    expect(codeOf((await encryption?.asPeer(5).ask(dataKey)) as never)).toBe('ok');
    for (const by of [4, 5, 6, 7] as const) {
      expect(codeOf(await layers.authorization.asPeer(by).ask(dataKey))).toBe('PATH_UNKNOWN');
    }
    const health = { method: 'GET', path: '/v1/health' } as const;
    expect(await encryption?.asPeer(5).ask(health)).toEqual(await encryption?.client.ask(health));
  });

  test('gets no certificate for a key that it only knows', async () => {
    const victim = crypto.importSigningSeed(crypto.randomBytes(32));
    const keyOf = (publicKey: Uint8Array): CertifiedKey => {
      const keyId = toHex(crypto.sha3_256(publicKey));
      return { slot: '2/capability-signature', keyId, publicKey };
    };
    const key = keyOf(victim.publicKey.raw);
    const asked = async (proof: Uint8Array | undefined): Promise<string> => {
      const publicKey = toBase64Url(key.publicKey);
      const proven = proof === undefined ? {} : { proof: toBase64Url(proof) };
      const request = { path: '/internal/v1/certificates', body: { ...key, publicKey, ...proven } };
      return codeOf(await layers.identity.asPeer(2).ask({ method: 'POST', ...request }));
    };
    const seed = crypto.randomBytes(32);
    const own = crypto.importSigningSeed(seed);
    const open = (secret: Uint8Array) =>
      ({ kind: 'signature', slot: key.slot, keyId: key.keyId, secret }) as const;
    expect(await asked(undefined)).toBe('REQUEST_MALFORMED');
    expect(await asked(provePossession(crypto, open(seed), key))).toBe('POSSESSION_UNPROVEN');
    const context = new TextEncoder().encode('gyre/v1/certificate-request');
    const message = new TextEncoder().encode(key.keyId);
    expect(await asked(crypto.sign(victim, { message, context }))).toBe('POSSESSION_UNPROVEN');
    const others = provePossession(crypto, open(seed), keyOf(own.publicKey.raw));
    expect(await asked(others)).toBe('POSSESSION_UNPROVEN');
  });
});

describe('sockets of a mesh', () => {
  test('each layer is given what it is served, and layer 3 the public ones alone', async () => {
    const root = mkdtempSync(path.join(tmpdir(), 'gyre-s-'));
    const layout = layoutOf(root);
    await writeServiceConfigs(layout);
    const configs = new Map(layerNumbers.map((layer) => [layer, configOf(layout, layer)]));
    const served: string[] = [];
    for (const [layer, { folder, peers }] of configs) {
      for (const other of layerNumbers.filter((each) => each !== layer)) {
        const isServed = peersServed[other]?.includes(layer) === true;
        const target = configs.get(other);
        const opened = isServed ? target?.peerSockets[String(layer)] : target?.serviceSocket;
        const at = path.resolve(folder, peers[String(other)] ?? '');
        expect(at).toBe(path.resolve(target?.folder ?? '', opened ?? ''));
        expect(Buffer.byteLength(at) - Buffer.byteLength(root)).toBeLessThan(
          socketPathBytesMax / 3,
        );
        if (isServed) served.push(path.dirname(at));
      }
    }
    expect(new Set(served).size).toBe(served.length);
    expect(served.length).toBe(7);
    for (const { layer, service } of [layers.identity, layers.authorization, ...others]) {
      const faces = layerNumbers.filter((peer) => peerFaceOf(service, peer) !== undefined);
      expect(faces).toEqual(peersServed[layer] ?? []);
    }
    rmSync(root, { recursive: true });
  });

  test("a service's process opens them, and none for whom it serves nothing", async () => {
    const root = mkdtempSync(path.join(tmpdir(), 'gyre-s-'));
    const layout = layoutOf(root);
    await writeServiceConfigs(layout);
    const configPath = layout.serviceConfigFile(4);
    const running = await startService({ layer: 4, open: openEncryption, configPath });
    const socketPath = layout.peerSocket(4, 5);
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
    expect(statSync(path.dirname(socketPath)).mode & 0o777).toBe(0o700);
    const body = { objectId: 'o', context: '' };
    const request = { method: 'POST', path: '/internal/v1/data-keys', body } as const;
    const code = async (socket: string): Promise<string> => {
      const client = new ServiceClient({ socketPath: socket });
      const answer = codeOf(await client.ask(request));
      client.close();
      return answer;
    };
    expect(await code(socketPath)).toBe('ok');
    expect(await code(layout.serviceSocket(4))).toBe('PATH_UNKNOWN');
    await running.stop();
    const config = JSON.parse(readFileSync(configPath, 'utf8'));
    config.peerSockets['6'] = '../../run/6.sock';
    writeFileSync(configPath, JSON.stringify(config));
    const started = startService({ layer: 4, open: openEncryption, configPath });
    await expect(started).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    rmSync(root, { recursive: true });
  });

  test('a folder that was given to a group gives the group its socket', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'gyre-s-'));
    for (const [mode, expected] of [
      [0o700, 0o600],
      [0o2710, 0o660],
    ] as const) {
      chmodSync(folder, mode);
      const socket = path.join(folder, 'service.sock');
      const server = new SocketServer(new Hono(), socket);
      await server.start();
      expect(statSync(socket).mode & 0o777).toBe(expected);
      await server.stop();
    }
    rmSync(folder, { recursive: true });
  });
});

function configOf(layout: ReturnType<typeof layoutOf>, layer: LayerNumber) {
  const config: unknown = JSON.parse(readFileSync(layout.serviceConfigFile(layer), 'utf8'));
  if (!serviceConfigCheck.check(config)) throw new Error('the configuration does not hold');
  return { ...config, folder: layout.serviceDirectory(layer) };
}
