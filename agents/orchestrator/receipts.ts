/**
 * Asking the auditor for receipts that do not come: it may have issued them, and the bus have lost them,
 * before this orchestrator read them (invariants 13 and 15). The answer is that they are issued again, for
 * everyone: a receipt is an event that step commands carry, and no private word.
 */

import { BusError } from '#shared/bus/bus.ts';
import { askTimeoutMs, type OrchestratorPorts } from './ports.ts';

/** As many as one question may name. */
const askedMax = 64;

/** Resolves also where nobody answers: whoever waits asks again. */
export async function askForReceipts(
  { exchange, trust, log }: Pick<OrchestratorPorts, 'exchange' | 'trust' | 'log'>,
  hashes: readonly string[],
): Promise<void> {
  const auditor = trust.agents().find(({ kind }) => kind === 'auditor');
  if (auditor === undefined) return;
  const to = { agentId: auditor.agentId, channel: 'saga' };
  const query = { ask: 'receipts-again', events: hashes.slice(0, askedMax) } as const;
  try {
    const answer = await exchange.ask(to, query, askTimeoutMs);
    if (!answer.ok) log.warn({ code: answer.code }, 'the auditor issues no receipts again');
  } catch (error) {
    if (!(error instanceof BusError)) throw error;
    log.warn({ code: error.code }, 'the auditor cannot be asked for receipts');
  }
}
