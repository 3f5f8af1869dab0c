/**
 * A development mesh in a temporary folder for tests that need real processes: made and started
 * through the same code as `gyre up`, stopped and removed at the end. Processes can be found and
 * killed by the id of their agent.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { layoutOf, type MeshLayout } from '#cli/mesh/layout.ts';
import type { MeshFile, TokenKind } from '#cli/mesh/mesh-file.ts';
import { freePort } from '#cli/mesh/ports.ts';
import { provisionMesh } from '#cli/mesh/provisioning.ts';
import { startDetached, type StartRequest } from '#cli/mesh/start.ts';
import { stopMesh } from '#cli/mesh/stop.ts';
import { readProcesses, runningSupervisor } from '#cli/mesh/supervisor-record.ts';
import { OperatorSession } from '#cli/operator-session.ts';
import { developmentTimes, type RotationTimes } from '#cli/mesh/policy-body.ts';
import { requireSoftHsm, toolEnvironment } from '#cli/mesh/tools.ts';
import { familyOf, processes } from './processes.ts';
import { patienceMs } from './patience.ts';

export interface TestMeshOptions {
  readonly token?: TokenKind;
  readonly times?: Partial<RotationTimes>;
  /** What `gyre up` may be told of a new mesh besides. */
  readonly making?: Pick<StartRequest, 'services' | 'emergencyApprovals' | 'heartbeatMs'>;
  /** Called with the mesh that is made and not started. */
  readonly prepare?: (layout: MeshLayout) => Promise<void>;
}

export class TestMesh {
  readonly folder: string;
  readonly layout: MeshLayout;
  readonly mesh: MeshFile;

  private constructor(folder: string, layout: MeshLayout, mesh: MeshFile) {
    this.folder = folder;
    this.layout = layout;
    this.mesh = mesh;
  }

  /** Resolves when every agent is ready. The caller ends it with `remove`. */
  static async start(options: TestMeshOptions = {}): Promise<TestMesh> {
    const { token, times, making = {}, prepare } = options;
    const folder = await mkdtemp(join(tmpdir(), 'gyre-'));
    const layout = layoutOf(join(folder, 'mesh'));
    const { root } = layout;
    const onProgress = (): void => undefined;
    try {
      if (prepare !== undefined) {
        await provisionMesh({
          root,
          port: await freePort(),
          token:
            token === 'file'
              ? { kind: 'file' }
              : { kind: 'softhsm', libraryPath: requireSoftHsm(await toolEnvironment()) },
          times: { ...developmentTimes, ...times },
          ...making,
          onProgress,
        });
        await prepare(layout);
      }
      const { mesh } = await startDetached({
        root,
        ...(token === undefined ? {} : { token }),
        ...(times === undefined || prepare !== undefined ? {} : { times }),
        ...(prepare === undefined ? making : {}),
        onProgress,
      });
      return new TestMesh(folder, layout, mesh);
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** An operator on the bus; the caller closes it. */
  session(operatorId = 'op-1'): Promise<OperatorSession> {
    const { layout, mesh } = this;
    return OperatorSession.open({ layout, mesh, operatorId, timeoutMs: patienceMs });
  }

  /** Pid of an agent, or of `nats-server`, now. */
  async pidOf(id: string): Promise<number> {
    const record = (await readProcesses(this.layout)).find((process) => process.id === id);
    if (record?.pid === undefined || record.pid === null) throw new Error(`${id} does not run`);
    return record.pid;
  }

  /** The child of the signer that holds the token. */
  async tokenChildPid(): Promise<number> {
    const signer = await this.pidOf('signer');
    const child = familyOf(signer).find(({ pid }) => pid !== signer);
    if (child === undefined) throw new Error('the signer has no token child');
    return child.pid;
  }

  /** Kills a process as a crash would; the supervisor starts it again. */
  async kill(id: string): Promise<void> {
    process.kill(await this.pidOf(id), 'SIGKILL');
  }

  /** Until `id` runs and is ready under another pid than `before`. */
  async restarted(id: string, before: number): Promise<void> {
    const deadlineMs = performance.now() + patienceMs;
    for (;;) {
      const record = (await readProcesses(this.layout)).find((process) => process.id === id);
      const isBack = record?.pid !== null && record?.pid !== before && record?.ready === true;
      if (isBack) return;
      if (performance.now() > deadlineMs) throw new Error(`${id} did not come back`);
      if ((await runningSupervisor(this.layout)) === null) throw new Error('the mesh has ended');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Processes that name this mesh on their command line. */
  running(): number[] {
    return processes()
      .filter(({ command }) => command.includes(this.folder))
      .map(({ pid }) => pid);
  }

  async stop(): Promise<void> {
    await stopMesh(this.layout, patienceMs);
  }

  async remove(): Promise<void> {
    await this.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
