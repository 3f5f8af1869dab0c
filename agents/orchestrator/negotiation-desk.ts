/**
 * An orchestrator's part in negotiations: it opens what operators ask for, ends what two agents do not
 * finish in time (ORCH-8013), and shows the log to whoever asks. It decides nothing: what was agreed
 * follows from what the two agents signed. All that it knows is folded from the bus, so an instance that
 * starts anew ends what another one opened.
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { NegotiationShown } from '#schemas/negotiation.ts';
import type { Query } from '#schemas/queries.ts';
import { BusError, type BusMessage } from '#shared/bus/bus.ts';
import { negotiationTimeoutMs, type NegotiationCommand } from '#shared/core/negotiation.ts';
import { NegotiationLog } from '#shared/core/negotiation-log.ts';
import {
  negotiationEventNames,
  type NegotiationEventName,
  type NegotiationRules,
  type NegotiationState,
} from '#shared/core/negotiation-state.ts';
import { sameData } from '#shared/core/equality.ts';
import { reasonOf } from '#shared/core/reason.ts';
import {
  isNegotiationEvent,
  negotiationEvent,
  negotiationRules,
  staleFault,
} from '#shared/crypto/negotiation-rules.ts';
import type { AnyReceivedEvent, Answer, ReceivedEvent } from '#shared/runtime/exchange.ts';
import type { Timer } from '#shared/runtime/ports.ts';
import { DisclosedLog } from './disclosed-log.ts';
import type { Outcomes } from './outcomes.ts';
import { retryDelayMs, type OrchestratorParts } from './ports.ts';
import { goesFirst } from './turns.ts';

type Request = ReceivedEvent<'negotiation-requested'>;
type HeardNegotiation = Extract<AnyReceivedEvent, { type: NegotiationEventName }>;

interface Refusal {
  readonly code: OrchCode;
  readonly reason: string;
}

interface Session {
  readonly log: NegotiationLog;
  readonly shown: DisclosedLog;
  deadline?: Timer;
}

/** Negotiations that one agent takes part in at one time, and all agents together. */
const openPerAgentMax = 8;
const openMax = 64;
/** Ended negotiations that can still be shown. */
const rememberedMax = 512;
const waitingMax = 256;
const attemptsMax = 20;
/** An id that others' events occupy and that nobody opened is given up after so many looks. */
const looksMax = 5;

export class NegotiationDesk {
  readonly #ports: OrchestratorParts;
  readonly #outcomes: Outcomes;
  readonly #rules: NegotiationRules;
  readonly #sessions = new Map<string, Session>();
  /** Heard while the log is still being read. */
  readonly #waiting: Request[] = [];
  #changed = Promise.withResolvers<void>();
  #isLive = false;
  #isStopped = false;

  constructor(ports: OrchestratorParts, outcomes: Outcomes) {
    this.#ports = ports;
    this.#outcomes = outcomes;
    this.#rules = negotiationRules(ports.crypto, ports.trust);
  }

