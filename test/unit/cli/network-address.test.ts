import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { layoutOf, type MeshLayout } from '#cli/mesh/layout.ts';
import { networkAddress } from '#cli/status/network-address.ts';

let folder: string;
let layout: MeshLayout;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gyre-address-'));
  layout = layoutOf(folder);
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function written(file: string, value: unknown): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, typeof value === 'string' ? value : JSON.stringify(value));
}

const agentConfig = () => layout.configFile({ id: 'network-a', kind: 'layer' });

test('a service listens where it says', () => {
  const state = join(layout.serviceDirectory(3), 'state');
  expect(networkAddress(layout, true)).toBeUndefined();
  written(join(state, 'listening'), { host: '127.0.0.1', port: 8443 });
  const roots = join(state, 'roots.pem');
  expect(networkAddress(layout, true)).toEqual({
    host: '127.0.0.1',
    port: 8443,
    by: 'service',
    roots,
  });
  // A mesh without services has what an earlier one left.
  expect(networkAddress(layout, false)).toBeUndefined();
  written(join(state, 'listening'), { host: '127.0.0.1', port: 0 });
  expect(networkAddress(layout, true)).toBeUndefined();
});

test('an attached server is where the configuration of the agent has it', () => {
  const attached = {
    kind: 'certificate-files',
    directory: 'certificates',
    names: ['www.example.org'],
    address: { host: 'www.example.org', port: 443 },
    reload: { program: '/bin/true' },
  };
  const files = { identitySeedFile: 'a', kemSeedFile: 'b', nkeySeedFile: 'c', trustBundle: 'd' };
  const config = {
    mesh: 'dev',
    agentId: 'network-a',
    agentKind: 'layer',
    layer: 3,
    rootDigest: 'd'.repeat(64),
    natsUrl: '127.0.0.1:4222',
    stateDirectory: 'state',
    ...files,
  };
  written(agentConfig(), { ...config, attached });
  expect(networkAddress(layout, true)).toEqual({
    ...attached.address,
    by: 'attached',
    roots: join(dirname(agentConfig()), 'certificates', 'roots.pem'),
  });
  written(agentConfig(), config);
  expect(networkAddress(layout, true)).toBeUndefined();
  written(agentConfig(), 'no JSON');
  expect(networkAddress(layout, true)).toBeUndefined();
});
