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
  type Circuit,
  type CircuitRules,
} from '#shared/core/circuit.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import {
  ServiceClient,
  ServiceError,
  type ServiceAnswer,
  type ServiceClientOptions,
  type ServiceRequest,
} from './service-client.ts';

export interface BreakerPorts {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly rules?: CircuitRules;
}

export class CircuitBreaker {
  readonly #ports: BreakerPorts;
  #circuit: Circuit = closedCircuit;
  #refused = 0;

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
  async run<Result>(
    call: () => Promise<Result>,
    about: {
      readonly isFault: (error: unknown) => boolean;
      readonly otherwise: () => Error;
    },
  ): Promise<Result> {
    const { clock, rules = circuitRules } = this.#ports;
    const { circuit, admitted } = admitCall(this.#circuit, clock.monotonicMs(), rules);
    this.#circuit = circuit;
    if (!admitted) {
      this.#refused += 1;
      throw about.otherwise();
    }
    const note = (outcome: 'done' | 'failed'): void => {
      this.#circuit = noteCall(this.#circuit, outcome, clock.monotonicMs(), rules);
    };
    try {
      const result = await call();
      note('done');
      return result;
    } catch (error) {
      note(about.isFault(error) ? 'failed' : 'done');
      throw error;
    }
  }
}

/** Of peers: soon tried again, because a service that was started anew is back within a second. */
const peerRules: CircuitRules = { failuresMax: 5, openMs: 200, openMsMax: 1_000 };
/** A call that is not let through waits for the peer to come back, within the second of a retry. */
const waitPauseMs = 100;
const waitMsMax = 800;

class CircuitOpen extends ServiceError {
  constructor() {
    super('UNREACHABLE', 'the service was not reached lately');
  }
}

/** The client of a peer, behind a breaker. */
export class GuardedClient extends ServiceClient {
  readonly #breaker: CircuitBreaker;

  constructor(options: ServiceClientOptions, ports: BreakerPorts) {
    super(options);
    this.#breaker = new CircuitBreaker({ rules: peerRules, ...ports });
  }

  /** @throws ServiceError; UNREACHABLE within a second while the circuit is open */
  override async ask(asked: ServiceRequest): Promise<ServiceAnswer> {
    const beganMs = performance.now();
    for (;;) {
      try {
        return await this.#breaker.run(() => super.ask(asked), {
          isFault: (error) => error instanceof ServiceError,
          otherwise: () => new CircuitOpen(),
        });
      } catch (error) {
        const isOver = performance.now() - beganMs + waitPauseMs > waitMsMax;
        if (!(error instanceof CircuitOpen) || isOver) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, waitPauseMs));
    }
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
