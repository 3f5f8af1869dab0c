/**
 * Rotations, one after the other, as operators run them: a plan, an approval, the execution. Whatever an
 * operator asks for may fail while processes are killed, and is asked for again; how a rotation ends is
 * read from the log.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CliFault } from '#cli/fault.ts';
import type { RotationSummary } from '#cli/answers.ts';
import { OperatorSession } from '#cli/operator-session.ts';
import {
  approveRotation,
  executeRotation,
  listRotations,
  planRotation,
  showRotation,
} from '#cli/rotation/actions.ts';
import { waitsFor } from '#cli/rotation/holding.ts';
import { span } from '#cli/style.ts';
import type { LayerNumber } from '#schemas/layers.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import type { TestMesh } from '../support/mesh.ts';
import { emergencyIn, isAtRest } from './verdicts.ts';

export interface Turned {
  readonly planId: string;
  readonly phase: RotationPhase;
}

/** For one question; a process that was just killed does not answer. */
const askMs = 20_000;
/** Of a session of an operator, for as many questions as fit. */
const sessionMs = 60_000;
const againMs = 500;
const lookMs = 3_000;
/** For one rotation, from the plan to the decision. */
const rotationMs = 180_000;
const decided: ReadonlySet<RotationPhase> = new Set([
  'refused',
  'committed',
  'retiring',
  'retired',
  'rolled_back',
  'locked_out',
]);

export class Campaign {
  readonly #mesh: TestMesh;
  readonly #sessions = new Map<string, OperatorSession>();
  /** What operators were told instead of an answer, by code. */
  readonly #faults = new Map<string, number>();

  constructor(mesh: TestMesh) {
    this.#mesh = mesh;
  }

  get faults(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#faults);
  }

  /** Turns these layers; how that was decided. */
  async rotate(layers: readonly LayerNumber[]): Promise<Turned> {
    const deadlineMs = performance.now() + rotationMs;
    const request = { layers, rotationType: 'scheduled', reason: 'the load turns them' } as const;
    const { planId } = await this.#insist('op-1', deadlineMs, (op) => planRotation(op, request));
    await this.#insist('op-2', deadlineMs, async (op) => {
      const { state } = await showRotation(op, planId);
      const isApproved = state.approvals.some(({ operatorId }) => operatorId === 'op-2');
      if (!isApproved) await approveRotation(op, planId);
    });
    const phase = await this.#insist('op-1', deadlineMs, async (op) => {
      const before = await showRotation(op, planId);
      if (before.phase === 'approved') await executeRotation(op, planId, () => undefined);
      const { phase: now, state } = await showRotation(op, planId);
      if (!decided.has(now)) throw new Undecided(`${planId} is ${now}`);
      return state.decision === 'commit' ? 'committed' : now;
    });
    return { planId, phase };
  }

  /**
   * Waits until an emergency rotation that nobody asked for is decided; undefined where none begins in
   * time. Undecided it is told as it is.
   */
  async emergency(
    wanted: { readonly layer: LayerNumber; readonly sinceMs: number },
    withinMs: number,
  ): Promise<RotationSummary | undefined> {
    const deadlineMs = performance.now() + withinMs;
    for (;;) {
      const all = await this.#insist('op-1', deadlineMs + askMs, listRotations);
      const found = emergencyIn(all, wanted);
      if (found !== undefined && decided.has(found.phase)) return found;
      if (performance.now() > deadlineMs) return found;
      await sleep(againMs);
    }
  }

  /** All rotations, once none of them goes on by itself, or the time is over. */
  async rest(withinMs: number): Promise<readonly RotationSummary[]> {
    const deadlineMs = performance.now() + withinMs;
    for (;;) {
      const all = await this.#insist('op-1', deadlineMs + askMs, listRotations);
      if (all.every(isAtRest) || performance.now() > deadlineMs) return all;
      await sleep(lookMs);
    }
  }

  /** What each that goes on yet waits for: which key, who uses it and how much, as was said last. */
  async held(all: readonly RotationSummary[], withinMs: number): Promise<string[]> {
    const deadlineMs = performance.now() + withinMs;
    const lines: string[] = [];
    for (const { planId } of all.filter((rotation) => !isAtRest(rotation))) {
      const details = await this.#insist('op-1', deadlineMs, (op) => showRotation(op, planId));
      lines.push(`${waitsFor(details)}; its last entry is ${span(Date.now() - details.atMs)} old`);
    }
    return lines;
  }

  async #insist<Result>(
    operatorId: string,
    deadlineMs: number,
    work: (session: OperatorSession) => Promise<Result>,
  ): Promise<Result> {
    for (;;) {
      try {
        return await this.#as(operatorId, work);
      } catch (error) {
        if (!(error instanceof CliFault || error instanceof Undecided)) throw error;
        const { code } = error;
        this.#faults.set(code, (this.#faults.get(code) ?? 0) + 1);
        if (performance.now() > deadlineMs) throw error;
      }
      await sleep(againMs);
    }
  }

  async end(): Promise<void> {
    for (const operatorId of this.#sessions.keys()) await this.#close(operatorId);
  }

  /** In a session that is there already, as long as it has time enough; opening one costs a second. */
  async #as<Result>(
    operatorId: string,
    work: (session: OperatorSession) => Promise<Result>,
  ): Promise<Result> {
    try {
      return await work(await this.#session(operatorId));
    } catch (error) {
      await this.#close(operatorId);
      throw error;
    }
  }

  async #session(operatorId: string): Promise<OperatorSession> {
    const known = this.#sessions.get(operatorId);
    if (known !== undefined && known.deadlineMs - performance.now() > askMs) return known;
    await this.#close(operatorId);
    const { layout, mesh } = this.#mesh;
    const options = { layout, mesh, operatorId, timeoutMs: sessionMs };
    const opened = await OperatorSession.open(options);
    this.#sessions.set(operatorId, opened);
    return opened;
  }

  async #close(operatorId: string): Promise<void> {
    const session = this.#sessions.get(operatorId);
    this.#sessions.delete(operatorId);
    await session?.close();
  }
}

class Undecided extends Error {
  readonly code = 'UNDECIDED';
}
