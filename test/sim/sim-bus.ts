/**
 * One life's connection to the simulated bus: what the in-memory bus of the production code does with its
 * server goes over two ways with faults, and passes the places where the life may end. The client takes
 * itself for connected as the real one does: a cut is noticed by unanswered pings, and mended by trying
 * again for ever.
 *
 * Invariants: nothing of a dead life is sent, answered or handled; what is under way at its death arrives
 * or does not, as with a killed process; a life that stands still hears nothing until it goes on.
 */

import { BusError } from '#shared/bus/bus.ts';
import type { MemoryBroker } from '#shared/bus/memory-broker.ts';
import type { MemoryBus } from '#shared/bus/memory-bus.ts';
import { unreachable, type MemoryLink, type Traffic } from '#shared/bus/memory-link.ts';
import { Gate, type BusClock } from '#shared/bus/timers.ts';
import { SimulatedCrash, type CrashPoint, type CrashPoints } from './model.ts';
import type { Draws, Life, Trace, WorldTime } from './model.ts';
import { Way, type Conditions } from './way.ts';

export interface AgentConditions {
  readonly up: Conditions;
  readonly down: Conditions;
}

export interface LinkOptions {
  readonly life: Life;
  readonly clock: BusClock;
  readonly broker: MemoryBroker;
  readonly time: WorldTime;
  readonly draws: Draws;
  readonly trace: Trace;
  readonly crashes: CrashPoints;
  readonly conditions: AgentConditions;
  /** How a subject is called at a crash point. */
  readonly nameOf: (subject: string) => string;
  /** What the server says instead of serving, if anything. */
  readonly refusal: (traffic: Traffic) => BusError | undefined;
  readonly onGone: () => void;
}

/** The client pings every two seconds, and gives up when the third one is due unanswered. */
const pingsOutMs = { least: 4_000, most: 6_000 };
/** The server pings every five seconds, and gives up after ten to fifteen. */
const serverPingsOutMs = { least: 10_000, most: 15_000 };
const reconnectMs = { least: 100, most: 150 };
/** How often a process ends with its machine, which says no goodbye. */
const silentDeathChance = 0.25;

const pointsOf: Readonly<Partial<Record<Traffic['kind'], string>>> = {
  publish: 'publish',
  put: 'put',
  request: 'ask',
  answer: 'answer',
  ack: 'ack',
  retry: 'retry',
  terminate: 'terminate',
};

