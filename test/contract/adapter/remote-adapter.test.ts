/** An adapter whose keys a service holds, over its control socket, against the adapter contract. */
import { expect, test } from 'vitest';
import { AdapterError } from '#agents/layers/adapter.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { HookedAdapter, type SlotHooks } from '#agents/layers/service/hooked-adapter.ts';
import { serviceApp } from '#agents/layers/service/http-app.ts';
import { KeptSettings, strictSettings } from '#agents/layers/service/kept-settings.ts';
import { RemoteAdapter } from '#agents/layers/service/remote-adapter.ts';
import { ServiceClient } from '#agents/layers/service/service-client.ts';
import type { LayerService, ServicePorts } from '#agents/layers/service/service.ts';
import { RunningService, serviceFolder } from '../../support/layer-service.ts';
import { adapterContract } from './adapter-contract.ts';
import { serviceWorld } from './service-world.ts';

adapterContract('held by a service', async () => {
  const running = await RunningService.start({ layer: 1, open: openPlain() });
  return serviceWorld(running);
});

test('a service that is down is worth another try, and found again once it is back', async () => {
  const running = await RunningService.start({ layer: 2, open: openPlain() });
  const adapter = await running.adapter();
  await running.stop();
  await expect(adapter.inspect()).rejects.toMatchObject({
    code: 'SYSTEM_UNREACHABLE',
    retryable: true,
  });
  await running.start();
  expect((await adapter.inspect()).map(({ slot }) => slot)).toContain('2/nonce-mac');
  adapter.close();
  await running.end();
});

test('hooks come after the key, before the answer; what they count holds a key', async () => {
  const calls: string[] = [];
  const slot = '1/session-token';
  const hooks: SlotHooks = {
    prepared: async (version) => void calls.push(`prepared ${version}`),
    activated: async (version) => void calls.push(`activated ${version}`),
    verify: async () => ({ ok: false, reason: 'not in its place' }),
    users: async () => 7,
    retiring: async (version) => void calls.push(`retiring ${version}`),
  };
  const running = await RunningService.start({ layer: 1, open: openPlain({ [slot]: hooks }) });
  const adapter = await running.adapter();
  await adapter.prepare(slot, 2);
  await adapter.activate(slot, 2, new Uint8Array([1]));
  expect(await adapter.verify(slot, 2)).toEqual({ ok: false, reason: 'not in its place' });
  expect(await adapter.usesLately(slot, 1)).toBeGreaterThanOrEqual(7);
  await adapter.retire(slot, 1);
  expect(calls).toEqual(['prepared 2', 'activated 2', 'retiring 1']);
  adapter.close();
  await running.end();
});

test('a key is destroyed after what lies beside it, and a primary one is refused before', async () => {
  const slot = '1/session-token';
  const retired: number[] = [];
  let isFailing = true;
  const hooks: SlotHooks = {
    retiring: async (version) => {
      if (isFailing) throw new AdapterError('DISK_FULL', 'no room', { retryable: true });
      retired.push(version);
    },
  };
  const running = await RunningService.start({ layer: 1, open: openPlain({ [slot]: hooks }) });
  const adapter = await running.adapter();
  await adapter.prepare(slot, 2);
  await adapter.activate(slot, 2, new Uint8Array([1]));
  const states = async () =>
    (await adapter.inspect())
      .find((each) => each.slot === slot)
      ?.versions.map(({ version, state }) => `${version}:${state}`);
  // What lies beside it could not be taken away: the key is still there for the next try.
  await expect(adapter.retire(slot, 1)).rejects.toMatchObject({ code: 'DISK_FULL' });
  expect(await states()).toEqual(['2:primary', '1:accepted']);
  isFailing = false;
  await expect(adapter.retire(slot, 2)).rejects.toMatchObject({ code: 'STATE_CONFLICT' });
  expect(retired).toEqual([]);
  await adapter.retire(slot, 1);
  expect([retired, await states()]).toEqual([[1], ['2:primary']]);
  adapter.close();
  await running.end();
});

test('settings are kept before they hold, and never go back', async () => {
  const running = await RunningService.start({ layer: 1, open: openPlain() });
  const adapter = await running.adapter();
  const newer = { ...strictSettings, policyVersion: 3, policyDigest: 'a'.repeat(64) };
  await adapter.configure({ ...newer, mfaRequired: false });
  await running.stop();
  await running.start();
  expect(await adapter.measure()).toEqual({ 'policy-version': 3 });
  const older = { ...strictSettings, policyVersion: 2, policyDigest: 'b'.repeat(64) };
  await expect(adapter.configure(older)).rejects.toMatchObject({ code: 'STATE_CONFLICT' });
  adapter.close();
  await running.end();
});

test('what is not an operation of the control socket is refused with its code', async () => {
  const running = await RunningService.start({ layer: 1, open: openPlain() });
  const asked = async (path: string, body: unknown) =>
    running.control.ask({ method: 'POST', path, body });
  expect(await asked('/v1/control/prepare', { slot: '1/session-token' })).toMatchObject({
    status: 'refused',
    code: 'REQUEST_MALFORMED',
  });
  expect(await asked('/v1/control/burn', {})).toMatchObject({ code: 'PATH_UNKNOWN' });
  const large = { slot: 'x'.repeat(70_000) };
  expect(await asked('/v1/control/prepare', large)).toMatchObject({ code: 'BODY_TOO_LARGE' });
  // The control socket alone takes them.
  expect(
    await running.client.ask({ method: 'POST', path: '/v1/control/inspect', body: {} }),
  ).toMatchObject({ code: 'PATH_UNKNOWN' });
  await running.end();
});

test('another service in its place is not taken for one', async () => {
  const folder = serviceFolder();
  const running = await RunningService.start({ layer: 1, open: openPlain(), folder });
  const client = new ServiceClient({ socketPath: `${folder}/1.service.sock` });
  await expect(RemoteAdapter.connect(client)).rejects.toMatchObject({ name: 'AdapterError' });
  client.close();
  await running.end();
});

/** A service of keys alone. */
function openPlain(hooks: Readonly<Partial<Record<string, SlotHooks>>> = {}) {
  return async ({ layer, disk, crypto, clock, log }: ServicePorts): Promise<LayerService> => {
    const keys = EmbeddedAdapter.open({ layer, disk, crypto, clock, usageWindowMs: 1_000 });
    const settings = KeptSettings.open(disk);
    return {
      adapter: new HookedAdapter('plain', keys, hooks),
      routes: serviceApp({ log, status: {} }).app,
      configure: async (told) => settings.adopt(told),
      measure: () => ({ 'policy-version': settings.current.policyVersion }),
      takeCounts: () => keys.usage.takeCounts(),
      start: async () => undefined,
      stop: async () => keys.close(),
    };
  };
}
