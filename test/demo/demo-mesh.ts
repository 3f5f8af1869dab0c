/**
 * The mesh of the demo: a fresh directory, and the few things that the demo asks of `bin/gyre`, each
 * with what must come back. A failed expectation ends the demo with its reason.
 */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LayerNumber } from '#schemas/layers.ts';
import { layoutOf, memberFiles, socketPathBytesMax } from '#cli/mesh/layout.ts';
import { processMark } from '#cli/mesh/process-identity.ts';
import { gyreJson, projectRoot, runGyre, type GyreRun } from '../support/gyre.ts';
import { detail } from './report.ts';

export interface KeyLine {
  readonly slot: string;
  readonly version: number;
  readonly keyId: string;
}

export interface Executed {
  readonly code: number;
  /** From the request to execute to the decision, as the log of the rotation has it. */
  readonly decidedMs: number;
}

export interface Status {
  readonly rootDigest: string;
  readonly supervisorPid: number;
  readonly processes: readonly { readonly id: string; readonly pid: number }[];
  readonly signer: { readonly value: { readonly notice: string; readonly isHsm: boolean } };
}

export interface DemoTimes {
  readonly overlapMs: number;
  readonly heartbeatMs: number;
}

interface Result {
  readonly planId: string;
  readonly timings: {
    readonly executeToCommittedMs?: number;
    readonly executeToRolledBackMs?: number;
  };
}

export interface Emergency {
  readonly planId: string;
  readonly layers: readonly number[];
  readonly beganAtMs: number;
}

interface RotationShown {
  readonly phase: string;
  readonly state: { readonly decision: string; readonly decidedAtMs: number | null };
}

export class DemoFailure extends Error {
  override readonly name = 'DemoFailure';
}

export function expect(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new DemoFailure(otherwise);
}

const roomForSocketNames = 32;
const emergencyWithinMs = 90_000;
const lookMs = 250;

export class DemoMesh {
  readonly root: string;
  #mayRun = false;

  private constructor(root: string) {
    this.root = root;
  }

  /** In the project's cache; in the system's temporary folder where that path is too long. */
  static async choose(): Promise<DemoMesh> {
    const folder = join(projectRoot, '.cache', 'demo');
    const root = join(folder, `mesh-${process.pid}`);
    if (Buffer.byteLength(root) + roomForSocketNames > socketPathBytesMax) {
      return new DemoMesh(join(await mkdtemp(join(tmpdir(), 'gyre-demo-')), 'mesh'));
    }
    await mkdir(folder, { recursive: true });
    for (const name of await readdir(folder)) {
      const pid = Number(/^mesh-(\d+)$/.exec(name)?.[1] ?? Number.NaN);
      if (Number.isInteger(pid) && processMark(pid) === null) await removeLeft(join(folder, name));
    }
    return new DemoMesh(root);
  }

  /** Runs a command on the mesh; its progress is shown unless `quiet`. */
  gyre(args: readonly string[], { quiet = false } = {}): Promise<GyreRun> {
    return runGyre([...args, '--dir', this.root], quiet ? {} : { onProgress: detail });
  }

  /** Makes and starts it, each layer a service of its own; milliseconds that this took. */
  async start({ overlapMs, heartbeatMs }: DemoTimes): Promise<number> {
    this.#mayRun = true;
    const times = ['--overlap', String(overlapMs), '--heartbeat', String(heartbeatMs)];
    const how = ['--detach', '--services', '--emergency-approvals', '0'];
    const up = await this.gyre(['up', ...how, ...times]);
    expect(up.code === 0, `the mesh did not start (exit ${up.code})`);
    return up.durationMs;
  }

  async status(): Promise<Status> {
    const { code, document } = await gyreJson<Status>(['status', '--dir', this.root]);
    expect(code === 0, 'the mesh is not healthy');
    expect(!document.signer.value.isHsm, 'a software token passes for an HSM');
    return document;
  }