export class SimulatedLink implements MemoryLink {
  readonly clock: BusClock;
  readonly gate = new Gate();
  readonly #options: LinkOptions;
  readonly #up: Way;
  readonly #down: Way;
  #bus: MemoryBus | undefined;
  #closed = false;
  /** Counts connections. */
  #connection = 0;
  #isNoticing = false;
  #isReconnecting = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.clock = options.clock;
    const { life, time, trace, conditions, draws } = options;
    const shared = { agentId: life.agentId, time, trace };
    const dying = draws.fork('what a dying process had sent');
    this.#up = new Way({
      ...shared,
      direction: 'up',
      draws: draws.fork('up'),
      conditions: conditions.up,
      survives: () => life.isAlive || dying.chance(0.5),
    });
    this.#down = new Way({
      ...shared,
      direction: 'down',
      draws: draws.fork('down'),
      conditions: conditions.down,
      survives: () => life.isAlive,
    });
    this.gate.set(this.#isReachable);
    this.#noticeCut();
  }

  /** The bus on this link: what the server forgets when the life is over. */
  carry(bus: MemoryBus): void {
    this.#bus = bus;
    this.#options.life.onDeath(() => this.#died());
  }

  get isAlive(): boolean {
    return this.#options.life.isAlive;
  }

  exchange<Answer>(
    traffic: Traffic,
    timeoutMs: number,
    serve: () => Answer | Promise<Answer>,
  ): Promise<Answer> {
    if (!this.#passes(traffic, 'before')) return never();
    if (this.#closed) return Promise.reject(closed());
    if (!this.gate.open) return Promise.reject(unreachable());
    return new Promise((resolve, reject) => {
      let isOver = false;
      const finish = (settle: () => void): void => {
        if (isOver) return;
        isOver = true;
        timer.cancel();
        stopListening();
        settle();
      };
      const late = (): void => reject(timedOut('the bus did not answer in time'));
      const cut = (): void => reject(timedOut('the connection was lost before the answer'));
      const timer = this.clock.after(timeoutMs, () => finish(late));
      const stopListening = this.gate.onChange(() => finish(cut));
      const answered = (settle: () => void): void =>
        finish(() => {
          if (this.#passes(traffic, 'after')) settle();
        });
      const back = (settle: () => void): void => this.#back(traffic, () => answered(settle));
      const refused = (error: unknown): void => back(() => reject(asError(error)));
      const arrive = (): void => {
        if (!this.#options.broker.up.open) return;
        try {
          const refusal = this.#options.refusal(traffic);
          if (refusal !== undefined) throw refusal;
          const answer = serve();
          if (answer instanceof Promise) answer.then((told) => back(() => resolve(told)), refused);
          else back(() => resolve(answer));
        } catch (error) {
          if (!(error instanceof BusError)) throw error;
          refused(error);
        }
      };
      this.#up.send({ traffic, arrive, lost: () => undefined });
    });
  }

  tell(traffic: Traffic, arrive: () => void): void {
    if (!this.#passes(traffic, 'before')) return;
    if (!this.gate.open || this.#closed) return;
    const serve = (): void => {
      if (this.#options.broker.up.open) arrive();
    };
    this.#up.send({ traffic, arrive: serve, lost: () => undefined });
    this.#passes(traffic, 'after');
  }

  deliver(traffic: Traffic, receive: () => void, lost: () => void): void {
    if (!this.gate.open || this.#closed || !this.isAlive) {
      lost();
      return;
    }
    this.#down.send({ traffic, arrive: () => this.#toClient(receive, lost), lost });
  }

  close(): void {
    this.#closed = true;
    this.#options.onGone();
  }

  /** The way was cut or mended, or the server came or went. */
  conditionsChanged(): void {
    const { up, down } = this.#options.conditions;
    if (!up.isCut) this.#up.release();
    if (!down.isCut) this.#down.release();
    if (!this.#options.broker.up.open) this.breakConnection();
    this.#noticeCut();
    this.#reconnect();
  }

  /** The connection ends, and the client hears of it as soon as a word from the server gets through. */
  breakConnection(): void {
    this.#connection += 1;
    this.#up.reset();
    this.#down.reset();
    const connection = this.#connection;
    const hear = (): void => {
      if (connection !== this.#connection) return;
      this.#set(false);
      this.#reconnect();
    };
    if (this.#options.conditions.down.isCut) this.#noticeCut();
    else this.#options.life.whenRunning(hear);
  }

  get #isReachable(): boolean {
    const { conditions, broker } = this.#options;
    return broker.up.open && !conditions.up.isCut && !conditions.down.isCut;
  }

  /** Pings go unanswered for a while before the client takes the connection for lost. */
  #noticeCut(): void {
    const { conditions, time, draws, life } = this.#options;
    if (this.#isNoticing || this.#isReachable || !this.gate.open) return;
    if (!conditions.up.isCut && !conditions.down.isCut) return;
    this.#isNoticing = true;
    time.after(draws.between(pingsOutMs.least, pingsOutMs.most), () => {
      this.#isNoticing = false;
      if (this.#isReachable || this.#closed) return;
      life.whenRunning(() => {
        this.#connection += 1;
        this.#up.reset();
        this.#down.reset();
        this.#set(false);
        this.#reconnect();
      });
    });
  }

  #reconnect(): void {
    const { time, draws, life } = this.#options;
    if (this.#isReconnecting || this.gate.open || !this.#isReachable) return;
    if (this.#closed || !this.isAlive) return;
    this.#isReconnecting = true;
    time.after(draws.between(reconnectMs.least, reconnectMs.most), () => {
      this.#isReconnecting = false;
      life.whenRunning(() => {
        if (this.#isReachable && !this.#closed) this.#set(true);
      });
    });
  }

  #set(isOpen: boolean): void {
    if (this.gate.open === isOpen || this.#closed) return;
    const { life, trace } = this.#options;
    trace.note(isOpen ? 'connected' : 'disconnected', { agent: life.agentId, life: life.number });
    this.gate.set(isOpen);
  }

  /** Who stood still for too long was given up by the server, and finds that out first of all. */
  #toClient(receive: () => void, lost: () => void): void {
    const { life, time } = this.#options;
    const connection = this.#connection;
    const sinceMs = time.monotonicMs();
    life.whenRunning(() => {
      if (connection !== this.#connection) {
        lost();
      } else if (time.monotonicMs() - sinceMs > serverPingsOutMs.most) {
        this.breakConnection();
        lost();
      } else {
        receive();
      }
    });
  }

  /** An answer of the server; the traffic is what was asked. */
  #back(traffic: Traffic, arrive: () => void): void {
    if (!this.isAlive) return;
    const lost = (): void => undefined;
    this.#down.send({ traffic, arrive: () => this.#toClient(arrive, lost), lost });
  }

  /** The kernel says goodbye for a killed process; for a machine that died nobody does. */
  #died(): void {
    const { conditions, time, draws, life, trace, onGone } = this.#options;
    const isSilent = draws.chance(silentDeathChance) || conditions.up.isCut;
    const afterMs = isSilent
      ? draws.between(serverPingsOutMs.least, serverPingsOutMs.most)
      : draws.between(1, 3);
    time.after(afterMs, () => {
      trace.note('forgotten', { agent: life.agentId, life: life.number });
      this.#bus?.drop();
      onGone();
    });
  }

  #passes(traffic: Traffic, when: CrashPoint['when']): boolean {
    const { life, crashes, nameOf } = this.#options;
    if (!life.isAlive) return false;
    const verb = pointsOf[traffic.kind];
    if (verb === undefined) return true;
    try {
      crashes.pass(life, { kind: 'send', what: `${verb} ${nameOf(traffic.subject)}`, when });
      return true;
    } catch (error) {
      if (!(error instanceof SimulatedCrash)) throw error;
      return false;
    }
  }
}

function never<Answer>(): Promise<Answer> {
  return new Promise(() => undefined);
}

function closed(): BusError {
  return new BusError('BUS_CLOSED', 'the connection is closed');
}

function timedOut(message: string): BusError {
  return new BusError('BUS_TIMEOUT', message);
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
