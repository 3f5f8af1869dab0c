/**
 * How long a plan takes. The model counts round trips, because steps of one round run side by side:
 * one for preparing, one for distributing where someone besides the owners must accept, two per layer
 * (activate, verify), one to measure after a soak, and two statements by the signer. Each round costs
 * its latency and a share for every step in it. It is an estimate for people and windows; nothing is
 * decided by it while a rotation runs.
 */

import type { LayerKeys } from './plan-window.ts';

export const roundMs = 60;
export const stepMs = 10;
export const statementMs = 40;

export interface PlanEstimate {
  /** Until the last activation is verified and committed, without the soak: must fit the window. */
  readonly activeMs: number;
  readonly totalMs: number;
}

export function estimatePlan(layers: readonly LayerKeys[], soakMs: number): PlanEstimate {
  const owners = layers.length;
  const verifiers = layers
    .map(({ keys }) => {
      const members = keys.flatMap((key) => key.members);
      const ids = members.filter(({ role }) => role === 'verifier').map((one) => one.agent_id);
      return new Set(ids).size;
    })
    .reduce((sum, count) => sum + count, 0);
  const rounds = 1 + (verifiers > 0 ? 1 : 0) + 2 * owners;
  const steps = 3 * owners + 2 * verifiers;
  const activeMs = rounds * roundMs + steps * stepMs + 2 * statementMs;
  const soak = soakMs === 0 ? 0 : soakMs + roundMs + owners * stepMs;
  return { activeMs, totalMs: activeMs + soak };
}
