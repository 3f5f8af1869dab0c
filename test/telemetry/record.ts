/**
 * Records telemetry: `node test/telemetry/record.ts [quiet|rotating …]`, by hand, when agents say other
 * things than before. A whole mesh in memory with real keys and two orchestrators; every agent's keys are
 * really used, at random, and what comes out of the bulk lane is kept as it was opened, for two minutes.
 * In the rotating one, all layers are turned again and again meanwhile.
 */

import { writeFileSync } from 'node:fs';
import type { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { EmbeddedWorkload } from '#agents/layers/embedded/embedded-workload.ts';
import type { WorkloadOperation } from '#agents/layers/workload.ts';
import { slotDefinitions, type KeyKind, type LayerNumber } from '#schemas/layers.ts';
import type { TelemetryEvent } from '#schemas/telemetry.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { BulkReceiver } from '#shared/runtime/bulk-receiver.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';
import { crypto } from '../support/world.ts';
import { packed, pathOf, tickMs, type Recording, type RecordingName } from './recording.ts';

const recordedMs = 120_000;
const heartbeatMs = 25;
/** Between two rotations. */
const pauseMs = 4_000;
const useMs = 8;

const operationOf: Readonly<Record<KeyKind, WorkloadOperation>> = {
  signature: 'sign',
  mac: 'mac',
  aead: 'encrypt',
  kem: 'encapsulate',
  'hybrid-kem': 'encapsulate',
};

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Uses of slots of all layers, at random. */
function startUses(mesh: InMemoryMesh, adapters: ReadonlyMap<LayerNumber, EmbeddedAdapter>) {
  const { clock } = mesh.world;
  const workloads = new Map(
    [...adapters].map(([layer, { store, usage }]) => [
      layer,
      new EmbeddedWorkload({ layer, store, usage, crypto, clock }),
    ]),
  );
  const input = { message: crypto.randomBytes(32), plaintext: crypto.randomBytes(32) };
  const timer = setInterval(() => {
    for (let uses = Math.floor(Math.random() * 4); uses > 0; uses -= 1) {
      const chosen = slotDefinitions[Math.floor(Math.random() * slotDefinitions.length)];
      if (chosen === undefined) continue;
      workloads.get(chosen.layer)?.use(chosen.keyType, operationOf[chosen.keyKind], input);
    }
  }, useMs);
  return () => clearInterval(timer);
}

async function rotateUntil(mesh: InMemoryMesh, endMs: number): Promise<void> {
  while (Date.now() < endMs) {
    const plan = await mesh.approvedPlan([1, 2, 3, 4, 5, 6, 7]);
    await mesh.execute(plan);
    await mesh.until(plan.planId, ['retired', 'rolled_back']);
    await pause(pauseMs);
  }
}

async function record(name: RecordingName): Promise<void> {
  const adapters = new Map<LayerNumber, EmbeddedAdapter>();
  const mesh = await InMemoryMesh.start({
    heartbeatMs,
    adapterOf: (layer, adapter) => {
      adapters.set(layer as LayerNumber, adapter);
      return adapter;
    },
  });
  const { world } = mesh;
  const keyring = world.keyring('orchestrator-a');
  const receiver = new BulkReceiver({ crypto, trust: world.trust, keyring, clock: world.clock });
  const agents = world.trust
    .agents()
    .flatMap(({ agentId, layer }) =>
      layer === undefined ? [] : [{ agentId, layer: layer as LayerNumber }],
    );
  const received: [number, number, TelemetryEvent][] = [];
  const beganMs = Date.now();
  const subjects = [subjectsOf(world.mesh).patterns.telemetry];
  const bus = world.bus('orchestrator-a');
  await bus.follow({ stream: 'GYRE_BULK', subjects, fromSequence: 1 }, async (message) => {
    const opening = await receiver.open(message);
    if (opening.status !== 'opened') throw new Error('a batch was not opened');
    const index = agents.findIndex(({ agentId }) => agentId === opening.batch.sender.agentId);
    const atMs = Date.now() - beganMs;
    for (const event of opening.batch.events) {
      received.push([atMs, index, { ...event, atMs: event.atMs - beganMs }]);
    }
  });
  const ticks: number[] = [];
  const ticking = setInterval(() => void ticks.push(Date.now() - beganMs), tickMs);
  const stopUses = startUses(mesh, adapters);
  if (name === 'rotating') await rotateUntil(mesh, beganMs + recordedMs);
  else await pause(recordedMs);
  stopUses();
  clearInterval(ticking);
  const what = name === 'quiet' ? 'keys used, nothing turned' : 'keys used, all layers turned';
  const about = { format: 1, what, heartbeatMs, agents } as const;
  const recording: Recording = { ...about, ticks, received: [...received] };
  await mesh.stop();
  const bytes = packed(recording);
  writeFileSync(pathOf(name), bytes);
  process.stdout.write(`${name}: ${recording.received.length} events, ${bytes.length} bytes\n`);
}

const named = process.argv.slice(2) as RecordingName[];
for (const name of named.length > 0 ? named : (['quiet', 'rotating'] as const)) await record(name);
