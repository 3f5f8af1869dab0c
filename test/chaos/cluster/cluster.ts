/**
 * A development mesh on a bus of three servers: made by the production code, its agents real
 * processes under the production supervision, each of them connected through proxies of its own, one
 * for each server. What the servers acknowledge on the way is kept, for the reckoning at the end.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { replaceFile } from '#cli/mesh/durable-files.ts';
import { layoutOf, type MeshLayout } from '#cli/mesh/layout.ts';
import { agents, operators, type Member } from '#cli/mesh/members.ts';
import type { MeshFile } from '#cli/mesh/mesh-file.ts';
import { developmentTimes, type RotationTimes } from '#cli/mesh/policy-body.ts';
import { signalProcess } from '#cli/mesh/process-identity.ts';
import { provisionMesh } from '#cli/mesh/provisioning.ts';
import { SupervisedProcess } from '#cli/mesh/supervised-process.ts';
import { agentSpec } from '#cli/mesh/supervisor.ts';
import { findNatsServer, requireSoftHsm, toolEnvironment } from '#cli/mesh/tools.ts';
import { OperatorSession } from '#cli/operator-session.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { freePort } from '../../support/nats-server.ts';
import { familyOf } from '../../support/processes.ts';
import { nodeCount, Nodes, pause, type Launch } from './nodes.ts';
import { Proxy } from './proxy.ts';
import { serverProcesses } from './server-process.ts';
import { WireTap, type Acknowledged } from './wire.ts';

export interface ClusterMeshOptions {
  readonly token?: 'softhsm' | 'file';
  readonly times?: Partial<RotationTimes>;
  /** Called with the mesh that is made and not started. */
  readonly prepare?: (layout: MeshLayout) => Promise<void>;
  readonly onProgress?: (line: string) => void;
  /** How servers run; as processes unless told. */
  readonly launch?: Launch;
}

export interface Ledger {
  /** Everything that a server said it stored, by the name of the event. */
  readonly acknowledged: ReadonlyMap<string, Acknowledged & { readonly producer: string }>;
  /** `performance.now()` of the last new entry of a rotation. */
  readonly sagaProgressMs: number;
}

const readyMs = 60_000;
const stepMs = 25;
const graceMs = 3_000;

export class ClusterMesh {
  readonly folder: string;
  readonly layout: MeshLayout;
  readonly mesh: MeshFile;
  readonly nodes: Nodes;
  readonly natsVersion: string;
  readonly #agents = new Map<string, SupervisedProcess>();
  readonly #links: ReadonlyMap<string, readonly Proxy[]>;
  readonly #ledger: MutableLedger;

  private constructor(fields: {
    readonly folder: string;
    readonly layout: MeshLayout;
    readonly mesh: MeshFile;
    readonly nodes: Nodes;
    readonly natsVersion: string;
    readonly links: ReadonlyMap<string, readonly Proxy[]>;
    readonly ledger: MutableLedger;
  }) {
    this.folder = fields.folder;
    this.layout = fields.layout;
    this.mesh = fields.mesh;
    this.nodes = fields.nodes;
    this.natsVersion = fields.natsVersion;
    this.#links = fields.links;
    this.#ledger = fields.ledger;
  }

  /** Resolves when every process is ready. The caller ends it with `stop`. */
  static async start(options: ClusterMeshOptions = {}): Promise<ClusterMesh> {
    const folder = await mkdtemp(join(tmpdir(), 'gyre-chaos-'));
    const layout = layoutOf(join(folder, 'mesh'));
    const onProgress = options.onProgress ?? (() => undefined);
    const environment = await toolEnvironment();
    const natsServer = await findNatsServer(environment);
    const provisional = await provisionMesh({
      root: layout.root,
      port: await freePort(),
      token:
        options.token === 'file'
          ? { kind: 'file' }
          : { kind: 'softhsm', libraryPath: requireSoftHsm(environment) },
      times: { ...developmentTimes, ...options.times },
      onProgress,
    });
    await options.prepare?.(layout);
    const nodes = await Nodes.start({
      layout,
      mesh: provisional,
      launch:
        options.launch ??
        serverProcesses({
          layout,
          natsServer: natsServer.path,
          onExit: (id) => onProgress(`${id} ended`),
        }),
    });
    const ledger = new MutableLedger(provisional.mesh);
    const links = await linksTo(nodes, ledger);
    // Commands look whether anybody listens at the mesh's port.
    const mesh = { ...provisional, port: links.get('op-1')?.[0]?.port ?? 0 };
    await replaceFile(layout.meshFile, `${JSON.stringify(mesh, null, 2)}\n`);
    await pointAt(layout, links);
    const natsVersion = await nodes.version();
    const started = new ClusterMesh({ folder, layout, mesh, nodes, natsVersion, links, ledger });
    try {
      for (const agent of agents) await started.#launch(agent, onProgress);
      await started.ready(readyMs);
      return started;
    } catch (error) {
      await started.stop();
      throw error;
    }
  }

