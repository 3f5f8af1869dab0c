/**
 * Which epochs the auditors are done with: an epoch whose grace is over is kept until every auditor has
 * said that it read the control stream up to where that ended then. One that was away finds the secrets
 * of what it missed, as long as `epochCommand` waits for it. Nobody is asked while nothing waits.
 */

import { AuditHead } from '#schemas/queries.ts';
import { compile } from '#schemas/primitives.ts';
import { BusError, type StreamState } from '#shared/bus/bus.ts';
import { isAudited, isEntitledTo } from '#shared/core/channels.ts';
import { askTimeoutMs, type OrchestratorPorts } from './ports.ts';

type AuditPorts = Pick<OrchestratorPorts, 'bus' | 'clock' | 'exchange' | 'log' | 'trust'>;

interface Kept {
  /** Where the stream ended when this orchestrator first looked after the grace. */
  endSequence: number;
  readonly readBy: Set<string>;
}

const headCheck = compile(AuditHead);
const auditedChannel = 'saga';

export class EpochAudit {
  readonly #ports: AuditPorts;
  readonly #kept = new Map<string, Kept>();
  #isLooking = false;

  constructor(ports: AuditPorts) {
    this.#ports = ports;
  }

  /** Those of the epochs of which every auditor is known to have read all. */
  read(channel: string, epochs: readonly number[]): ReadonlySet<number> {
    if (!isAudited(channel)) return new Set(epochs);
    const auditors = this.#auditors();
    const isRead = (epoch: number): boolean => {
      const readBy = this.#kept.get(nameOf(channel, epoch))?.readBy;
      return readBy !== undefined && auditors.every((agentId) => readBy.has(agentId));
    };
    return new Set(epochs.filter(isRead));
  }

  /**
   * Asks how far auditors are. `waiting`: by channel, the epochs that only they may need. False where
   * nobody had to be asked.
   */
  async look(waiting: ReadonlyMap<string, readonly number[]>): Promise<boolean> {
    if (this.#isLooking) return false;
    const names = new Set(
      [...waiting].flatMap(([channel, epochs]) =>
        isAudited(channel) ? epochs.map((epoch) => nameOf(channel, epoch)) : [],
      ),
    );
    for (const name of this.#kept.keys()) if (!names.has(name)) this.#kept.delete(name);
    if (names.size === 0) return false;
    this.#isLooking = true;
    try {
      this.#mark(names, await this.#ports.bus.streamState('GYRE_CONTROL'));
      await Promise.all(this.#auditors().map((agentId) => this.#ask(agentId)));
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      this.#ports.log.debug({ code: error.code }, 'how far the auditors are is not known');
    } finally {
      this.#isLooking = false;
    }
    return true;
  }

  /** A stream that lost its end, or all that it had, is read where it is read to where it ends now. */
  #mark(names: ReadonlySet<string>, state: StreamState): void {
    const endSequence = state.messages === 0 ? 0 : state.lastSequence;
    for (const name of names) {
      const kept = this.#kept.get(name);
      if (kept === undefined) this.#kept.set(name, { endSequence, readBy: new Set() });
      else kept.endSequence = Math.min(kept.endSequence, endSequence);
    }
  }

  async #ask(agentId: string): Promise<void> {
    const { bus, exchange, log } = this.#ports;
    const waiting = [...this.#kept.values()].filter(({ readBy }) => !readBy.has(agentId));
    if (waiting.length === 0) return;
    try {
      const to = { agentId, channel: auditedChannel };
      const answer = await exchange.ask(to, { ask: 'audit-head' }, askTimeoutMs);
      if (!answer.ok || !headCheck.check(answer.result)) return;
      const { lastSequence } = answer.result;
      const state = await bus.streamState('GYRE_CONTROL');
      // It has yet to see that the stream began its sequences anew.
      if (lastSequence > state.lastSequence) return;
      for (const { endSequence, readBy } of waiting) {
        if (endSequence <= lastSequence) readBy.add(agentId);
      }
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      log.debug({ agentId, code: error.code }, 'the auditor does not say how far it is');
    }
  }

  /** Enrolled, and neither revoked nor expired. */
  #auditors(): string[] {
    const { trust, clock } = this.#ports;
    const nowMs = clock.nowMs();
    return trust
      .agents()
      .filter((agent) => agent.kind === 'auditor' && isEntitledTo(auditedChannel, agent, nowMs))
      .map(({ agentId }) => agentId);
  }
}

function nameOf(channel: string, epoch: number): string {
  return `${channel}/${epoch}`;
}
