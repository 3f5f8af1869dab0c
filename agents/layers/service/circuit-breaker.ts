/**
 * A circuit breaker around a dependency: who cannot be reached is not asked again and again, so that a
 * service whose peer is down answers at once instead of keeping its callers waiting. What a peer
 * refuses is an answer; only what `isFault` takes for one counts against it.
 */

import {
  admitCall,
  circuitRules,
  closedCircuit,
  noteCall,
  withdrawCall,
  type Circuit,
  type CircuitRules,
} from '#shared/core/circuit.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import {
  lossOf,
  ServiceClient,
  ServiceError,
  type ServiceAnswer,
  type Loss,
  type ServiceClientOptions,
  type ServiceRequest,
} from './service-client.ts';

/** How a call's errors are judged, and what is thrown in place of one that does not go out. */
export interface CallJudge {
  readonly isFault: (error: unknown) => boolean;
  /** Errors of the caller's own, before an answer or a fault: they say nothing of the dependency. */
  readonly isUnasked?: (error: unknown) => boolean;
  /** Whether the call may be tried again; it may not unless told. */
  readonly lossOf?: (error: unknown) => Loss | undefined;
  readonly otherwise: () => Error;
}

export interface BreakerPorts {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly rules?: CircuitRules;
  /** How long one that went away counts as being started anew; 15,000 unless told. */
  readonly restartMsMax?: number;
}

export class CircuitBreaker {
  readonly #ports: BreakerPorts;
  #circuit: Circuit = closedCircuit;
  #refused = 0;
  /** Since when nobody is there; undefined where somebody is. */
  #awaySinceMs: number | undefined;

  constructor(ports: BreakerPorts) {
    this.#ports = ports;
  }

  get standing(): Circuit['standing'] {
    return this.#circuit.standing;
  }

  /** Calls that were not let through since the start. */
  get refused(): number {
    return this.#refused;
  }

  /**
   * Runs `call` where the circuit lets it; `otherwise` makes the error of one that does not go out.
   * @throws what `call` throws
   */
  async run<Result>(call: () => Promise<Result>, about: CallJudge): Promise<Result> {
    const admitted = this.#admit();
    if (admitted !== undefined) return await this.#go(call, about, admitted);
    this.#refused += 1;
    throw about.otherwise();
  }

  /**
   * As `run`, but patiently, because whoever ends is started anew. A dependency that is away is waited for,
   * for some seconds after it went; once it has been away for longer, and while the circuit is open for
   * another reason, for less than a second. A connection that was lost is tried once more.
   */
  async runPatiently<Result>(
    call: () => Promise<Result>,
    about: CallJudge & { readonly signal?: AbortSignal; readonly onRepeat?: () => void },
  ): Promise<Result> {
    const beganMs = performance.now();
    const isOver = (): boolean =>
      about.signal?.aborted === true ||
      performance.now() + waitPauseMs > this.#waitUntilMs(beganMs);
    let wasLost = false;
    for (;;) {
      const admitted = this.#admit();
      if (admitted !== undefined) {
        try {
          return await this.#go(call, about, admitted);
        } catch (error) {
          if (about.isUnasked?.(error) === true) throw error;
          const loss = this.#noteLoss(about.lossOf?.(error));
          const isAgain = loss === 'away' ? !isOver() : loss === 'broken' && !wasLost;
          if (!isAgain) throw error;
          if (loss === 'broken') about.onRepeat?.();
          wasLost ||= loss === 'broken';
        }
      } else if (isOver()) {
        this.#refused += 1;
        throw about.otherwise();
      }
      await new Promise((resolve) => setTimeout(resolve, waitPauseMs));
    }
  }

  #waitUntilMs(beganMs: number): number {
    const { restartMsMax = restartMsMaxDefault } = this.#ports;
    return Math.max(beganMs + waitMsMax, (this.#awaySinceMs ?? -Infinity) + restartMsMax);
  }

  #noteLoss(loss: Loss | undefined): Loss | undefined {
    this.#awaySinceMs = loss === 'away' ? (this.#awaySinceMs ?? performance.now()) : undefined;
    return loss;
  }

  /** What stands once the call goes out: where it goes as a trial, a state of its own. */
  #admit(): Circuit | undefined {
    const { clock, rules = circuitRules } = this.#ports;
    const { circuit, admitted } = admitCall(this.#circuit, clock.monotonicMs(), rules);
    this.#circuit = circuit;
    return admitted ? circuit : undefined;
  }

  async #go<Result>(
    call: () => Promise<Result>,
    about: CallJudge,
    admitted: Circuit,
  ): Promise<Result> {
    const { clock, rules = circuitRules } = this.#ports;
    const note = (outcome: 'done' | 'failed'): void => {
      this.#circuit = noteCall(this.#circuit, outcome, clock.monotonicMs(), rules);
    };
    try {
      const result = await call();
      note('done');
      this.#awaySinceMs = undefined;
      return result;
    } catch (error) {
      if (about.isUnasked?.(error) !== true) note(about.isFault(error) ? 'failed' : 'done');
      // A trial that told nothing; of others the trial that is under way is not theirs to end.
      else if (this.#circuit === admitted) {
        this.#circuit = withdrawCall(admitted, clock.monotonicMs());
      }
      throw error;
    }
  }
}

/**
 * Of peers: soon tried again, because a service that was started anew is back within a second. Whoever
 * waits sees another try begin and end: it is open for shorter than a call waits for it.
 */
export const peerRules: CircuitRules = { failuresMax: 5, openMs: 200, openMsMax: 400 };
const waitPauseMs = 100;
const waitMsMax = 800;
/** A service is back within a second or two; on a machine that starts everything anew, later. */
const restartMsMaxDefault = 15_000;

/** The client of a peer, behind a breaker. */
export class GuardedClient extends ServiceClient {
  readonly #breaker: CircuitBreaker;

  constructor(options: ServiceClientOptions, ports: BreakerPorts) {
    super(options);
    this.#breaker = new CircuitBreaker({ rules: peerRules, ...ports });
  }

  /** @throws ServiceError; UNREACHABLE once the peer was away for longer than it takes to start it */
  override async ask(asked: ServiceRequest): Promise<ServiceAnswer> {
    return await this.#breaker.runPatiently(() => this.askOnce(asked), {
      isFault: (error) => error instanceof ServiceError,
      lossOf,
      otherwise: () => new ServiceError('UNREACHABLE', 'the service was not reached lately'),
    });
  }

  get breaker(): Pick<CircuitBreaker, 'standing' | 'refused'> {
    return this.#breaker;
  }
}

const numbers = { closed: 0, 'half-open': 1, open: 2 } as const;

/** For `measure()`: of each dependency 0 closed, 1 half open, 2 open; and all calls that were held up. */
export function breakerMetrics(
  breakers: Iterable<readonly [name: string, Pick<CircuitBreaker, 'standing' | 'refused'>]>,
): Record<string, number> {
  let refused = 0;
  const metrics: Record<string, number> = {};
  for (const [name, breaker] of breakers) {
    metrics[`circuit-${name}`] = numbers[breaker.standing];
    refused += breaker.refused;
  }
  return { ...metrics, 'circuit-refused': refused };
}
