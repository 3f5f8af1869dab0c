/**
 * Failures of somebody else's programs in the agent's log, with the end of what they said on standard
 * error where the configuration wishes for it. An operation that fails is tried again and again, and asked
 * for by whoever looks: the same failure is written down once a minute, whatever the program said of it,
 * as that may have the time or a number of a process in it.
 */

import type { Clock, Log } from '#shared/runtime/ports.ts';
import type { ProgramFailure } from './program.ts';

const againMs = 60_000;
/** Of different failures, that are known to have been written. */
const keptMax = 64;
const notLogged =
  'not logged; "logsStandardError": true beside "program" in the configuration logs it';

export class FailureLog {
  readonly #ports: { readonly log: Log; readonly clock: Clock };
  readonly #writtenMs = new Map<string, number>();

  constructor(ports: { readonly log: Log; readonly clock: Clock }) {
    this.#ports = ports;
  }

  note({ program, operation, what, complaint }: ProgramFailure): void {
    const { log, clock } = this.#ports;
    const key = [program, operation, what].join('\n');
    const nowMs = clock.monotonicMs();
    const lastMs = this.#writtenMs.get(key);
    if (lastMs !== undefined && nowMs - lastMs < againMs) return;
    this.#writtenMs.delete(key);
    this.#writtenMs.set(key, nowMs);
    for (const oldest of this.#writtenMs.keys()) {
      if (this.#writtenMs.size <= keptMax) break;
      this.#writtenMs.delete(oldest);
    }
    const stderr = complaint ?? notLogged;
    log.warn({ program, operation, what, stderr }, 'an attached program failed');
  }
}
