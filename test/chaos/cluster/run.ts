/**
 * One run: a mesh on three servers, operators who rotate without pause, faults drawn from the seed one
 * round after the other, then peace, then the reckoning. Bounded in time whatever happens.
 */
import { memberFiles } from '#cli/mesh/layout.ts';
import { agents } from '#cli/mesh/members.ts';
import { drawsFrom } from '../../sim/seed.ts';
import type { Draws } from '../../sim/model.ts';
import { SmallDisk } from '../small-disk.ts';
import { ClusterMesh } from './cluster.ts';
import { Drive } from './drive.ts';
import { concernsServers, faultKinds, makeFault, type Fault, type FaultKind } from './faults.ts';
import { reckon, type Reckoning } from './invariants.ts';
import { loggedErrors } from './logged.ts';
import { pause, type Launch } from './nodes.ts';
import type { Recovery, Report } from './report.ts';

export interface RunOptions {
  readonly seed: number;
  /** Of the faults; starting, healing and checking come on top. */
  readonly faultsMs: number;
  /** Kinds to draw from; all unless told. */
  readonly kinds?: readonly FaultKind[];
  readonly token?: 'softhsm' | 'file';
  /** How the servers of the bus run; as processes unless told. */
  readonly launch?: Launch;
  readonly onProgress: (line: string) => void;
}

/** Agents whose state lies on a disk that can be filled. */
const onSmallDisks = ['encryption-a', 'auditor'];
const recoveryMsMax = 120_000;
const wholeMsMax = 60_000;
const betweenMsMax = 1_500;
const secondFault = 0.25;
const pollMs = 20;
const times = { soakMs: 200, overlapMs: 1_000 };

export async function runChaos(options: RunOptions): Promise<Report> {
  const disks = new Map<string, SmallDisk>();
  const draws = drawsFrom(options.seed);
  const startedMs = performance.now();
  const kinds = options.kinds ?? faultKinds;
  let mesh: ClusterMesh | undefined;
  // Nothing of a run that is broken off stays behind but its folder.
  const breakOff = (): void => {
    mesh?.killAgents();
    for (const disk of disks.values()) disk.unmount();
  };
  process.on('exit', breakOff);
  if (kinds.includes('full disk')) mountDisks(disks);
  try {
    mesh = await startMesh(options, disks);
    try {
      const run = new Run(mesh, draws, { ...options, kinds }, disks);
      await run.faults();
      const reckoning = await run.reckon();
      const logged = await loggedErrors(mesh.layout);
      const durationMs = performance.now() - startedMs;
      const { natsVersion, folder } = mesh;
      const { seed } = options;
      return { ...reckoning, ...run.figures(), logged, seed, durationMs, natsVersion, folder };
    } finally {
      await mesh.stop();
    }
  } finally {
    process.off('exit', breakOff);
    for (const disk of disks.values()) disk.unmount();
  }
}

class Run {
  readonly #mesh: ClusterMesh;
  readonly #draws: Draws;
  readonly #options: RunOptions & { readonly kinds: readonly FaultKind[] };
  readonly #disks: ReadonlyMap<string, SmallDisk>;
  readonly #drive: Drive;
  readonly #faults: Partial<Record<FaultKind, number>> = {};
  readonly #notTested = new Set<FaultKind>();
  readonly #recoveries: Recovery[] = [];
  readonly #violations: string[] = [];
  readonly #beganMs = performance.now();
  #bag: FaultKind[] = [];
  #rebuilt = 0;
  #restarts = 0;

  constructor(
    mesh: ClusterMesh,
    draws: Draws,
    options: RunOptions & { readonly kinds: readonly FaultKind[] },
    disks: ReadonlyMap<string, SmallDisk>,
  ) {
    this.#mesh = mesh;
    this.#draws = draws.fork('faults');
    this.#options = options;
    this.#disks = disks;
    const onProgress = (line: string): void => this.#say(line);
    this.#drive = new Drive({ mesh, draws, onProgress });
  }

  /** Rounds of faults for as long as was asked for, operators at work meanwhile. */
  async faults(): Promise<void> {
    let isOver = false;
    // Two at a time: now and then they want the same slots, and one is refused.
    const driven = this.#drive.run(['op-1', 'op-2'], () => isOver);
    const alsoDriven = this.#drive.run(['op-2', 'op-1'], () => isOver);
    const rounds = this.#rounds().finally(() => (isOver = true));
    for (const result of await Promise.allSettled([driven, alsoDriven, rounds])) {
      if (result.status === 'rejected')
        this.#violations.push(`the run failed: ${told(result.reason)}`);
    }
  }

