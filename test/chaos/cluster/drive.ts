/**
 * Operators at work while everything fails around them: one rotation after the other, of all layers
 * and of some, some of them turned back on purpose, through the same sessions as the command line.
 * What an operator is told is counted; what became of a rotation is asked at the end.
 */
import { layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import { BusError } from '#shared/bus/bus.ts';
import { checks, type RotationDetails, type RotationSummary } from '#cli/answers.ts';
import { CliFault } from '#cli/fault.ts';
import type { OperatorSession } from '#cli/operator-session.ts';
import {
  approveRecovery,
  approveRotation,
  executeRotation,
  planRotation,
  requestRecovery,
  rollbackRotation,
} from '#cli/rotation/actions.ts';
import type { Draws } from '../../sim/model.ts';
import type { ClusterMesh } from './cluster.ts';
import { pause } from './nodes.ts';

export interface DriveOptions {
  readonly mesh: ClusterMesh;
  readonly draws: Draws;
  readonly onProgress: (line: string) => void;
}

type Pair = readonly [asks: string, approves: string];

/** Phases that an operator has to do something about before anything more happens. */
const waiting: ReadonlySet<RotationPhase> = new Set<RotationPhase>(['validated', 'approved']);
const ended: ReadonlySet<RotationPhase> = new Set<RotationPhase>([
  'refused',
  'retired',
  'rolled_back',
  'locked_out',
]);
const sessionMs = 15_000;
const executionMs = 60_000;
const settlingMs = 120_000;
const betweenMs = 150;
const turnedBack = 0.25;
const wholeStack = 0.4;

export class Drive {
  readonly #mesh: ClusterMesh;
  readonly #draws: Draws;
  readonly #onProgress: (line: string) => void;
  /** What operators were told, by code; `done` where all went well. */
  readonly told = new Map<string, number>();

  constructor({ mesh, draws, onProgress }: DriveOptions) {
    this.#mesh = mesh;
    this.#draws = draws.fork('drive');
    this.#onProgress = onProgress;
  }

  /** Rotation after rotation until `isOver`; one operator asks, the other approves. */
  async run(operators: Pair, isOver: () => boolean): Promise<void> {
    const draws = this.#draws.fork(operators[0]);
    while (!isOver()) {
      await this.#told(() => this.#rotate(operators, draws));
      await this.#told(() => this.#recoverAll());
      await pause(betweenMs);
    }
  }

  /** Until nothing more happens by itself; locked-out rotations are recovered meanwhile. */
  async settle(): Promise<readonly RotationSummary[]> {
    const deadlineMs = performance.now() + settlingMs;
    let open: readonly string[] = ['nobody answers'];
    for (;;) {
      const rotations = await this.#told(() => this.rotations());
      if (rotations !== undefined) {
        open = rotations
          .filter(
            ({ phase }) => phase === 'locked_out' || !(ended.has(phase) || waiting.has(phase)),
          )
          .map(({ planId, phase }) => `${planId} is ${phase}`);
        if (open.length === 0) return rotations;
        await this.#told(() => this.#recoverAll());
      }
      if (performance.now() > deadlineMs) throw new Error(`not at rest: ${open.join(', ')}`);
      await pause(2 * betweenMs);
    }
  }

  rotations(): Promise<readonly RotationSummary[]> {
    return this.as('op-1', (op) =>
      op.askOrchestrator({ ask: 'rotation-list' }, checks.rotationList),
    );
  }

  /** A plan that nobody will execute; what bursts are made of. */
  async draft(op: OperatorSession, layers: readonly LayerNumber[]): Promise<string> {
    const reason = 'one of many';
    const { planId } = await planRotation(op, { layers, rotationType: 'scheduled', reason });
    return planId;
  }

  /** Again and again, for two minutes at the most, whatever operators are told meanwhile. */
  async persistently<Result>(work: () => Promise<Result>): Promise<Result> {
    const deadlineMs = performance.now() + settlingMs;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        this.expected(error);
        if (performance.now() > deadlineMs) throw error;
      }
      await pause(betweenMs);
    }
  }

  /** Does something as an operator, in a session of its own. */
  async as<Result>(
    operatorId: string,
    work: (session: OperatorSession) => Promise<Result>,
    timeoutMs = sessionMs,
  ): Promise<Result> {
    const session = await this.#mesh.session(operatorId, timeoutMs);
    try {
      return await work(session);
    } finally {
      await session.close();
    }
  }

  async #rotate([asks, approves]: Pair, draws: Draws): Promise<void> {
    const layers = draws.chance(wholeStack)
      ? [...layerNumbers]
      : draws
          .shuffled(layerNumbers)
          .slice(0, draws.between(1, 3))
          .toSorted((a, b) => a - b);
    const turnsBack = draws.chance(turnedBack);
    const afterMs = draws.between(50, 900);
    const { planId } = await this.as(asks, (op) =>
      planRotation(op, { layers, rotationType: 'scheduled', reason: 'chaos' }),
    );
    await this.as(approves, (op) => approveRotation(op, planId));
    const execution = this.as(
      asks,
      (op) => executeRotation(op, planId, () => undefined),
      executionMs,
    );
    const rollback = turnsBack ? this.#turnBack(approves, planId, afterMs) : Promise.resolve();
    const [executed] = await Promise.allSettled([execution, rollback]);
    if (executed.status === 'rejected') throw executed.reason;
    this.#onProgress(`rotation of ${layers.join(',')}: ${describe(executed.value)}`);
  }

  /** The other operator thinks better of it; often too late, and then is told so. */
  async #turnBack(operatorId: string, planId: string, afterMs: number): Promise<void> {
    await pause(afterMs);
    await this.#told(() =>
      this.as(operatorId, (op) =>
        rollbackRotation(op, planId, { reason: 'chaos', watcher: () => undefined }),
      ),
    );
  }

  async #recoverAll(): Promise<void> {
    const rotations = await this.rotations();
    for (const { planId, phase } of rotations) {
      if (phase !== 'locked_out') continue;
      this.#onProgress(`${planId} is locked out: recovering it`);
      await this.as('op-1', (op) => requestRecovery(op, planId));
      await this.as('op-2', (op) => approveRecovery(op, planId));
    }
  }

  /** What goes wrong for an operator is counted, not fatal; what is no fault of theirs is thrown. */
  async #told<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
    try {
      const result = await work();
      this.#count('done');
      return result;
    } catch (error) {
      this.expected(error);
      return undefined;
    }
  }

  /** Counts what an operator may be told while something fails; throws everything else. */
  readonly expected = (error: unknown): void => {
    if (!(error instanceof CliFault) && !(error instanceof BusError)) throw error;
    this.#count(error.code);
  };

  #count(code: string): void {
    this.told.set(code, (this.told.get(code) ?? 0) + 1);
  }
}

function describe({ phase, failure }: RotationDetails): string {
  return failure === undefined ? phase : `${phase} (${failure.code})`;
}
