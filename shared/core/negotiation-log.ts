/**
 * The log of one negotiation as somebody hears it: events by their place on the bus, folded anew at
 * each one, because a redelivery may bring an earlier event later. What can be kept is bounded by
 * sender, and who does not take part keeps nobody else's event out.
 */

import type { OrchCode } from '#schemas/errors.ts';
import { negotiationEventsMax } from '#schemas/negotiation.ts';
import {
  beginNegotiation,
  isOver,
  stepNegotiation,
  type NegotiationCommand,
  type NegotiationStep,
} from './negotiation.ts';
import type { NegotiationEvent, NegotiationRules, NegotiationState } from './negotiation-state.ts';

/** An event that changed nothing, and why. */
export interface NegotiationMisfit {
  readonly hash: string;
  readonly senderId: string;
  readonly code: OrchCode;
  readonly reason: string;
}

interface Placed {
  readonly event: NegotiationEvent;
  readonly sequence: number;
}

/** An honest sender needs two. */
const perSenderMax = 4;

export class NegotiationLog {
  readonly negotiationId: string;
  readonly #rules: NegotiationRules;
  readonly #issued = new Set<string>();
  #events: Placed[] = [];
  #state: NegotiationState | null = null;
  #misfits: NegotiationMisfit[] = [];

  constructor(negotiationId: string, rules: NegotiationRules) {
    this.negotiationId = negotiationId;
    this.#rules = rules;
  }

  get state(): NegotiationState | null {
    return this.#state;
  }

  get isOver(): boolean {
    return this.#state !== null && isOver(this.#state);
  }

  get misfits(): readonly NegotiationMisfit[] {
    return this.#misfits;
  }

  /** In the order of the bus. */
  get events(): readonly NegotiationEvent[] {
    return this.#events.map(({ event }) => event);
  }

  /**
   * Takes in an event heard at a place on the bus; the commands that follow and were not issued
   * before. Nothing of an event that was heard already, or of one too many.
   */
  add(event: NegotiationEvent, sequence: number): NegotiationCommand[] {
    if (this.#events.some((each) => each.event.hash === event.hash) || !this.#mayKeep(event)) {
      return [];
    }
    this.#events = [...this.#events, { event, sequence }].toSorted(
      (one, other) => one.sequence - other.sequence,
    );
    const commands = this.#fold();
    this.#forgetOthers();
    return commands.filter((command) => {
      const name = `${command.type} ${'agentId' in command ? command.agentId : ''}`;
      if (this.#issued.has(name)) return false;
      this.#issued.add(name);
      return true;
    });
  }

  #mayKeep({ senderId, senderKind }: NegotiationEvent): boolean {
    if (!this.#takesPart(senderId) && senderKind !== 'orchestrator') return false;
    const count = this.#events.filter(({ event }) => event.senderId === senderId).length;
    return count < perSenderMax && this.#events.length < negotiationEventsMax;
  }

  /** Before the opening nobody knows who does. */
  #takesPart(senderId: string): boolean {
    const state = this.#state;
    return state === null || senderId === state.client || senderId === state.server;
  }

  #forgetOthers(): void {
    this.#events = this.#events.filter(
      ({ event }) => this.#takesPart(event.senderId) || event.senderKind === 'orchestrator',
    );
  }

  #fold(): NegotiationCommand[] {
    this.#state = null;
    this.#misfits = [];
    const commands: NegotiationCommand[] = [];
    for (const { event } of this.#events) {
      const step = this.#step(event);
      if (step === undefined) continue;
      if ('rejected' in step) {
        const { hash, senderId } = event;
        this.#misfits.push({ hash, senderId, code: step.rejected, reason: step.reason });
      } else {
        this.#state = step.state;
        commands.push(...step.commands);
      }
    }
    return commands;
  }

  #step(event: NegotiationEvent): NegotiationStep | undefined {
    if (this.#state !== null) return stepNegotiation(this.#state, event, this.#rules);
    if (event.type === 'negotiation-opened') {
      return beginNegotiation(this.negotiationId, event, this.#rules);
    }
    const reason = 'the negotiation is not open';
    return { rejected: 'ORCH-8012', reason };
  }
}
