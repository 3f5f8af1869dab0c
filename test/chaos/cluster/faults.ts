/**
 * What is done to a mesh: each fault begins, lasts for a drawn time and ends, after which the mesh is
 * expected to go on by itself. Processes are killed and stopped by their pid, networks parted by the
 * proxies, stores damaged while their server is down. Kinds and targets come from one seed.
 */
import { agents } from '#cli/mesh/members.ts';
import type { Draws } from '../../sim/model.ts';
import type { SmallDisk } from '../small-disk.ts';
import type { ClusterMesh } from './cluster.ts';
import type { Drive } from './drive.ts';
import { burst, flood } from './floods.ts';
import { pause, type Node } from './nodes.ts';
import type { Direction, Proxy } from './proxy.ts';
import { bitFlipped, emptied, truncated } from './stores.ts';

/** What is done, to whom, and how it is undone. */
export interface Harm {
  readonly target: string;
  readonly lastsMs: number;
  begin(): Promise<void>;
  end(): Promise<void>;
}

export interface Fault extends Harm {
  readonly kind: FaultKind;
}

export interface FaultContext {
  readonly mesh: ClusterMesh;
  readonly drive: Drive;
  readonly draws: Draws;
  /** Of agents, by id; empty where none can be mounted. */
  readonly disks: ReadonlyMap<string, SmallDisk>;
}

type Maker = (context: FaultContext) => Promise<Harm | null>;

const layerAgents = agents.filter(({ kind }) => kind === 'layer').map(({ id }) => id);
const orchestrators = ['orchestrator-a', 'orchestrator-b'];

const makers = {
  'kill orchestrator': killAgent(orchestrators),
  'kill signer': killAgent(['signer']),
  'kill auditor': killAgent(['auditor']),
  'kill layer agent': killAgent(layerAgents),
  'kill both orchestrators': killAll(orchestrators),
  'kill token child': tokenChild('SIGKILL'),
  'stop token child': tokenChild('SIGSTOP'),
  'stop orchestrator': stopAgent(orchestrators),
  'stop signer': stopAgent(['signer']),
  'stop auditor': stopAgent(['auditor']),
  'stop layer agent': stopAgent(layerAgents),
  'kill server': killServers(1),
  'kill leading server': killLeader,
  'kill all servers': killServers(3),
  'stop server': stopServers(1),
  'stop leading server': stopLeader,
  'stop two servers': stopServers(2),
  'part agent': partAgent(['to-server', 'to-client']),
  'part agent, from it only': partAgent(['to-server']),
  'part agent, to it only': partAgent(['to-client']),
  'slow agent': slowAgent,
  'reset agent': resetAgent,
  'part server': partServer,
  'slow cluster': slowCluster,
  'truncate store': damageStore(truncated),
  'flip bits in store': damageStore(bitFlipped),
  'empty store': damageStore(emptied),
  'full disk': fullDisk,
  'burst of requests': burst,
  'garbage from a thief': flood,
} as const satisfies Record<string, Maker>;

export type FaultKind = keyof typeof makers;
export const faultKinds: readonly FaultKind[] = Object.keys(makers).filter(isKind);

/** Faults that take a server or its store: the next one waits until the cluster is whole again. */
export function concernsServers(kind: FaultKind): boolean {
  return /server|store|cluster/.test(kind);
}

/** Null where this machine has no means for it. */
export async function makeFault(kind: FaultKind, context: FaultContext): Promise<Fault | null> {
  const made = await makers[kind](context);
  return made === null ? null : { kind, ...made };
}

function isKind(name: string): name is FaultKind {
  return Object.hasOwn(makers, name);
}

function killAgent(ids: readonly string[]): Maker {
  return async ({ mesh, draws }) => {
    const target = draws.pick(ids);
    return { target, lastsMs: 0, begin: () => killed(mesh, [target]), end: nothing };
  };
}

function killAll(ids: readonly string[]): Maker {
  return async ({ mesh }) => {
    return { target: ids.join(' '), lastsMs: 0, begin: () => killed(mesh, ids), end: nothing };
  };
}

/** A token daemon that dies, or that hangs until after its caller has given it up. */
function tokenChild(how: 'SIGKILL' | 'SIGSTOP'): Maker {
  return async ({ mesh, draws }) => {
    const pid = mesh.tokenChildPid();
    if (pid === null) return null;
    const lastsMs = how === 'SIGKILL' ? 0 : draws.between(1_000, 8_000);
    const begin = async (): Promise<void> => signal(pid, how);
    const end = async (): Promise<void> => signal(pid, 'SIGCONT');
    return { target: 'token', lastsMs, begin, end };
  };
}

function stopAgent(ids: readonly string[]): Maker {
  return async ({ mesh, draws }) => {
    const target = draws.pick(ids);
    const pid = mesh.pidOf(target);
    return { target, lastsMs: draws.between(500, 14_000), ...suspension([pid]) };
  };
}

function killServers(count: number): Maker {
  return async ({ mesh, draws }) => {
    const nodes = draws.shuffled(mesh.nodes.nodes).slice(0, count);
    return { ...killing(nodes), lastsMs: draws.between(0, 5_000) };
  };
}

async function killLeader({ mesh, draws }: FaultContext): Promise<Harm> {
  const leader = await leaderOf(mesh, draws);
  return { ...killing([leader]), lastsMs: draws.between(0, 5_000) };
}

function stopServers(count: number): Maker {
  return async ({ mesh, draws }) => {
    const nodes = draws.shuffled(mesh.nodes.nodes).slice(0, count);
    return { ...suspending(nodes), lastsMs: draws.between(500, 6_000) };
  };
}

