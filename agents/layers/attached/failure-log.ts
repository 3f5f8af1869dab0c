/**
 * Failures of somebody else's programs in the agent's log, with the end of what they said on standard
 * error. An operation that fails is tried again and again, and asked for by whoever looks: the same
 * failure is written down once a minute.
 */

import type { Clock, Log } from '#shared/runtime/ports.ts';
import type { ProgramFailure } from './program.ts';

const againMs = 60_000;
/** Of different failures; what differs each time is written each time. */
const keptMax = 64;

export class FailureLog {
  readonly #ports: { readonly log: Log; readonly clock: Clock };
  readonly #writtenMs = new Map<string, number>();

  constructor(ports: { readonly log: Log; readonly clock: Clock }) {
    this.#ports = ports;
  }

  note({ program, operation, what, complaint: stderr }: ProgramFailure): void {
    const { log, clock } = this.#ports;
    const key = [program, operation, what, stderr].join('\n');
    const nowMs = clock.monotonicMs();
    const lastMs = this.#writtenMs.get(key);
    if (lastMs !== undefined && nowMs - lastMs < againMs) return;
    this.#writtenMs.delete(key);
    this.#writtenMs.set(key, nowMs);
    for (const oldest of this.#writtenMs.keys()) {
      if (this.#writtenMs.size <= keptMax) break;
      this.#writtenMs.delete(oldest);
    }
    log.warn({ program, operation, what, stderr }, 'an attached program failed');
  }
}
