/**
 * One life at work on its disk: whether it may, where it may die, and how long the disk takes. Once it is
 * dead, synchronous calls throw and asynchronous ones never end.
 */

import type { SecretName } from '#shared/runtime/disk.ts';
import {
  SimulatedCrash,
  type CrashPoints,
  type Draws,
  type Life,
  type WorldTime,
} from './model.ts';

/** Those of which rows changed; `lost` where commits are gone. */
export type Tables = ReadonlySet<string> | 'lost';

/** What is on the disk from now on, or is not any more. */
export type DurableWrite =
  /** A commit, or the loss of commits that nobody had waited for. */
  | { readonly kind: 'database'; readonly name: string; readonly tables: Tables }
  | { readonly kind: 'file'; readonly name: string }
  /** Bytes from here on are others; what was not synced is not told of. */
  | { readonly kind: 'log'; readonly name: string; readonly from: number }
  | { readonly kind: 'secret'; readonly name: string; readonly secret: SecretName };

export interface AccessPorts {
  readonly life: Life;
  readonly points: CrashPoints;
  readonly time: Pick<WorldTime, 'monotonicMs' | 'after'>;
  readonly draws: Draws;
  readonly isFull: () => boolean;
  readonly counted: (what: string) => void;
  readonly onDurable: (write: DurableWrite) => void;
}

/** A barrier of a fast disk, and of one that is busy. */
const delayMsMin = 0.05;
const delayMsMax = 3;

export class Access {
  readonly #ports: AccessPorts;
  #idleAtMs = 0;

  constructor(ports: AccessPorts) {
    this.#ports = ports;
  }

  get isFull(): boolean {
    return this.#ports.isFull();
  }

  /** @throws SimulatedCrash */
  assertAlive(): void {
    const { life } = this.#ports;
    if (!life.isAlive) throw new SimulatedCrash(`${life.agentId} is dead`);
  }

  /** @throws ENOSPC, as the system says it */
  assertRoom(): void {
    if (!this.isFull) return;
    const fault = { code: 'ENOSPC', errno: -28, syscall: 'write' };
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), fault);
  }

  /** @throws SimulatedCrash where the life ends here */
  pass(what: string, when: 'before' | 'after'): void {
    const { life, points, counted } = this.#ports;
    if (when === 'before') counted(what);
    points.pass(life, { kind: 'write', what, when });
    this.assertAlive();
  }

  written(write: DurableWrite): void {
    this.#ports.onDurable(write);
  }

  chance(probability: number): boolean {
    return this.#ports.draws.chance(probability);
  }

  /** A durable write: the life may end before it and after it. */
  write<Result>(what: string, work: () => Result): Result {
    this.pass(what, 'before');
    const result = work();
    this.pass(what, 'after');
    return result;
  }

  /** Without a wait. */
  soon<Result>(work: () => Result): Promise<Result> {
    return new Promise((resolve, reject) => this.#settle(work, { resolve, reject }));
  }

  /** When the disk comes to it: one thing after the other. */
  later<Result>(work: () => Result): Promise<Result> {
    const { life, time, draws } = this.#ports;
    const nowMs = time.monotonicMs();
    const takesMs = delayMsMin + draws.fraction() ** 4 * (delayMsMax - delayMsMin);
    this.#idleAtMs = Math.max(this.#idleAtMs, nowMs) + takesMs;
    return new Promise((resolve, reject) => {
      const due = (): void => life.whenRunning(() => this.#settle(work, { resolve, reject }));
      time.after(this.#idleAtMs - nowMs, due);
    });
  }

  #settle<Result>(
    work: () => Result,
    outcome: {
      readonly resolve: (result: Result) => void;
      readonly reject: (error: unknown) => void;
    },
  ): void {
    if (!this.#ports.life.isAlive) return;
    try {
      outcome.resolve(work());
    } catch (error) {
      // The one who waits is dead.
      if (!(error instanceof SimulatedCrash)) outcome.reject(error);
    }
  }
}