  async reckon(): Promise<Reckoning> {
    this.#say('peace: everything is given time to come to its end');
    try {
      await this.#whole();
      await this.#mesh.ready(recoveryMsMax);
      this.#restarts = this.#mesh.restarts();
      const reckoning = await reckon(this.#mesh, this.#drive);
      return { ...reckoning, violations: [...this.#violations, ...reckoning.violations] };
    } catch (error) {
      const violations = [...this.#violations, `no reckoning: ${told(error)}`];
      return { violations, rotations: {}, events: 0, acknowledged: 0, lost: 0, doubled: 0 };
    }
  }

  figures() {
    return {
      faults: this.#faults,
      notTested: [...this.#notTested],
      recoveries: this.#recoveries,
      told: Object.fromEntries(this.#drive.told),
      restarts: this.#restarts,
      rebuilt: this.#rebuilt,
    };
  }

  async #rounds(): Promise<void> {
    const endMs = performance.now() + this.#options.faultsMs;
    await this.#recovered([], performance.now());
    this.#recoveries.length = 0;
    while (performance.now() < endMs && this.#violations.length === 0) {
      const faults = await this.#drawn();
      if (faults.length === 0) {
        await pause(pollMs);
        continue;
      }
      await Promise.all(faults.map((fault) => this.#inflict(fault)));
      await this.#recovered(
        faults.map(({ kind }) => kind),
        performance.now(),
      );
      await pause(this.#draws.between(0, betweenMsMax));
    }
  }

  /** One fault, sometimes two at once; never two that concern the servers. */
  async #drawn(): Promise<Fault[]> {
    const kinds = [this.#next()];
    if (this.#draws.chance(secondFault)) kinds.push(this.#next());
    if (kinds.every(concernsServers)) kinds.length = 1;
    if (kinds.some(concernsServers)) await this.#whole();
    const faults: Fault[] = [];
    for (const kind of kinds) {
      const context = { mesh: this.#mesh, drive: this.#drive, disks: this.#disks };
      const fault = await makeFault(kind, { ...context, draws: this.#draws });
      if (fault === null) this.#notTested.add(kind);
      else faults.push(fault);
    }
    return faults;
  }

  /** Every kind once, in a drawn order, before any comes again. */
  #next(): FaultKind {
    if (this.#bag.length === 0) this.#bag = this.#draws.shuffled(this.#options.kinds);
    const kind = this.#bag.pop();
    if (kind === undefined) throw new Error('there are no kinds of fault');
    return kind;
  }

  async #inflict({ kind, target, lastsMs, begin, end }: Fault): Promise<void> {
    this.#say(`${kind}: ${target}${lastsMs === 0 ? '' : ` for ${lastsMs} ms`}`);
    try {
      await begin();
      this.#faults[kind] = (this.#faults[kind] ?? 0) + 1;
      await pause(lastsMs);
    } finally {
      await end();
    }
  }

  /** Until every agent is ready and a rotation has gone on since. */
  async #recovered(faults: readonly FaultKind[], sinceMs: number): Promise<void> {
    for (;;) {
      const { sagaProgressMs } = this.#mesh.ledger;
      const missing = this.#mesh.unready();
      if (missing.length === 0 && sagaProgressMs > sinceMs) break;
      if (performance.now() - sinceMs > recoveryMsMax) {
        const lack =
          missing.length === 0 ? 'no rotation goes on' : `not ready: ${missing.join(', ')}`;
        this.#violations.push(`no recovery from ${faults.join(' + ')}: ${lack}`);
        return;
      }
      await pause(pollMs);
    }
    const ms = performance.now() - sinceMs;
    this.#recoveries.push({ faults, ms });
    this.#say(`recovered after ${Math.round(ms)} ms`);
  }

  /** A server that damage keeps from coming back gets an empty store, as its administrator would do. */
  async #whole(): Promise<void> {
    const lacking = await this.#mesh.nodes.whole(wholeMsMax).then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? error.message : 'the cluster is not whole'),
    );
    if (lacking === undefined) return;
    const ids = await this.#mesh.nodes.lagging();
    this.#say(`${lacking}; rebuilding ${ids.join(' ')}`);
    for (const id of ids.slice(0, 1)) {
      await this.#mesh.nodes.rebuild(id);
      this.#rebuilt += 1;
    }
    await this.#mesh.nodes.whole(wholeMsMax);
  }

  #say(line: string): void {
    const atMs = performance.now() - this.#beganMs;
    this.#options.onProgress(`${(atMs / 1_000).toFixed(1).padStart(7)} s  ${line}`);
  }
}

/** A run that ends otherwise than it should is a finding, with the mesh kept to look at. */
function told(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : JSON.stringify(error);
}

/** Room for the auditor's log of an hour: it is filled on purpose, not by itself. */
const diskMebibytes = 256;

function mountDisks(disks: Map<string, SmallDisk>): void {
  for (const id of onSmallDisks) {
    const disk = SmallDisk.mount(diskMebibytes);
    if (disk === null) return;
    disks.set(id, disk);
  }
}

async function startMesh(
  { token, launch, onProgress }: RunOptions,
  disks: ReadonlyMap<string, SmallDisk>,
): Promise<ClusterMesh> {
  return ClusterMesh.start({
    times,
    onProgress,
    ...(token === undefined ? {} : { token }),
    ...(launch === undefined ? {} : { launch }),
    prepare: async (layout) => {
      for (const member of agents) {
        const disk = disks.get(member.id);
        await disk?.carry(`${layout.memberDirectory(member)}/${memberFiles.state}`);
      }
    },
  });
}
