/**
 * A database behind a circuit breaker. When it did not answer three times in a row, whoever asks is refused
 * at once (SYSTEM_UNREACHABLE, worth another try) instead of waiting for it as well; meanwhile it is tried
 * five times a second, by nobody's request, and let through again as soon as it answers.
 */

import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import { CircuitBreaker } from '../service/circuit-breaker.ts';
import type { Actor, Database, Scripts, Statements } from './database.ts';

const tryEveryMs = 200;
const rules = { failuresMax: 3, openMs: tryEveryMs, openMsMax: tryEveryMs };

export class GuardedDatabase implements Database {
  readonly kind;
  readonly #database: Database;
  readonly #ports: { readonly clock: Clock; readonly log: Log };
  readonly #breaker: CircuitBreaker;
  #timer: Timer | undefined;
  #isAway = false;
  #refused = 0;
  #isClosed = false;

  constructor(database: Database, ports: { readonly clock: Clock; readonly log: Log }) {
    this.kind = database.kind;
    this.#database = database;
    this.#ports = ports;
    this.#breaker = new CircuitBreaker({ clock: ports.clock, rules });
  }

  /** Requests that were refused since the start, and how the circuit stands. */
  get breaker(): Pick<CircuitBreaker, 'standing' | 'refused'> {
    return { standing: this.#breaker.standing, refused: this.#refused };
  }

  transact<Result>(actor: Actor, work: (on: Statements) => Promise<Result>): Promise<Result> {
    return this.#guarded(() => this.#database.transact(actor, work));
  }

  transactAsOwner<Result>(work: (on: Scripts) => Promise<Result>): Promise<Result> {
    return this.#guarded(() => this.#database.transactAsOwner(work));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#database.close();
  }

  async #guarded<Result>(call: () => Promise<Result>): Promise<Result> {
    if (this.#isAway) {
      this.#refused += 1;
      throw away();
    }
    try {
      return await this.#run(call);
    } finally {
      if (this.#breaker.standing !== 'closed' && !this.#isAway) {
        this.#isAway = true;
        this.#ports.log.warn({ kind: this.kind }, 'the database does not answer');
        this.#tryLater();
      }
    }
  }

  #run<Result>(call: () => Promise<Result>): Promise<Result> {
    return this.#breaker.run(call, { isFault, otherwise: away });
  }

  #tryLater(): void {
    if (this.#isClosed) return;
    this.#timer = this.#ports.clock.after(tryEveryMs, () => void this.#try());
  }

  async #try(): Promise<void> {
    try {
      await this.#run(() =>
        this.#database.transact({ role: 'gyre_rows' }, (on) => on.rows('SELECT 1')),
      );
    } catch (error) {
      // Whatever it says instead of nothing, it is there.
      if (isFault(error)) {
        this.#tryLater();
        return;
      }
    }
    this.#isAway = false;
    this.#ports.log.info({ kind: this.kind }, 'the database answers again');
  }
}

function isFault(error: unknown): boolean {
  return error instanceof AdapterError && error.code === 'SYSTEM_UNREACHABLE';
}

function away(): AdapterError {
  return new AdapterError('SYSTEM_UNREACHABLE', 'the database did not answer lately', {
    retryable: true,
  });
}