  get ledger(): Ledger {
    return this.#ledger;
  }

  /** The proxies between one agent, or operator, and the servers. */
  linksOf(id: string): readonly Proxy[] {
    const links = this.#links.get(id);
    if (links === undefined) throw new Error(`nobody is called ${id}`);
    return links;
  }

  /** The proxies between everybody and one server. */
  linksTo(nodeId: string): Proxy[] {
    const index = this.nodes.nodes.findIndex(({ id }) => id === nodeId);
    return [...this.#links.values()].flatMap((proxies) => proxies[index] ?? []);
  }

  /** Null where the process does not run at present. */
  pidOf(id: string): number | null {
    const agent = this.#agents.get(id);
    if (agent === undefined) throw new Error(`no agent is called ${id}`);
    return agent.pid;
  }

  /** The child of the signer that holds the token; none with a file token. */
  tokenChildPid(): number | null {
    const signer = this.pidOf('signer');
    if (signer === null) return null;
    return familyOf(signer).find(({ pid }) => pid !== signer)?.pid ?? null;
  }

  restarts(): number {
    return [...this.#agents.values()].reduce((sum, agent) => sum + agent.report().restarts, 0);
  }

  /** The agents that are not ready. */
  unready(): string[] {
    return [...this.#agents.values()].flatMap((agent) => (agent.report().ready ? [] : [agent.id]));
  }

  /** Until every agent is ready. */
  async ready(timeoutMs: number): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    for (;;) {
      const missing = this.unready();
      if (missing.length === 0) return;
      if (performance.now() > deadlineMs) throw new Error(`not ready: ${missing.join(', ')}`);
      await pause(stepMs);
    }
  }

  /** An operator on the bus; the caller closes it. */
  session(operatorId: string, timeoutMs: number): Promise<OperatorSession> {
    const { layout, mesh } = this;
    return OperatorSession.open({ layout, mesh, operatorId, timeoutMs });
  }

  /** Ends the agents; the servers go on. */
  async stopAgents(): Promise<void> {
    const last = new Set(['signer', 'auditor']);
    const all = [...this.#agents.values()];
    for (const group of [all.filter(({ id }) => !last.has(id)), all]) {
      await Promise.all(group.map((agent) => agent.stop(graceMs)));
    }
  }

  /** Ends every process. The folder stays until `remove`. */
  async stop(): Promise<void> {
    await this.stopAgents();
    await this.nodes.stop();
    await Promise.all([...this.#links.values()].flat().map((proxy) => proxy.close()));
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }

  /** At once, for when this process itself is ended; an agent that is stopped would not notice. */
  killAgents(): void {
    for (const { pid } of this.#agents.values()) {
      if (pid !== null) signalProcess(pid, 'SIGKILL', true);
    }
  }

  async #launch(agent: Member, onProgress: (line: string) => void): Promise<void> {
    const launched = new SupervisedProcess(agentSpec(this.layout, agent), {
      onChange: () => undefined,
      onExit: ({ id }, fault, halted) =>
        onProgress(
          `${id} ended${fault === null ? '' : ` (${fault.code})`}${halted ? ' for good' : ''}`,
        ),
    });
    this.#agents.set(agent.id, launched);
    await launched.start();
  }
}

class MutableLedger implements Ledger {
  readonly acknowledged = new Map<string, Acknowledged & { readonly producer: string }>();
  sagaProgressMs = 0;
  readonly #subjects;

  constructor(mesh: string) {
    this.#subjects = subjectsOf(mesh);
  }

  note(message: Acknowledged, producer: string): void {
    const isNew = !this.acknowledged.has(message.messageId);
    if (isNew) this.acknowledged.set(message.messageId, { ...message, producer });
    if (isNew && this.#subjects.parse(message.subject)?.kind === 'saga-rotation') {
      this.sagaProgressMs = performance.now();
    }
  }
}

async function linksTo(nodes: Nodes, ledger: MutableLedger): Promise<Map<string, Proxy[]>> {
  const links = new Map<string, Proxy[]>();
  for (const { id } of [...operators, ...agents]) {
    const tap = () => new WireTap((message) => ledger.note(message, id));
    const proxies: Proxy[] = [];
    for (const { port } of nodes.nodes) proxies.push(await Proxy.listen({ targetPort: port, tap }));
    links.set(id, proxies);
  }
  return links;
}

/** Tells everybody where its proxies are. */
async function pointAt(
  layout: MeshLayout,
  links: ReadonlyMap<string, readonly Proxy[]>,
): Promise<void> {
  for (const member of [...operators, ...agents]) {
    const file = layout.configFile(member);
    const config: Record<string, unknown> = JSON.parse(await readFile(file, 'utf8'));
    const natsUrl = (links.get(member.id) ?? []).map(({ port }) => `127.0.0.1:${port}`);
    if (natsUrl.length !== nodeCount) throw new Error(`no way for ${member.id}`);
    await replaceFile(file, `${JSON.stringify({ ...config, natsUrl }, null, 2)}\n`);
  }
}
