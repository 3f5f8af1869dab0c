/**
 * A layer agent's part in negotiations: it hears them, advertises where it is named, and confirms what it
 * computed itself. It takes nobody's word: the operator's request is in the opening, every event is
 * sealed by its sender, and what does not follow ends the negotiation.
 *
 * Bounded: so many at once, so many remembered. What a flood leaves no room for stays unanswered, and an
 * orchestrator ends it.
 */

import type { EventBody } from '#schemas/events.ts';
import { BusError } from '#shared/bus/bus.ts';
import type { Subjects } from '#shared/bus/subjects.ts';
import { negotiationTimeoutMs, type NegotiationCommand } from '#shared/core/negotiation.ts';
import { NegotiationLog } from '#shared/core/negotiation-log.ts';
import {
  negotiationEventNames,
  type NegotiationEventName,
  type NegotiationRules,
  type NegotiationState,
} from '#shared/core/negotiation-state.ts';
import { reasonOf } from '#shared/core/reason.ts';
import {
  basisFault,
  negotiationEvent,
  negotiationRules,
} from '#shared/crypto/negotiation-rules.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { AnyReceivedEvent, Exchange } from '#shared/runtime/exchange.ts';
import type { Notices } from '#shared/runtime/notices.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import type { AlgorithmClaims } from './algorithm-capabilities.ts';

export interface NegotiatorPorts {
  readonly agentId: string;
  readonly exchange: Exchange;
  readonly subjects: Subjects;
  readonly trust: TrustView;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Log;
  /** What the agent can do now. */
  readonly claims: () => AlgorithmClaims;
  /** Whether somebody may ask for nothing new at present. */
  readonly isLockedOut: (agentId: string) => boolean;
}

/** Negotiations that an agent takes part in at one time. */
export const openNegotiationsMax = 8;
const rememberedMax = 128;

type HeardNegotiation = Extract<AnyReceivedEvent, { type: NegotiationEventName }>;

interface Session {
  readonly log: NegotiationLog;
  /** By the agent's own clock. */
  readonly sinceMs: number;
}

export class Negotiator {
  readonly #ports: NegotiatorPorts;
  readonly #rules: NegotiationRules;
  readonly #sessions = new Map<string, Session>();

  constructor(ports: NegotiatorPorts) {
    this.#ports = ports;
    this.#rules = negotiationRules(ports.crypto, ports.trust);
  }

  /** Before `notices` starts. */
  listen(notices: Notices): void {
    for (const name of negotiationEventNames) {
      notices.on(name, (event) => this.hear(event as HeardNegotiation));
    }
  }

  /** Done when what follows from the event is on the bus, or could not get there. */
  async hear(event: HeardNegotiation): Promise<void> {
    const { subjects, log } = this.#ports;
    const address = subjects.parse(event.header.subject);
    if (address?.kind !== 'negotiation') return;
    const session = this.#sessionOf(address.negotiationId, event);
    if (session === undefined) {
      log.warn({ negotiation: address.negotiationId }, 'too many negotiations at once');
      return;
    }
    const commands = session.log.add(negotiationEvent(event), event.sequence);
    const misfit = session.log.misfits.find(({ hash }) => hash === event.hash);
    if (misfit !== undefined) {
      const { code, reason, senderId: sender } = misfit;
      log.warn(
        { negotiation: address.negotiationId, code, reason, sender },
        'event without effect',
      );
    }
    for (const command of commands) await this.#perform(command, session);
  }

  #sessionOf(negotiationId: string, event: HeardNegotiation): Session | undefined {
    const known = this.#sessions.get(negotiationId);
    if (known !== undefined && known.log.state !== null) return known;
    const opens = this.#isNamedBy(event);
    const live = [...this.#sessions.values()].filter((each) => this.#isLive(each));
    if (opens && live.length >= openNegotiationsMax) return undefined;
    if (known !== undefined) return known;
    const log = new NegotiationLog(negotiationId, this.#rules);
    const session = { log, sinceMs: this.#ports.clock.monotonicMs() };
    this.#sessions.set(negotiationId, session);
    for (const [id, each] of this.#sessions) {
      if (this.#sessions.size <= rememberedMax) break;
      if (each !== session && !this.#isLive(each)) this.#sessions.delete(id);
    }
    return session;
  }

  #isNamedBy(event: HeardNegotiation): boolean {
    const { agentId } = this.#ports;
    if (event.type !== 'negotiation-opened') return false;
    return event.body.client === agentId || event.body.server === agentId;
  }

  /** Takes one of the places that there are. What no orchestrator ended does so only for a while. */
  #isLive({ log, sinceMs }: Session): boolean {
    const { agentId, clock } = this.#ports;
    const { state } = log;
    if (state === null || log.isOver) return false;
    const isMine = state.client === agentId || state.server === agentId;
    return isMine && clock.monotonicMs() - sinceMs < 2 * negotiationTimeoutMs;
  }

  async #perform(command: NegotiationCommand, { log }: Session): Promise<void> {
    const { agentId, trust, clock } = this.#ports;
    const { state } = log;
    if (command.type === 'await-end' || command.agentId !== agentId || state === null) return;
    const nowMs = clock.nowMs();
    // History: whoever opened it has given up since.
    if (nowMs - state.openedAtMs > negotiationTimeoutMs) return;
    if (command.type === 'announce-failure') {
      await this.#publish('negotiation-failed', state, {
        ...command.body,
        reason: reasonOf(command.body.reason),
      });
      return;
    }
    const fault = basisFault(trust, state.basis, nowMs) ?? this.#peerFault(state);
    if (fault !== undefined) {
      const { negotiationId } = state;
      await this.#publish('negotiation-failed', state, { negotiationId, ...fault });
    } else if (command.type === 'confirm') {
      await this.#publish('negotiation-confirmed', state, command.body);
    } else {
      await this.#advertise(command.role, state);
    }
  }

  #peerFault({ client, server }: NegotiationState) {
    const { agentId, isLockedOut } = this.#ports;
    const peer = client === agentId ? server : client;
    return isLockedOut(peer)
      ? { code: 'ORCH-8015' as const, reason: `${peer} is locked out` }
      : undefined;
  }

  #advertise(role: 'client' | 'server', state: NegotiationState): Promise<void> {
    const { claims, crypto } = this.#ports;
    const { algorithms, constraints, tlsVersionMin } = claims();
    return this.#publish('algorithms-advertised', state, {
      negotiationId: state.negotiationId,
      role,
      nonce: crypto.randomBytes(32),
      capabilities: algorithms,
      constraints,
      ...(tlsVersionMin === undefined ? {} : { tlsVersionMin }),
    });
  }

  /** What does not reach the bus is not sent again: the negotiation ends, and is asked for again. */
  async #publish<Name extends NegotiationEventName>(
    type: Name,
    { negotiationId }: NegotiationState,
    body: EventBody<Name>,
  ): Promise<void> {
    const { exchange, subjects, log } = this.#ports;
    const subject = subjects.negotiation(negotiationId);
    try {
      await exchange.publish({ type, subject, channel: 'mesh', body });
      log.info({ negotiation: negotiationId, type }, 'negotiating');
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      log.warn({ negotiation: negotiationId, code: error.code }, `${type} did not reach the bus`);
    }
  }
}
