/**
 * Emergencies: from an injected anomaly until all layers are verified under new keys. A whole mesh in one
 * process with real keys and real telemetry, no approvals wanted; uses of the keys of all layers begin to
 * fail, and nobody does anything. Timed from the first failing use to the commit decision, which is
 * entered when every layer was verified. The mesh's clock is moved on between runs: within the time
 * of an emergency no layer is healed twice.
 *
 * Heartbeats come every 100 ms here and every second in a mesh, so that what passes until layer 7 asks
 * (uses are reported with every tenth heartbeat, and gathered for as long again) is a tenth of it there.
 */

import { rmSync } from 'node:fs';
import { layerNumbers } from '#schemas/layers.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import { invariant } from '#shared/crypto/errors.ts';
import { adopt, amended } from '../test/support/documents.ts';
import { InMemoryMesh } from '../test/support/in-memory-mesh.ts';
import { KeyLoad } from '../test/support/key-load.ts';
import { summarise } from './measure.ts';
import type { Row } from './report.ts';

const heartbeatMs = 100;
const gatherMs = 1_000;
const waitMs = 60_000;
const budgetMs = 300_000;

interface Listed {
  readonly planId: string;
  readonly phase: RotationPhase;
  readonly layers: readonly number[];
  readonly beganAtMs: number;
}

interface Shown {
  readonly phase: RotationPhase;
  readonly timeline: readonly { readonly event: string; readonly atMs: number }[];
}

interface Run {
  /** Until the plan was drafted, and from then until the commit decision. */
  readonly askedMs: number;
  readonly turnedMs: number;
}

export async function emergencyRows(runs: number): Promise<Row[]> {
  const load = new KeyLoad();
  const mesh = await InMemoryMesh.start({ heartbeatMs, gatherMs, adapterOf: load.adapterOf });
  try {
    const { policy } = mesh.world.trust;
    const prompt = await amended(mesh.world, policy, (draft) => {
      draft.policies.rotation.approvals.emergency = 0;
    });
    await adopt(mesh, 'op-1', prompt);
    load.start({ turnMs: 20, usesPerTurn: 4 });
    const slaMs = policy.policies.key_lifecycle.emergency_rotation_sla_minutes * 60_000;
    const done: Run[] = [];
    const deadlineMs = performance.now() + budgetMs;
    for (let run = 0; run < runs && (run === 0 || performance.now() < deadlineMs); run += 1) {
      await load.learnt(mesh);
      done.push(await healOnce(mesh, load));
      mesh.world.clock.offsetMs += slaMs + 60_000;
    }
    return rowsOf(done, slaMs);
  } finally {
    load.stop();
    await mesh.stop();
    rmSync(mesh.folder, { recursive: true, force: true });
  }
}

async function healOnce(mesh: InMemoryMesh, load: KeyLoad): Promise<Run> {
  const before = new Set((await rotations(mesh)).map(({ planId }) => planId));
  const injectedAtMs = mesh.world.clock.nowMs();
  load.fail(layerNumbers, 0.6);
  const begun = await until(async () => {
    const all = await rotations(mesh);
    return all.find(({ planId }) => !before.has(planId));
  });
  load.heal();
  invariant(begun.layers.length === layerNumbers.length, 'all layers are turned in one rotation');
  const query = { ask: 'rotation-show', planId: begun.planId, waitMs: 0 } as const;
  const committedAtMs = await until(async () => {
    const { phase, timeline } = (await mesh.ask(query)) as Shown;
    invariant(phase !== 'rolled_back' && phase !== 'refused', 'the rotation is committed');
    return timeline.find(({ event }) => event === 'commit-decided')?.atMs;
  });
  await until(async () =>
    ((await mesh.ask(query)) as Shown).phase === 'retired' ? true : undefined,
  );
  return {
    askedMs: begun.beganAtMs - injectedAtMs,
    turnedMs: committedAtMs - begun.beganAtMs,
  };
}

async function rotations(mesh: InMemoryMesh): Promise<readonly Listed[]> {
  return (await mesh.ask({ ask: 'rotation-list' })) as Listed[];
}

async function until<Value>(look: () => Promise<Value | undefined>): Promise<Value> {
  const deadlineMs = performance.now() + waitMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    invariant(performance.now() < deadlineMs, 'an emergency is over within a minute');
    await pause(25);
  }
}

function rowsOf(done: readonly Run[], slaMs: number): Row[] {
  const whole = summarise(done.map(({ askedMs, turnedMs }) => askedMs + turnedMs));
  const part = (ms: number): string => `${((100 * ms) / slaMs).toFixed(2)} %`;
  const group = 'emergency, from the first failing use, one process';
  return [
    {
      group,
      name: 'until all layers are verified',
      summary: whole,
      note: `p50 ${part(whole.medianMs)}, p99 ${part(whole.p99Ms)} of the policy's ${slaMs / 60_000} minutes`,
    },
    {
      group,
      name: 'of it, until layer 7 has a plan',
      summary: summarise(done.map(({ askedMs }) => askedMs)),
      note: `heartbeats every ${heartbeatMs} ms, gathered for ${gatherMs} ms`,
    },
    {
      group,
      name: 'of it, plan to commit decision',
      summary: summarise(done.map(({ turnedMs }) => turnedMs)),
    },
  ];
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
