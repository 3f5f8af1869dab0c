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
  ServiceError,
  type ServiceAnswer,
  type ServiceClient,
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

/** A peer behind a breaker; in place of a `ServiceClient` wherever it is asked. */
export class GuardedClient {
  readonly #client: Pick<ServiceClient, 'ask'>;
  readonly #breaker: CircuitBreaker;

  constructor(client: Pick<ServiceClient, 'ask'>, ports: BreakerPorts) {
    this.#client = client;
    this.#breaker = new CircuitBreaker(ports);
  }

  /** @throws ServiceError; UNREACHABLE at once while the circuit is open */
  ask(asked: ServiceRequest): Promise<ServiceAnswer> {
    return this.#breaker.run(() => this.#client.ask(asked), {
      isFault: (error) => error instanceof ServiceError,
      otherwise: () => new ServiceError('UNREACHABLE', 'the service was not reached lately'),
    });
  }

  get standing(): Circuit['standing'] {
    return this.#breaker.standing;
  }

  /** For `measure()`: 0 closed, 1 half open, 2 open, and calls that were not let through. */
  metrics(name: string): Record<string, number> {
    return breakerMetrics(name, this.#breaker);
  }
}

const numbers = { closed: 0, 'half-open': 1, open: 2 } as const;

export function breakerMetrics(
  name: string,
  { standing, refused }: Pick<CircuitBreaker, 'standing' | 'refused'>,
): Record<string, number> {
  return { [`circuit-${name}`]: numbers[standing], [`circuit-${name}-refused`]: refused };
}
