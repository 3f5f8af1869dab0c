import { afterEach, describe, expect, it } from 'vitest';
import { EpochWorld } from '../../support/epoch-world.ts';

let world: EpochWorld;
afterEach(() => world.stop());

const agents = ['signer', 'auditor', 'orchestrator-a', 'orchestrator-b', 'identity-a', 'network-a'];

describe('the first epochs', () => {
  it('come into use once every running member has accepted them', async () => {
    world = await EpochWorld.make();
    await world.start(...agents);
    for (const id of agents) {
      expect(world.actor(id).keyring.currentEpoch('mesh')).toBe(1);
    }
  });
});
