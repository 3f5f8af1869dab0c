/** The service of layer 7 over its sockets: claims and their signatures, health of all layers, the list. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  serviceSigning,
  signClaim,
  signingPath,
} from '#agents/layers/7-self-healing/claim-signing.ts';
import { openService } from '#agents/layers/7-self-healing/service.ts';
import { AdapterError } from '#agents/layers/adapter.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import type { KeyUse } from '#agents/layers/embedded/key-usage.ts';
import { healingSlot, type HealingClaim } from '#schemas/healing.ts';
import { isHealingSigned } from '#shared/crypto/healing-signature.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { capabilityOf, openCapabilityDesk } from '../../support/capability-desk.ts';
import { RunningService, serviceFolder } from '../../support/layer-service.ts';
import { crypto } from '../../support/world.ts';
import { ManualClock } from '../runtime/manual-clock.ts';

let service: RunningService;
let desk: RunningService;

beforeEach(async () => {
  const folder = serviceFolder();
  desk = await RunningService.start({ layer: 2, open: openCapabilityDesk, folder });
  service = await RunningService.start({ layer: 7, open: openService, folder });
});

afterEach(async () => {
  await service.end();
  await desk.end();
});

function claimOf(actionId: string, observed = 0.5): HealingClaim {
  const anomaly = {
    agentId: 'phi-a',
    layer: 6,
    metric: 'failure-ratio',
    rule: 'ratio',
    slot: '6/patient-mac',
    version: 3,
    observed,
    expected: 0.005,
    threshold: 0.055,
    samples: 300,
    windowMs: 0,
    atMs: 1_800_000_000_000,
  } as const;
  const action = { kind: 'emergency-rotation', layers: [6], withDependants: true } as const;
  return { actionId, anomalies: [anomaly], action: { ...action, layers: [6] } };
}

const keyIdOf = async (): Promise<string> => {
  const [slot] = await (await service.adapter()).inspect();
  return slot?.versions.find(({ state }) => state === 'primary')?.keyId ?? '';
};

describe('claims', () => {
  it('are signed by the primary key, and by the next one once it is turned', async () => {
    const sign = serviceSigning(service.control);
    const claim = claimOf('heal-1');
    const signature = await sign(claim);
    const first = await keyIdOf();
    expect(isHealingSigned(crypto, { claim, signature }, new Set([first]))).toBe(true);
    const others = [new Set<string>(), new Set(['0'.repeat(64)])];
    for (const keys of others)
      expect(isHealingSigned(crypto, { claim, signature }, keys)).toBe(false);
    const altered = { claim: claimOf('heal-1', 0.6), signature };
    expect(isHealingSigned(crypto, altered, new Set([first]))).toBe(false);
    const adapter = await service.adapter();
    await adapter.prepare(healingSlot, 2);
    await adapter.activate(healingSlot, 2, crypto.randomBytes(32));
    const next = await sign(claimOf('heal-2'));
    expect([next.version, next.keyId]).toEqual([2, await keyIdOf()]);
    adapter.close();
  });

  it('that come again get the signature that they had, also after a restart; others not', async () => {
    const sign = serviceSigning(service.control);
    const signature = await sign(claimOf('heal-1'));
    await service.stop();
    await service.start();
    expect(await sign(claimOf('heal-1'))).toEqual(signature);
    await expect(sign(claimOf('heal-1', 0.9))).rejects.toBeInstanceOf(AdapterError);
  });

  it('are not signed while the slot is frozen, nor when nobody answers', async () => {
    const adapter = await service.adapter();
    await adapter.freeze(healingSlot, true);
    const sign = serviceSigning(service.control);
    await expect(sign(claimOf('heal-1'))).rejects.toBeInstanceOf(AdapterError);
    adapter.close();
    await service.stop();
    await expect(sign(claimOf('heal-1'))).rejects.toMatchObject({ code: 'SYSTEM_UNREACHABLE' });
  });

  it('that are none are refused, and nobody signs on the service socket', async () => {
    const asked = { method: 'POST', path: signingPath, body: { actionId: 'x' } } as const;
    expect(await service.control.ask(asked)).toMatchObject({ code: 'REQUEST_MALFORMED' });
    const elsewhere = { ...asked, body: claimOf('heal-1') };
    expect(await service.client.ask(elsewhere)).toMatchObject({ code: 'PATH_UNKNOWN' });
  });
});

it('tells how all layers are, whether they answer or not', async () => {
  const answer = await service.client.ask({ method: 'GET', path: '/v1/health' });
  expect(answer).toMatchObject({ status: 'done', body: { layer: 7, status: 'ok' } });
  const { layers } = (answer as { body: { layers: { layer: number; status: string }[] } }).body;
  expect(layers.map(({ layer, status }) => [layer, status])).toEqual([
    [1, 'unreachable'],
    [2, 'failing'],
    [3, 'unreachable'],
    [4, 'unreachable'],
    [5, 'unreachable'],
    [6, 'unreachable'],
  ]);
});

it('lists what was signed to whoever may read it, the newest first', async () => {
  const sign = serviceSigning(service.control);
  await sign(claimOf('heal-1'));
  await sign(claimOf('heal-2'));
  const asked = { method: 'GET', path: '/v1/healing-actions' } as const;
  expect(await service.client.ask(asked)).toMatchObject({ code: 'CAPABILITY_MISSING' });
  const wrong = { ...asked, headers: capabilityOf('somebody', 'record:read') };
  expect(await service.client.ask(wrong)).toMatchObject({ code: 'SCOPE_EXCEEDED' });
  const right = { ...asked, headers: capabilityOf('somebody', 'health:read') };
  const { body } = (await service.client.ask(right)) as {
    body: { actions: { claim: HealingClaim }[] };
  };
  expect(body.actions.map(({ claim }) => claim.actionId)).toEqual(['heal-2', 'heal-1']);
  expect(await service.client.ask(right)).toMatchObject({ code: 'NONCE_REPLAYED' });
});

it('what signing a claim takes is measured by the clock that the agent has', () => {
  const disk = new SystemDisk(serviceFolder());
  const clock = new ManualClock();
  // Of a machine on which each look at the clock takes so long.
  const slow = { monotonicMs: () => (elapsedMs += 250) };
  let elapsedMs = 0;
  const { store, close } = opened(disk, clock);
  const recorded: KeyUse[] = [];
  const usage = { record: (use: KeyUse) => void recorded.push(use) };
  try {
    signClaim({ store, usage }, { crypto, clock: slow }, claimOf('heal-1'));
    expect(recorded).toEqual([
      { slot: healingSlot, version: 1, operation: 'sign', durationMs: 250, failed: false },
    ]);
  } finally {
    close();
  }
});

function opened(disk: SystemDisk, clock: ManualClock) {
  const keys = EmbeddedAdapter.open({ layer: 7, disk, crypto, clock, usageWindowMs: 0 });
  return { store: keys.store, close: () => keys.close() };
}
