/**
 * What a rotation that went back must leave behind, and worlds in which one kind of step fails.
 */

import assert from 'node:assert/strict';
import type { SendStep } from '#shared/core/rotation/commands.ts';
import type { Fault, World, WorldOptions } from './world.ts';

export function assertRolledBack(world: World): void {
  assert.equal(world.state.phase, 'rolled_back');
  assert.equal(world.state.decision, 'rollback');
  assert.deepEqual(world.versions(), [1]);
  assert.deepEqual(world.ledger.held, []);
  assert.deepEqual(world.state.outstanding, []);
  for (const { slot, owner, verifiers } of world.state.slots) {
    for (const agentId of [owner, ...verifiers]) {
      assert.ok(!world.agent(agentId).hasCandidate(slot));
      assert.ok(world.agent(agentId).isOldKept(slot));
    }
  }
}

export function failing(match: (command: SendStep) => boolean, fault: Fault): WorldOptions {
  return { fault: (command) => (match(command) ? fault : undefined) };
}
