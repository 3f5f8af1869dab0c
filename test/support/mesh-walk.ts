/**
 * A mesh that is made, used and stopped through `bin/gyre` alone, in a folder of its own. What the
 * command line does not show may be looked up: files of the mesh, and the processes that run it.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { layoutOf, memberFiles, type MeshLayout } from '#cli/mesh/layout.ts';
import { requireMesh, type MeshFile } from '#cli/mesh/mesh-file.ts';
import { agents } from '#cli/mesh/members.ts';
import { readProcesses } from '#cli/mesh/supervisor-record.ts';
import { OperatorSession } from '#cli/operator-session.ts';
import { collectStatus, isHealthy, type Status } from '#cli/status/collect.ts';
import { gyreJson, runGyre, type GyreOptions, type GyreRun } from './gyre.ts';
import { patienceMs, until } from './patience.ts';

export interface Fault {
  readonly error: { readonly code: string; readonly reason: string; readonly hint: string };
}
export interface Standing {
  readonly version: number;
  readonly digest: string;
  readonly verdict: string;
  readonly refusal?: { readonly code: string; readonly rule: string };
}
export interface Rotation {
  readonly planId: string;
  readonly phase: string;
}
export type WalkStatus = Status & { readonly healthy: boolean };

export class MeshWalk {
  readonly folder: string;
  readonly layout: MeshLayout;

  private constructor(folder: string) {
    this.folder = folder;
    this.layout = layoutOf(join(folder, 'mesh'));
  }

  static async begin(name: string): Promise<MeshWalk> {
    return new MeshWalk(await mkdtemp(join(tmpdir(), `gyre-${name}-`)));
  }

  file(name: string): string {
    return join(this.folder, name);
  }

  gyre(args: readonly string[], options: GyreOptions = {}): Promise<GyreRun> {
    return runGyre([...args, '--dir', this.layout.root], { ...options });
  }

  json<Shape>(...args: string[]) {
    const options = { environment: { GYRE_DIR: '' } };
    return gyreJson<Shape>([...args, '--dir', this.layout.root], options);
  }

  /** For a command that must end with 0: its document. */
  async done<Shape>(...args: string[]): Promise<Shape> {
    const { code, document, stderr } = await this.json<Shape>(...args);
    if (code === 0) return document;
    throw new Error(`gyre ${args.join(' ')}: ${code} ${JSON.stringify(document)} ${stderr}`);
  }

  /** Signed by both operators, offline. */
  async signed(kind: 'root' | 'registry' | 'policy', file: string): Promise<Standing> {
    await this.done(kind, 'sign', file, '--as', 'op-1');
    return await this.done<Standing>(kind, 'sign', file, '--as', 'op-2');
  }

  /** What `gyre status` shows, without the start of a process. */
  async status(): Promise<WalkStatus> {
    const [mesh, operatorId] = [await this.mesh(), 'op-1'];
    const { layout } = this;
    const session = await OperatorSession.open({ layout, mesh, operatorId, timeoutMs: patienceMs });
    try {
      const status = await collectStatus(session, layout, mesh);
      return { healthy: isHealthy(status), ...status };
    } finally {
      await session.close();
    }
  }

  /** Asks for the status until it is as wanted. */
  untilStatus(wanted: (status: WalkStatus) => boolean, what: string): Promise<WalkStatus> {
    return until(() => this.status(), wanted, what);
  }

  /** A plan that the other operator has approved. */
  async approvedPlan(layers: string): Promise<string> {
    const { planId } = await this.done<Rotation>('rotation', 'plan', '--layers', layers);
    await this.done('rotation', 'approve', planId, '--as', 'op-2');
    return planId;
  }

  /** Executes, and once every layer is preparing does the work while the signer stands still. */
  async executeWith<Result>(
    planId: string,
    work: () => Promise<Result>,
  ): Promise<{ readonly run: GyreRun; readonly result: Result }> {
    const signer = await this.pidOf('signer');
    const preparing = Promise.withResolvers<'preparing'>();
    const execution = this.gyre(['rotation', 'execute', planId], {
      onProgress: (line) => {
        if (line.includes('preparing')) preparing.resolve('preparing');
      },
    });
    const first = await Promise.race([preparing.promise, execution]);
    if (first !== 'preparing') throw new Error(`nothing was prepared: ${first.stderr}`);
    // It authorized the execution and is not needed again before the commit.
    process.kill(signer, 'SIGSTOP');
    try {
      const result = await work();
      process.kill(signer, 'SIGCONT');
      return { run: await execution, result };
    } finally {
      process.kill(signer, 'SIGCONT');
    }
  }

  /** Of a process that runs now. */
  async pidOf(id: string): Promise<number> {
    const pid = (await readProcesses(this.layout)).find((each) => each.id === id)?.pid;
    if (typeof pid === 'number') return pid;
    throw new Error(`${id} does not run`);
  }

  mesh(): Promise<MeshFile> {
    return requireMesh(this.layout.root);
  }

  /** Where an agent keeps the documents that it adopted. */
  trustFile(agentId: string): string {
    const member = agents.find(({ id }) => id === agentId);
    if (member === undefined) throw new Error(`there is no agent ${agentId}`);
    return join(this.layout.memberDirectory(member), memberFiles.state, 'trust.json');
  }

  /** What an agent has written down of documents and lockouts. */
  async kept(agentId: string): Promise<Kept> {
    const { state } = JSON.parse(await readFile(this.trustFile(agentId), 'utf8')) as KeptFile;
    const documents = state.documents.map(({ document: { body } }) => {
      return `${body.kind} ${body.version}`;
    });
    return { documents, lockouts: state.lockouts };
  }

  /** Every agent has written down these documents since genesis, and no others. */
  async everyoneKeeps(...documents: readonly string[]): Promise<void> {
    const wanted = documents.toSorted().join(', ');
    for (const { id } of agents) {
      const look = async () => (await this.kept(id)).documents.toSorted().join(', ');
      await until(look, (found) => found === wanted, `${id} keeps ${wanted}`);
    }
  }

  async end(): Promise<void> {
    await this.gyre(['down']);
    await rm(this.folder, { recursive: true, force: true });
  }
}

export interface Kept {
  readonly documents: readonly string[];
  readonly lockouts: readonly { sender: string; code: string; untilMs: number }[];
}

interface KeptFile {
  readonly state: {
    readonly documents: readonly { document: { body: { kind: string; version?: number } } }[];
    readonly lockouts: Kept['lockouts'];
  };
}
