/**
 * The reservation of key slots: one log for the whole mesh, so that a rotation gets all of its slots
 * or none, and two rotations can never share one (invariant 13).
 */

import type { SagaEntry } from '#schemas/saga.ts';
import { initialSlots, stepSlots, type SlotsState } from '#shared/core/slots.ts';
import { Appender, type ProposalOutcome } from './appender.ts';
import type { OrchestratorPorts } from './ports.ts';
import { SagaLog } from './saga-log.ts';

export class SlotLedger {
  readonly log: SagaLog<SlotsState, never>;
  readonly #appender: Appender;

  constructor(ports: OrchestratorPorts) {
    this.log = new SagaLog('slots', ports.subjects.sagaSlots(), foldSlots);
    this.#appender = new Appender(ports, this.log as SagaLog<unknown, unknown>, 'slots');
  }

  /** All slots are this saga's once it is applied; a reason says who holds which. */
  reserve(
    hold: { sagaId: string; sagaIndex: number; slots: readonly string[] },
    isWanted: () => boolean,
  ): Promise<ProposalOutcome> {
    const event = { type: 'slots-reserved', ...hold, slots: [...hold.slots] } as const;
    return this.#appender.propose({ event, consumed: [], isWanted });
  }

  release(
    hold: { sagaId: string; sagaIndex: number },
    isWanted: () => boolean,
  ): Promise<ProposalOutcome> {
    const event = { type: 'slots-released', ...hold } as const;
    return this.#appender.propose({ event, consumed: [], isWanted });
  }

  stop(): void {
    this.#appender.stop();
  }
}

function foldSlots(state: SlotsState | null, entry: SagaEntry) {
  if (entry.saga !== 'slots') return { rejected: 'SAGA_MISMATCH', reason: 'not of the ledger' };
  const folded = stepSlots(state ?? initialSlots(), entry.event);
  if ('rejected' in folded) return { rejected: folded.rejected, reason: folded.reason };
  return { state: folded.state, commands: [] };
}
