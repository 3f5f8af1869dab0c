/**
 * A healing action asks for a plan and for its execution in one: as soon as the plan has the approvals
 * that the policy wants of an emergency, it is executed, and where a layer is not ready or a slot is
 * held it is tried again until the plan expires. Whoever drives the rotation does so; when that one is
 * silent, another.
 */

import { instantMs } from '#shared/core/instant.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import type { Timer } from '#shared/runtime/ports.ts';
import { entryRefused, type Proposal, type ProposalOutcome } from './appender.ts';
import { isOfHealing } from './healing-desk.ts';
import type { OrchestratorPorts } from './ports.ts';

/** Between two tries: as many as ninety in a quarter of an hour. */
const againMs = 10_000;

export class HealingExecution {
  readonly #ports: OrchestratorPorts;
  readonly #propose: (proposal: Proposal) => Promise<ProposalOutcome>;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(ports: OrchestratorPorts, propose: (proposal: Proposal) => Promise<ProposalOutcome>) {
    this.#ports = ports;
    this.#propose = propose;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** Called at every entry: what waits is put off until the state is as it is now. */
  advance(state: RotationState, drives: boolean): void {
    const { clock, takeoverMs } = this.#ports;
    this.#timer?.cancel();
    this.#timer = undefined;
    const plan = state.plan.body;
    if (this.#stopped || state.phase !== 'approved' || !isOfHealing(this.#ports, plan)) return;
    const nowMs = clock.nowMs();
    if (nowMs >= instantMs(plan.expires_at)) return;
    const sinceMs = state.refusal === null ? againMs : Math.max(0, nowMs - state.refusal.atMs);
    const delayMs = Math.max(0, againMs - sinceMs) + (drives ? 0 : takeoverMs);
    this.#timer = clock.after(delayMs, () => void this.#execute(state));
  }

  async #execute(state: RotationState): Promise<void> {
    const { requested_by: operatorId, request } = state.plan.body;
    const event = { type: 'execution-requested', operatorId } as const;
    const outcome = await this.#propose({ event, consumed: [request] });
    if (outcome.status === 'applied' || this.#stopped) return;
    const { code, reason } = outcome;
    if (code === entryRefused) {
      this.#timer = this.#ports.clock.after(againMs, () => void this.#execute(state));
    }
    this.#ports.log.debug({ saga: state.sagaId, code, reason }, 'the healing was not executed');
  }
}
