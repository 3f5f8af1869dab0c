/** The faults by name: each disturbs, heals, and leaves a bus on which everything arrives again. */

import { describe, expect, it } from 'vitest';
import { drawsFrom } from '../../sim/seed.ts';
import { networkFaults, tokenFaults } from '../../sim/network-faults.ts';
import { simulatedCrypto } from '../../sim/cheap-crypto.ts';
import { fairToken, TokenDevice } from '../../sim/token.ts';
import { fairConditions } from '../../sim/way.ts';
import { BusWorld, followed, numbers, saga } from './simulated-bus.ts';

describe('faults of the network', () => {
  it.each(networkFaults.map(({ name }) => name))('%s: heals', async (name) => {
    const fault = networkFaults.find((one) => one.name === name);
    if (fault === undefined) throw new Error(`no ${name}`);
    const world = new BusWorld();
    const { network } = world;
    const bus = world.connect('orchestrator-1');
    const seen = await followed(world, world.connect('auditor'));
    for (const text of numbers(10)) await world.until(bus.publish(world.message(saga, text)));
    await world.pass(100);
    expect(seen).toEqual(numbers(10));
    const linesBefore = world.trace.lines;
    const target = { network, victim: 'orchestrator-1', size: 0.5 };
    const heal = fault.apply(target, drawsFrom(1).fork(name));
    const during = bus.publish(world.message(saga, 'during')).catch(() => undefined);
    await world.pass(8_000);
    expect(world.trace.lines).toBeGreaterThan(linesBefore);
    heal();
    heal();
    await world.pass(40_000);
    await during;
    expect(network.conditionsOf('orchestrator-1')).toEqual({
      up: fairConditions(),
      down: fairConditions(),
    });
    const after = await world.until(bus.publish(world.message(saga, 'after')));
    expect(after).toMatchObject({ status: 'stored', duplicate: false });
    const stored = network.broker.stream('GYRE_CONTROL').last(saga);
    expect(new TextDecoder().decode(stored?.data)).toBe('after');
    await world.pass(1_000);
    if (name !== 'bus-rolled-back') expect(seen.at(-1)).toBe('after');
  });

  it('of two that overlap each heals by itself', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    const first = world.network.cut('orchestrator-1', 'up');
    const second = world.network.cut('orchestrator-1');
    first();
    first();
    expect(world.network.conditionsOf('orchestrator-1').up.isCut).toBe(true);
    second();
    const stopped = [world.network.stopServer(), world.network.stopServer()];
    stopped[0]?.();
    expect(world.network.broker.up.open).toBe(false);
    stopped[1]?.();
    expect(await world.until(bus.publish(world.message(saga)))).toMatchObject({ sequence: 1 });
  });

  it('calm ends all of them at once, and healing then does nothing', async () => {
    const world = new BusWorld();
    const bus = world.connect('orchestrator-1');
    const heals = networkFaults.map((fault) => {
      const target = { network: world.network, victim: 'orchestrator-1', size: 1 };
      return fault.apply(target, drawsFrom(2).fork(fault.name));
    });
    await world.pass(5_000);
    world.network.calm();
    for (const heal of heals) heal();
    await world.pass(1_000);
    expect(await world.until(bus.publish(world.message(saga)))).toMatchObject({ status: 'stored' });
  });
});

describe('faults of the token', () => {
  it.each(tokenFaults.map(({ name }) => name))('%s: heals', (name) => {
    const world = new BusWorld();
    const draws = drawsFrom(1);
    const device = new TokenDevice({
      crypto: simulatedCrypto(draws),
      keys: new Map(),
      draws,
      trace: world.trace,
      crashes: { pass: () => undefined },
    });
    const heal = tokenFaults.find((one) => one.name === name)?.apply({ device, size: 1 });
    expect(device.conditions).not.toEqual(fairToken());
    heal?.();
    expect(device.conditions).toEqual(fairToken());
  });
});
