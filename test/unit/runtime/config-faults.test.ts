import { expect, test } from 'vitest';
import { agentConfigFaults } from '#schemas/config.ts';

const config = {
  mesh: 'dev',
  agentId: 'phi-a',
  agentKind: 'layer',
  layer: 6,
  rootDigest: 'd'.repeat(64),
  trustBundle: 'bundle.json',
  natsUrl: '127.0.0.1:4222',
  identitySeedFile: 'identity.seed',
  kemSeedFile: 'kem.seed',
  nkeySeedFile: 'nkey.seed',
  stateDirectory: 'state',
};
const faultsOf = (attached: unknown) => agentConfigFaults({ ...config, attached });

test('an unknown kind of attached system is named, with those that there are', () => {
  expect(faultsOf({ kind: 'comand', program: '/opt/adapter' })).toEqual([
    '/attached/kind: is "comand", must be one of command, key-files, certificate-files',
  ]);
  expect(faultsOf({ program: '/opt/adapter' })[0]).toContain('/attached/kind: is not given');
  expect(faultsOf({ kind: 7 })[0]).toContain('/attached/kind: is no text');
});

test('of a known kind only what it asks for is told', () => {
  expect(faultsOf({ kind: 'key-files' })).toEqual([
    '/attached: must have required properties directory',
  ]);
  expect(faultsOf({ kind: 'command', program: '/opt/adapter' })).toEqual([]);
});

test('standard error is logged by a yes or a no, beside each program', () => {
  const program = (logsStandardError: unknown) => ({ program: '/opt/adapter', logsStandardError });
  expect(faultsOf({ kind: 'command', ...program(true) })).toEqual([]);
  expect(faultsOf({ kind: 'key-files', directory: 'out', reload: program(false) })).toEqual([]);
  expect(faultsOf({ kind: 'command', ...program('yes') })[0]).toContain('/logsStandardError: ');
});

test('other faults are told beside those of what is attached', () => {
  const faults = agentConfigFaults({ ...config, layer: 9, attached: { kind: 'comand' } });
  expect(faults.join()).toContain('/layer');
  expect(faults.join()).toContain('"comand"');
});