  async keys(): Promise<readonly KeyLine[]> {
    const run = await gyreJson<{ keys: KeyLine[] }>(['keys', 'list', '--dir', this.root]);
    expect(run.code === 0, `keys list ended with ${run.code}`);
    return run.document.keys;
  }

  /** The id of a plan for all layers. */
  async plan(reason: string): Promise<string> {
    const args = ['rotation', 'plan', '--layers', '1-7', '--reason', reason, '--dir', this.root];
    const { code, document, stdout } = await gyreJson<Result>(args);
    expect(code === 0, `no plan was made: ${stdout}`);
    detail(`planned ${document.planId}`);
    return document.planId;
  }

  async approve(planId: string): Promise<void> {
    const approved = await this.gyre(['rotation', 'approve', planId, '--as', 'op-2'], {
      quiet: true,
    });
    expect(approved.code === 0, `the approval was refused: ${approved.stderr.trim()}`);
    detail('approved by op-2');
  }

  async execute(planId: string): Promise<Executed> {
    const run = await gyreJson<Result>(['rotation', 'execute', planId, '--dir', this.root], {
      // Which plan it is was said when it was made.
      onProgress: (line) => detail(line.replace(`${planId}: `, '')),
    });
    const { executeToCommittedMs, executeToRolledBackMs } = run.document.timings;
    return { code: run.code, decidedMs: executeToCommittedMs ?? executeToRolledBackMs ?? 0 };
  }

  /** Waits for an emergency rotation that nobody of the demo asked for. */
  async emergency(): Promise<Emergency> {
    const deadlineMs = performance.now() + emergencyWithinMs;
    for (;;) {
      const { document } = await gyreJson<{ rotations: (Emergency & { rotationType: string })[] }>([
        'rotation',
        'list',
        '--dir',
        this.root,
      ]);
      const found = document.rotations.find(({ rotationType }) => rotationType === 'emergency');
      if (found !== undefined) return found;
      expect(performance.now() < deadlineMs, 'layer 7 asked for nothing');
      await new Promise((resolve) => setTimeout(resolve, lookMs));
    }
  }

  /** When all layers of a rotation were verified under their new keys; waits for it. */
  async committedAtMs(planId: string): Promise<number> {
    const deadlineMs = performance.now() + emergencyWithinMs;
    for (;;) {
      const { document } = await gyreJson<RotationShown>([
        'rotation',
        'show',
        planId,
        '--dir',
        this.root,
      ]);
      const { phase, state } = document;
      expect(phase !== 'rolled_back' && phase !== 'refused', `${planId} is ${phase}`);
      if (state.decision === 'commit' && state.decidedAtMs !== null) return state.decidedAtMs;
      expect(performance.now() < deadlineMs, `${planId} is not committed`);
      await new Promise((resolve) => setTimeout(resolve, lookMs));
    }
  }

  /** Waits until a rotation rests. */
  async rest(planId: string): Promise<void> {
    const watched = await this.gyre(['rotation', 'watch', planId], { quiet: true });
    expect(watched.code === 0, `${planId} did not come to rest (exit ${watched.code})`);
  }

  /** Where the service of a layer keeps its keys. */
  stateDirectory(layer: LayerNumber): string {
    return join(layoutOf(this.root).serviceDirectory(layer), memberFiles.state);
  }

  /** Stops what runs; nothing to do where nothing does. */
  async end(): Promise<void> {
    if (!this.#mayRun) return;
    const down = await runGyre(['down', '--dir', this.root]);
    this.#mayRun = down.code !== 0;
    if (this.#mayRun) console.error(`demo: ${down.stderr.trim()}`);
  }
}

/** What a demo left that failed or was killed: stopped, then removed. */
async function removeLeft(root: string): Promise<void> {
  await runGyre(['down', '--dir', root]);
  await rm(root, { recursive: true, force: true });
}
