/** A live mesh driven through `bin/gyre`, as an operator would, while things are done to it. */

import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gyreJson, runGyre, type GyreRun } from '../support/gyre.ts';
import { TestMesh, type TestMeshOptions } from '../support/mesh.ts';

export interface Plan {
  readonly planId: string;
  readonly planDigest: string;
}

const timeoutMs = 120_000;
const resting = ['committed', 'retiring', 'retired', 'rolled_back', 'locked_out'];

/** A mesh on SoftHSM2 where it is found, else on the file token, and it says which. */
export async function liveMesh(options: TestMeshOptions = {}): Promise<Drive> {
  const softHsm = (process.env['GYRE_SOFTHSM_LIB'] ?? '') !== '';
  if (!softHsm) console.warn('no SoftHSM2: this mesh signs with a file token');
  const token = softHsm ? ({} as const) : ({ token: 'file' } as const);
  return new Drive(await TestMesh.start({ ...token, ...options }));
}

export class Drive {
  readonly mesh: TestMesh;

  constructor(mesh: TestMesh) {
    this.mesh = mesh;
  }

  gyre(...args: string[]): Promise<GyreRun> {
    return runGyre([...args, '--dir', this.mesh.layout.root], { timeoutMs });
  }

  async json<Shape>(...args: string[]): Promise<Shape> {
    const run = await gyreJson<Shape>([...args, '--dir', this.mesh.layout.root], { timeoutMs });
    return run.document;
  }

  async approvedPlan(layers = '1-7'): Promise<Plan> {
    const plan = await this.json<Plan>('rotation', 'plan', '--layers', layers);
    const approval = await this.gyre('rotation', 'approve', plan.planId, '--as', 'op-2');
    if (approval.code !== 0) throw new Error(`not approved: ${approval.stderr}`);
    return plan;
  }

  /** Executes and calls `onLine` for each line of progress. */
  execute(planId: string, onLine: (line: string) => void = () => undefined): Promise<GyreRun> {
    const args = ['rotation', 'execute', planId, '--dir', this.mesh.layout.root];
    return runGyre(args, { onProgress: onLine, timeoutMs });
  }

  /** Executes and does something once, as soon as the first layer is activated. */
  async executeAnd(planId: string, act: () => unknown): Promise<GyreRun> {
    let acted: Promise<unknown> | undefined;
    const run = await this.execute(planId, (line) => {
      if (line.includes('activate done')) acted ??= Promise.resolve(act());
    });
    if (acted === undefined) throw new Error(`nothing was activated: ${run.stderr}`);
    await acted;
    return run;
  }

  /** Versions of the primary keys, by slot. */
  async versions(): Promise<Map<string, number>> {
    interface Keys {
      readonly keys: readonly { readonly slot: string; readonly version: number }[];
    }
    for (let tries = 0; tries < 40; tries += 1) {
      const { keys } = await this.json<Keys>('keys', 'list');
      if (keys.length === 14) return new Map(keys.map(({ slot, version }) => [slot, version]));
      await sleep(250);
    }
    throw new Error('not all layer agents answer');
  }

  /** The phase in which a rotation comes to rest. */
  async settled(planId: string): Promise<string> {
    for (let tries = 0; tries < 120; tries += 1) {
      const run = await gyreJson<{ phase?: string }>(
        ['rotation', 'show', planId, '--dir', this.mesh.layout.root],
        { timeoutMs },
      );
      const { phase } = run.document;
      if (phase !== undefined && resting.includes(phase)) return phase;
      await sleep(250);
    }
    throw new Error(`${planId} does not come to rest`);
  }

  /** Exports the audit and verifies it offline. */
  async verifyAudit(): Promise<GyreRun> {
    const file = path.join(this.mesh.folder, `audit-${Date.now()}.gyre`);
    const { rootDigest } = await this.json<{ rootDigest: string }>('status');
    const exported = await this.gyre('audit', 'export', '--out', file);
    if (exported.code !== 0) throw new Error(`no export: ${exported.stderr}`);
    return runGyre(['audit', 'verify', file, '--root', rootDigest], { timeoutMs });
  }
}