async function stopLeader({ mesh, draws }: FaultContext): Promise<Harm> {
  const leader = await leaderOf(mesh, draws);
  return { ...suspending([leader]), lastsMs: draws.between(500, 6_000) };
}

function partAgent(directions: readonly Direction[]): Maker {
  return async ({ mesh, draws }) => {
    const target = draws.pick(agents).id;
    const isReset = draws.chance(0.5);
    const links = mesh.linksOf(target);
    const lastsMs = draws.between(500, 14_000);
    return { target, lastsMs, ...parting(links, directions, isReset) };
  };
}

async function slowAgent({ mesh, draws }: FaultContext): Promise<Harm> {
  const target = draws.pick(agents).id;
  const links = mesh.linksOf(target);
  const delayMs = draws.between(20, 400);
  return { target, lastsMs: draws.between(2_000, 8_000), ...slowing(links, delayMs) };
}

async function resetAgent({ mesh, draws }: FaultContext): Promise<Harm> {
  const target = draws.pick(agents).id;
  const begin = async (): Promise<void> => {
    for (const link of mesh.linksOf(target)) link.reset();
  };
  return { target, lastsMs: 0, begin, end: nothing };
}

/** A server that nobody reaches any more: neither the other servers nor the agents. */
async function partServer({ mesh, draws }: FaultContext): Promise<Harm> {
  const { id: target } = draws.chance(0.5)
    ? await leaderOf(mesh, draws)
    : draws.pick(mesh.nodes.nodes);
  const links = [...mesh.nodes.routesOf(target), ...mesh.linksTo(target)];
  const isReset = draws.chance(0.5);
  const lastsMs = draws.between(1_000, 10_000);
  return { target, lastsMs, ...parting(links, ['to-server', 'to-client'], isReset) };
}

async function slowCluster({ mesh, draws }: FaultContext): Promise<Harm> {
  const delayMs = draws.between(5, 80);
  const lastsMs = draws.between(2_000, 8_000);
  return { target: 'all routes', lastsMs, ...slowing(mesh.nodes.routes, delayMs) };
}

/** Of one server only, while it is down: the other two hold everything. */
function damageStore(damage: (node: Node, draws: Draws) => Promise<string>): Maker {
  return async ({ mesh, draws }) => {
    const node = draws.pick(mesh.nodes.nodes);
    const begin = async (): Promise<void> => {
      await node.down({ graceMs: draws.chance(0.5) ? 2_000 : 0 });
      await damage(node, draws);
    };
    const end = (): Promise<void> => node.up();
    return { target: node.id, lastsMs: draws.between(0, 3_000), begin, end };
  };
}

async function fullDisk({ draws, disks }: FaultContext): Promise<Harm | null> {
  if (disks.size === 0) return null;
  const [target, disk] = draws.pick([...disks]);
  const begin = async (): Promise<void> => disk.fill();
  const end = async (): Promise<void> => disk.free();
  return { target, lastsMs: draws.between(1_000, 6_000), begin, end };
}

/** Who leads the control stream; anyone where nobody does. */
async function leaderOf(mesh: ClusterMesh, draws: Draws): Promise<Node> {
  return (await mesh.nodes.leader()) ?? draws.pick(mesh.nodes.nodes);
}

function killing(nodes: readonly Node[]): Pick<Harm, 'target' | 'begin' | 'end'> {
  return {
    target: nodes.map(({ id }) => id).join(' '),
    begin: async () => void (await Promise.all(nodes.map((node) => node.down()))),
    end: async () => void (await Promise.all(nodes.map((node) => node.up()))),
  };
}

function suspending(nodes: readonly Node[]): Pick<Harm, 'target' | 'begin' | 'end'> {
  return {
    target: nodes.map(({ id }) => id).join(' '),
    ...suspension(nodes.map(({ pid }) => pid)),
  };
}

function suspension(pids: readonly (number | null)[]): Pick<Harm, 'begin' | 'end'> {
  const all = async (name: 'SIGSTOP' | 'SIGCONT'): Promise<void> => {
    for (const pid of pids) signal(pid, name);
  };
  return { begin: () => all('SIGSTOP'), end: () => all('SIGCONT') };
}

function parting(
  links: readonly Proxy[],
  directions: readonly Direction[],
  isReset: boolean,
): Pick<Harm, 'begin' | 'end'> {
  return {
    begin: async () => {
      for (const link of links) link.hold(...directions);
    },
    end: async () => {
      for (const link of links) {
        if (isReset) link.reset();
        link.release();
      }
    },
  };
}

function slowing(links: readonly Proxy[], delayMs: number): Pick<Harm, 'begin' | 'end'> {
  return {
    begin: async () => {
      for (const link of links) link.delay(delayMs);
    },
    end: async () => {
      for (const link of links) link.release();
    },
  };
}

/** Resolves when their ends have been noticed, so that nobody takes them for ready still. */
async function killed(mesh: ClusterMesh, ids: readonly string[]): Promise<void> {
  const pids = ids.map((id) => mesh.pidOf(id));
  for (const pid of pids) signal(pid, 'SIGKILL');
  while (ids.some((id, at) => pids[at] !== null && mesh.pidOf(id) === pids[at])) await pause(1);
}

/** One that is gone already needs no signal. */
function signal(pid: number | null, name: NodeJS.Signals): void {
  if (pid === null) return;
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

async function nothing(): Promise<void> {}
