/** Asking until there is an answer, over either bus: for what is safe to ask twice. */
import { BusError } from './bus.ts';
import { sleep } from './timers.ts';
import type { BusClock } from './timers.ts';

export interface Askable {
  readonly clock: BusClock;
  /** @throws BusError BUS_CLOSED; resolves false when the bus stays away for `timeoutMs` */
  ready(timeoutMs: number): Promise<boolean>;
}

/** How long one question to the bus itself waits for its answer. */
export const questionTimeoutMs = 2_000;
const deadlineAfterMs = 10_000;
const pauseMs = 50;

/**
 * Asks again after each fault that may pass, for ten seconds at most. `translate` makes a `BusError` of
 * what `ask` throws, or throws what is none.
 */
export async function persistently<Answer>(
  link: Askable,
  ask: () => Promise<Answer>,
  translate: (error: unknown) => BusError,
): Promise<Answer> {
  const { clock } = link;
  const deadlineMs = clock.monotonicMs() + deadlineAfterMs;
  for (;;) {
    await link.ready(deadlineMs - clock.monotonicMs());
    try {
      return await ask();
    } catch (error) {
      const fault = translate(error);
      if (!isTransient(fault) || clock.monotonicMs() >= deadlineMs) throw fault;
    }
    await sleep(clock, pauseMs);
  }
}

/** Whether the same question may be answered a little later. */
export function isTransient(fault: BusError): boolean {
  switch (fault.code) {
    case 'BUS_TIMEOUT':
    case 'BUS_UNREACHABLE':
    case 'BUS_NO_RESPONDER':
      return true;
    case 'BUS_DENIED':
    case 'BUS_REJECTED':
    case 'BUS_FULL':
    case 'BUS_CLOSED':
    case 'BUS_SERVER_TOO_OLD':
      return false;
  }
}