  /** Before the notices start. */
  listen(): void {
    for (const name of negotiationEventNames) {
      this.#ports.notices.on(name, (event) =>
        this.#hear(event as HeardNegotiation, event.sequence),
      );
    }
  }

  /** A message of before the start: history, however old it is. */
  remember({ data, subject, sequence }: BusMessage): void {
    const event = this.#ports.exchange.openRecord(data);
    if (event === undefined || !isNegotiationEvent(event.type)) return;
    if (event.header.subject !== subject || event.header.channel !== 'mesh') return;
    this.#hear(event as HeardNegotiation, sequence);
  }

  /** From now on it opens and ends negotiations. */
  goLive(): void {
    this.#isLive = true;
    for (const session of this.#sessions.values()) this.#await(session);
    for (const request of this.#waiting.splice(0)) this.take(request);
  }

  stop(): void {
    this.#isStopped = true;
    for (const { deadline } of this.#sessions.values()) deadline?.cancel();
  }

  /** Sees to it that the request gets an outcome, now or when another orchestrator fails to. */
  take(request: Request): void {
    if (!this.#isLive) {
      if (this.#waiting.length < waitingMax) this.#waiting.push(request);
      return;
    }
    if (this.#outcomes.has(request.hash)) return;
    const { agentId, takeoverMs, trustDesk } = this.#ports;
    const isUnheard = (id: string): boolean => trustDesk.isLockedOut(id);
    const isFirst = goesFirst(this.#ports, request.hash, isUnheard);
    // Whose openings nobody hears refuses what no other orchestrator took up.
    const delayMs = isUnheard(agentId) ? 2 * takeoverMs : takeoverMs;
    this.#later(isFirst ? 0 : delayMs, () => this.#attend(request, 1));
  }

  async show(query: Extract<Query, { ask: 'negotiation-show' }>): Promise<Answer> {
    const { negotiationId, waitMs } = query;
    const { clock } = this.#ports;
    const untilMs = clock.monotonicMs() + waitMs;
    const isOver = (): boolean => this.#sessions.get(negotiationId)?.log.isOver === true;
    for (let leftMs = waitMs; leftMs > 0 && !isOver(); leftMs = untilMs - clock.monotonicMs()) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = clock.after(leftMs, resolve);
      await Promise.race([this.#changed.promise, promise]);
      timer.cancel();
    }
    const events = this.#sessions.get(negotiationId)?.shown.inOrder() ?? [];
    const shown: NegotiationShown = { negotiationId, isOver: isOver(), events };
    return { ok: true, result: shown };
  }

  #hear(event: HeardNegotiation, sequence: number): void {
    const address = this.#ports.subjects.parse(event.header.subject);
    if (address?.kind !== 'negotiation') return;
    const session = this.#sessionOf(address.negotiationId);
    const commands = session.log.add(negotiationEvent(event), sequence);
    const kept = new Set(session.log.events.map(({ hash }) => hash));
    session.shown.keep({ hash: event.hash, sequence, disclosure: event.disclosure }, kept);
    const { state } = session.log;
    if (state !== null) {
      const { request, negotiationId } = state;
      this.#outcomes.note(request, { status: 'accepted', planId: negotiationId });
    }
    for (const command of commands) this.#obey(command, session);
    if (session.log.isOver) session.deadline?.cancel();
    const previous = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    previous.resolve();
  }

  /** What agents have to do is theirs. */
  #obey(command: NegotiationCommand, session: Session): void {
    if (command.type === 'await-end' && this.#isLive) this.#await(session);
  }

  #sessionOf(negotiationId: string): Session {
    const known = this.#sessions.get(negotiationId);
    if (known !== undefined) return known;
    const log = new NegotiationLog(negotiationId, this.#rules);
    const session: Session = { log, shown: new DisclosedLog() };
    this.#sessions.set(negotiationId, session);
    for (const [id, each] of this.#sessions) {
      if (this.#sessions.size <= rememberedMax) break;
      const isOpen = each.log.state !== null && !each.log.isOver;
      if (each !== session && !isOpen) this.#sessions.delete(id);
    }
    return session;
  }

  /** Whoever opened it ends it; the others step in when that one is gone. */
  #await(session: Session): void {
    const { agentId, clock, takeoverMs } = this.#ports;
    const { state, isOver } = session.log;
    if (state === null || isOver || session.deadline !== undefined) return;
    const patienceMs = negotiationTimeoutMs + (state.openedBy === agentId ? 0 : takeoverMs);
    const leftMs = Math.max(0, state.openedAtMs + patienceMs - clock.nowMs());
    session.deadline = clock.after(leftMs, () => void this.#end(session, 1));
  }

  async #end(session: Session, attempt: number): Promise<void> {
    const { exchange, subjects, clock, log } = this.#ports;
    const { state, isOver, negotiationId } = session.log;
    if (this.#isStopped || isOver || state === null) return;
    try {
      await exchange.publish({
        type: 'negotiation-failed',
        subject: subjects.negotiation(negotiationId),
        channel: 'mesh',
        body: { negotiationId, code: 'ORCH-8013', reason: overdue(state) },
      });
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      log.warn({ negotiation: negotiationId, code: error.code }, 'a negotiation stays open');
      if (attempt >= attemptsMax) return;
      session.deadline = clock.after(retryDelayMs, () => void this.#end(session, attempt + 1));
    }
  }

  async #attend(request: Request, attempt: number): Promise<void> {
    if (this.#isStopped || this.#outcomes.has(request.hash)) return;
    try {
      const refusal = await this.#open(request, attempt);
      if (refusal === 'wait') {
        this.#later(retryDelayMs, () => this.#attend(request, attempt + 1));
      } else if (refusal !== undefined && !this.#outcomes.has(request.hash)) {
        await this.#refuse(request, refusal);
      }
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      this.#ports.log.warn({ request: request.hash, code: error.code }, error.message);
      if (attempt >= attemptsMax) return;
      this.#later(retryDelayMs, () => this.#attend(request, attempt + 1));
    }
  }

  /** `wait`: somebody else's event stands on the subject, and may turn out to be the opening. */
  async #open(request: Request, attempt: number): Promise<Refusal | 'wait' | undefined> {
    const { exchange, subjects } = this.#ports;
    const { negotiationId, client, server, constraints } = request.body;
    const state = this.#sessions.get(negotiationId)?.log.state;
    if (state !== undefined && state !== null) {
      const { client: first, server: second, constraints: asked } = state;
      const known = { negotiationId, client: first, server: second, constraints: asked };
      if (!sameData(known, request.body)) return idTaken(negotiationId);
      this.#outcomes.note(request.hash, { status: 'accepted', planId: negotiationId });
      return undefined;
    }
    const refusal = this.#refusalOf(request);
    if (refusal !== undefined) return refusal;
    const outcome = await exchange.append(
      {
        type: 'negotiation-opened',
        subject: subjects.negotiation(negotiationId),
        channel: 'mesh',
        body: {
          negotiationId,
          request: request.hash,
          evidence: request.disclosure,
          client,
          server,
          constraints,
        },
      },
      0,
    );
    if (outcome.status === 'stored') return undefined;
    return attempt < looksMax ? 'wait' : idTaken(negotiationId);
  }

  #refusalOf({ body }: Request): Refusal | undefined {
    const { agentId, trust, clock, trustDesk } = this.#ports;
    const { client, server } = body;
    if (trustDesk.isLockedOut(agentId)) {
      return { code: 'ORCH-8015', reason: `${agentId} is locked out, and no other took it up` };
    }
    const stale = staleFault(trust, clock.nowMs());
    if (stale !== undefined) return stale;
    if (client === server) return { code: 'ORCH-8012', reason: 'an agent does not ask itself' };
    for (const id of [client, server]) {
      if (trust.agent(id)?.kind !== 'layer') {
        return { code: 'ORCH-8012', reason: `${id} is no enrolled layer agent` };
      }
      if (trustDesk.isLockedOut(id)) return { code: 'ORCH-8015', reason: `${id} is locked out` };
    }
    const open = [...this.#sessions.values()].flatMap(({ log }) =>
      log.state === null || log.isOver ? [] : [log.state],
    );
    if (open.length >= openMax) {
      return { code: 'ORCH-8007', reason: `${openMax} negotiations are open` };
    }
    const busy = [client, server].find(
      (id) =>
        open.filter((each) => [each.client, each.server].includes(id)).length >= openPerAgentMax,
    );
    return busy === undefined
      ? undefined
      : { code: 'ORCH-8007', reason: `${busy} takes part in ${openPerAgentMax} negotiations` };
  }

  async #refuse(request: Request, { code, reason }: Refusal): Promise<void> {
    await this.#ports.exchange.publish({
      type: 'request-refused',
      subject: this.#ports.subjects.sagaRequests(),
      channel: 'operators',
      body: { request: request.hash, code, reason: reasonOf(reason) },
    });
  }

  #later(delayMs: number, run: () => Promise<void>): void {
    if (delayMs === 0) void run();
    else this.#ports.clock.after(delayMs, () => void run());
  }
}

function idTaken(negotiationId: string): Refusal {
  return { code: 'ORCH-8012', reason: `the id ${negotiationId} is that of another negotiation` };
}

/** Who keeps the others waiting. */
function overdue({ client, server, advertisements, confirmations }: NegotiationState): string {
  const silent = (role: 'client' | 'server', agentId: string): string[] => {
    if (advertisements[role] === undefined) return [`${agentId} has not advertised`];
    return confirmations[role] === undefined ? [`${agentId} has not confirmed`] : [];
  };
  return [...silent('client', client), ...silent('server', server)].join(', ');
}
