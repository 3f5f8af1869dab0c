/**
 * A rollback that is made impossible: one layer refuses the new key, another the way back. The mesh
 * is locked out, visibly and for as long as nobody with the right to do so ends it; signing is frozen
 * and verification is not; an approved recovery brings every slot back (invariants 2, 13, 14).
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KeyClient } from '#agents/layers/key-client.ts';
import { refuseEarlierPrimaries, refuseNewPrimaries } from '../../demo/sabotage.ts';
import { drive } from './mesh.ts';
import { hangMs } from '../../support/patience.ts';

interface Status {
  readonly mesh: {
    readonly value: {
      readonly layers: readonly { readonly agentId: string; readonly frozen: number }[];
      readonly rotations: readonly { readonly planId: string; readonly phase: string }[];
    };
  };
}

const message = new TextEncoder().encode('a token of before the lockout');

let keys: KeyClient;
let before: Map<string, number>;
let planId = '';
let repair: (() => void)[] = [];
let signed: { keyId: string; signature: Uint8Array };

async function sign() {
  const outcome = await keys.use('identity-signature', 'sign', { message });
  return outcome.status === 'done' ? outcome : outcome.code;
}

describe('a rollback made impossible', () => {
  beforeAll(async () => {
    keys = new KeyClient(drive.mesh.layout.keyServiceSocket('identity-a'));
    before = await drive.versions();
    const made = await sign();
    if (typeof made === 'string' || made.signature === undefined) throw new Error('no signature');
    signed = { keyId: made.keyId, signature: made.signature };
  }, hangMs);

  afterAll(async () => {
    keys.close();
  }, hangMs);

  it('locks out: execute ends with 8 and says what to do', { timeout: hangMs }, async () => {
    ({ planId } = await drive.approvedPlan());
    // Layer 1 is activated first and goes back last; layer 7 is activated last.
    repair = [refuseNewPrimaries(drive.stateOf('self-healing-a'))];
    repair.push(refuseEarlierPrimaries(drive.stateOf('identity-a')));
    const run = await drive.execute(planId);
    expect(run.code, run.stderr).toBe(8);
    expect(run.stdout).toContain('ORCH-8006');
    expect(run.stdout).toContain(`gyre rotation recover ${planId}`);
  });

  it('is visible in show, list and status', { timeout: hangMs }, async () => {
    const { phase, state } = await drive.show(planId);
    expect(phase).toBe('locked_out');
    expect(state.lockout?.code).toBe('ORCH-8006');
    expect(state.lockout?.reason).toContain('STORE_FAILED');
    const { mesh } = await drive.json<Status>('status');
    expect(mesh.value.rotations).toContainEqual(
      expect.objectContaining({ planId, phase: 'locked_out' }),
    );
    const frozen = mesh.value.layers.map(({ agentId, frozen: slots }) => [agentId, slots > 0]);
    expect(frozen.filter(([, isFrozen]) => isFrozen !== true)).toEqual([]);
    const text = await drive.gyre('status');
    expect(text.code).toBe(1);
    expect(text.stdout).toContain('not healthy');
    expect(text.stdout).toContain('identity-a: 1/identity-signature is frozen');
  });

  it('freezes signing and keeps verification', async () => {
    expect(await sign()).toBe('SLOT_FROZEN');
    const { keyId, signature } = signed;
    const verified = await keys.use('identity-signature', 'verify', { message, signature, keyId });
    expect(verified).toMatchObject({ status: 'done', valid: true });
  });

  it('outlives the cause, new plans and new orchestrators', { timeout: hangMs }, async () => {
    for (const undo of repair) undo();
    expect(await drive.told('rotation', 'plan', '--layers', '1')).toMatchObject({
      exit: 1,
      code: 'ORCH-8007',
    });
    const known = await drive.show(planId);
    for (const id of ['orchestrator-a', 'orchestrator-b']) {
      const pid = await drive.mesh.pidOf(id);
      await drive.mesh.kill(id);
      await drive.mesh.restarted(id, pid);
    }
    await sleep(500);
    expect(await drive.show(planId)).toEqual(known);
    expect(await sign()).toBe('SLOT_FROZEN');
  });

  it('is left only by a recovery that another operator approves', { timeout: hangMs }, async () => {
    expect(
      await drive.told('rotation', 'recover', planId, '--approve', '--as', 'op-2'),
    ).toMatchObject({
      exit: 1,
    });
    expect(await drive.gyre('rotation', 'recover', planId)).toMatchObject({ code: 0 });
    expect(await drive.told('rotation', 'recover', planId, '--approve')).toMatchObject({
      exit: 6,
      code: 'ORCH-8015',
    });
    expect((await drive.show(planId)).phase).toBe('locked_out');
    const recovered = await drive.gyre('rotation', 'recover', planId, '--approve', '--as', 'op-2');
    expect(recovered).toMatchObject({ code: 0 });
    expect((await drive.show(planId)).phase).toBe('rolled_back');
    expect(await drive.versions()).toEqual(before);
  });

  it('leaves slots that are used and turned as before', { timeout: hangMs }, async () => {
    expect(await sign()).toMatchObject({ status: 'done', keyId: signed.keyId });
    const next = await drive.approvedPlan();
    const run = await drive.execute(next.planId);
    expect(run.code, run.stdout + run.stderr).toBe(0);
    const after = await drive.versions();
    expect([...after].filter(([slot, version]) => version <= (before.get(slot) ?? 0))).toEqual([]);
    const { keyId, signature } = signed;
    const verified = await keys.use('identity-signature', 'verify', { message, signature, keyId });
    expect(verified).toMatchObject({ status: 'done', valid: true });
  });

  it('and the audit of it all verifies, offline', { timeout: hangMs }, async () => {
    const verdict = await drive.verifyAudit();
    expect(verdict.code, verdict.stdout + verdict.stderr).toBe(0);
  });
});
