/**
 * The real ports of a process: clock, entropy of the operating system, and the log (pino, JSON lines
 * on standard error). A simulated world brings its own.
 */

import { pino } from 'pino';
import { systemEntropy } from '#shared/crypto/entropy.ts';
import type { Clock, Entropy, Log } from './ports.ts';

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

export const processEntropy: Entropy = {
  bytes: (count) => systemEntropy.randomBytes(count),
};

/** Log of one agent; every line carries its id. `level` is pino's (`info` unless told). */
export function processLog(agentId: string, level = 'info'): Log {
  return pino({ level, base: { agent: agentId } }, pino.destination({ dest: 2, sync: true }));
}
