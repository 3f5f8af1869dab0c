/**
 * A live mesh driven as an operator would, while things are done to it: through `bin/gyre` where what
 * it prints or its exit code is the point, through the same operator's session elsewhere.
 */

import path from 'node:path';
import { expect } from 'vitest';
import { checks, type RotationDetails } from '#cli/answers.ts';
import { memberFiles } from '#cli/mesh/layout.ts';
import { approveRotation, planRotation, showRotation } from '#cli/rotation/actions.ts';
import { parseLayers } from '#cli/rotation/arguments.ts';
import type { OperatorSession } from '#cli/operator-session.ts';
import { gyreJson, runGyre, type GyreRun } from '../support/gyre.ts';
import { until } from '../support/patience.ts';
import { TestMesh, type TestMeshOptions } from '../support/mesh.ts';

export interface Plan {
  readonly planId: string;
  readonly planDigest: string;
}

/** What a command that failed told, with its exit code. */
export interface Told {
  readonly exit: number;
  readonly code: string;
  readonly reason: string;
  readonly hint: string;
}

const resting = ['committed', 'retiring', 'retired', 'rolled_back', 'locked_out'];

/** It says what is wrong and what to do about it. */
export function expectHelp({ hint, reason }: Told): void {
  expect(reason).not.toBe('');
  expect(hint).not.toBe('');
}

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
    return runGyre([...args, '--dir', this.mesh.layout.root]);
  }

  async json<Shape>(...args: string[]): Promise<Shape> {
    const run = await gyreJson<Shape>([...args, '--dir', this.mesh.layout.root]);
    return run.document;
  }

  /** For a command that must fail: what it says. */
  async told(...args: string[]): Promise<Told> {
    const { code, document } = await gyreJson<{ error?: Omit<Told, 'exit'> }>([
      ...args,
      '--dir',
      this.mesh.layout.root,
    ]);
    if (document.error === undefined) throw new Error(`gyre ${args.join(' ')} did not fail`);
    return { exit: code, ...document.error };
  }

  /** Where a layer agent keeps its databases. */
  stateOf(agentId: string, kind: 'layer' | 'auditor' = 'layer'): string {
    const { layout } = this.mesh;
    return path.join(layout.memberDirectory({ id: agentId, kind }), memberFiles.state);
  }

  async approvedPlan(layers = '1-7'): Promise<Plan> {
    const request = {
      layers: parseLayers(layers),
      rotationType: 'scheduled',
      reason: 'a test of what goes wrong',
    } as const;
    const { planId, planDigest } = await this.as('op-1', (op) => planRotation(op, request));
    await this.as('op-2', (op) => approveRotation(op, planId));
    return { planId, planDigest };
  }

  /** Executes and calls `onLine` for each line of progress. */
  execute(planId: string, onLine: (line: string) => void = () => undefined): Promise<GyreRun> {
    const args = ['rotation', 'execute', planId, '--dir', this.mesh.layout.root];
    return runGyre(args, { onProgress: onLine });
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
    return this.as('op-1', async (op) => {
      const look = async () => {
        const { layers } = await op.askOrchestrator({ ask: 'keys-list' }, checks.keysList);
        return layers.flatMap((layer) => layer.slots);
      };
      const slots = await until(look, ({ length }) => length === 14, 'all layer agents answer');
      return new Map(slots.map(({ slot, version }) => [slot, version]));
    });
  }

  show(planId: string): Promise<RotationDetails> {
    return this.as('op-1', (op) => showRotation(op, planId));
  }

  /** The phase in which a rotation comes to rest. */
  async settled(planId: string): Promise<string> {
    return this.as('op-1', async (op) => {
      const look = async () => (await showRotation(op, planId)).phase;
      return until(look, (phase) => resting.includes(phase), `${planId} comes to rest`);
    });
  }

  /** Exports the audit and verifies it offline. */
  async verifyAudit(): Promise<GyreRun> {
    const file = path.join(this.mesh.folder, `audit-${Date.now()}.gyre`);
    const { rootDigest } = this.mesh.mesh;
    const exported = await this.gyre('audit', 'export', '--out', file);
    if (exported.code !== 0) throw new Error(`no export: ${exported.stderr}`);
    return runGyre(['audit', 'verify', file, '--root', rootDigest]);
  }

  /** Stops and removes the mesh; nothing of it may be left running. */
  async end(): Promise<void> {
    await this.mesh.remove();
    const left = this.mesh.running();
    if (left.length > 0) throw new Error(`still running: ${left.join(', ')}`);
  }

  /** Does something as an operator, in a session of its own. */
  async as<Result>(
    operatorId: string,
    work: (session: OperatorSession) => Promise<Result>,
  ): Promise<Result> {
    const session = await this.mesh.session(operatorId);
    try {
      return await work(session);
    } finally {
      await session.close();
    }
  }
}
