/**
 * The simulated network of one world: one server in memory, and a connection with faults for every life of
 * every agent. The world cuts, slows and disturbs the ways of an agent, breaks its connections, stops the
 * server, makes it forget what it acknowledged, or have no room. Everything that happens is in the trace,
 * in fields that are the same whenever the seed is.
 */

import { BusError, type Bus, type StreamName } from '#shared/bus/bus.ts';
import type { BusMessage } from '#shared/bus/bus.ts';
import { MemoryBroker } from '#shared/bus/memory-broker.ts';
import { MemoryBus } from '#shared/bus/memory-bus.ts';
import type { Traffic } from '#shared/bus/memory-link.ts';
import type { PublisherLimits } from '#shared/bus/publisher.ts';
import type { BusPrincipal, ProvisionPlan } from '#shared/bus/streams.ts';
import { streamOf, subjectsOf, type Subjects } from '#shared/bus/subjects.ts';
import type { BusClock } from '#shared/bus/timers.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import type { CrashPoints, Draws, Life, Trace, WorldTime } from './model.ts';
import { SimulatedLink, type AgentConditions } from './sim-bus.ts';
import { fairConditions, type Conditions, type Direction } from './way.ts';

export interface NetworkOptions {
  readonly plan: ProvisionPlan;
  readonly time: WorldTime;
  readonly draws: Draws;
  readonly trace: Trace;
  readonly crashes: CrashPoints;
  /** Hears of every message that the server stored, in order; it must not change it. */
  readonly onStored?: (stream: StreamName, message: BusMessage) => void;
  /** A sequence that was there and is not any more. */
  readonly onForgotten?: (stream: StreamName, sequence: number) => void;
}

export interface ConnectionOptions {
  readonly life: Life;
  readonly principal: BusPrincipal;
  /** The life's own clock: its timers die with it. */
  readonly clock: BusClock;
  readonly limits?: Partial<PublisherLimits>;
  readonly onTrouble?: (error: BusError) => void;
}

/** What somebody on the wire saw go by and the server does not keep. */
export interface Overheard {
  readonly subject: string;
  readonly data: Uint8Array;
}

export type Ways = Direction | 'both';

/** Ends what was done, the first time that it is called. */
export type Heal = () => void;

/** What is imposed on an agent's ways, and what they are by it. */
interface ImposedWays {
  readonly conditions: AgentConditions;
  readonly imposed: Record<Direction, Partial<Conditions>[]>;
}

const overheardMax = 64;

export class SimulatedNetwork {
  readonly broker: MemoryBroker;
  readonly subjects: Subjects;
  readonly #options: NetworkOptions;
  readonly #ways = new Map<string, ImposedWays>();
  readonly #links = new Map<string, Set<SimulatedLink>>();
  readonly #names = new Map<string, string>();
  readonly #overheard: Overheard[] = [];
  readonly #full = new Map<StreamName, number>();
  readonly #listeners = new Set<(subject: string) => void>();
  #absences = 0;

  constructor(options: NetworkOptions) {
    const { plan, time, trace, onStored } = options;
    this.#options = options;
    this.subjects = subjectsOf(plan.mesh);
    const serverClock: BusClock = {
      nowMs: () => Math.floor(time.nowMs()),
      monotonicMs: () => time.monotonicMs(),
      after: (delayMs, run) => time.after(delayMs, run),
    };
    const stored = (stream: StreamName, message: BusMessage): void => {
      const { subject, sequence, messageId, data } = message;
      const id = messageId.slice(0, 16);
      trace.note('stored', { stream, sequence, subject, id, bytes: data.length });
      onStored?.(stream, message);
      for (const hear of this.#listeners) hear(subject);
    };
    // What receives an event copies it before it looks inside (`parseFrame`).
    this.broker = new MemoryBroker(plan, serverClock, { onStored: stored, sharesBytes: true });
  }

  /** The bus of one life: the production client over a connection with faults. */
  connect({ life, principal, clock, limits, onTrouble }: ConnectionOptions): Bus {
    const { time, trace, crashes } = this.#options;
    const { agentId, number } = life;
    const draws = this.#options.draws.fork(`connection of ${agentId} in life ${number}`);
    const letters = draws.fork('dead letters');
    const links = this.#linksOf(agentId);
    const link = new SimulatedLink({
      life,
      clock,
      broker: this.broker,
      time,
      draws,
      trace,
      crashes,
      conditions: this.conditionsOf(agentId),
      nameOf: (subject) => this.#nameOf(subject),
      refusal: (traffic) => this.#refusal(traffic),
      onGone: () => links.delete(link),
    });
    links.add(link);
    const bus = new MemoryBus(this.broker, {
      principal,
      link,
      newMessageId: () => toHex(letters.bytes(16)),
      onTrouble: (error) => {
        trace.note('trouble', { agent: agentId, life: number, code: error.code });
        onTrouble?.(error);
      },
      ...(limits === undefined ? {} : { limits }),
    });
    link.carry(bus);
    return bus;
  }

  /** What is the matter with an agent's ways now, in all its lives. */
  conditionsOf(agentId: string): AgentConditions {
    return this.#waysOf(agentId).conditions;
  }

  /** `up`: the agent is not heard; `down`: it hears nothing. Until the result is called. */
  cut(agentId: string, ways: Ways = 'both'): Heal {
    this.#options.trace.note('cut', { agent: agentId, ways });
    const heal = this.#impose(agentId, ways, { isCut: true });
    return once(() => {
      this.#options.trace.note('mended', { agent: agentId, ways });
      heal();
    });
  }

  /** Delays, losses, repetitions, another order. The last that came and is not healed counts. */
  disturb(agentId: string, ways: Ways, conditions: Partial<Omit<Conditions, 'isCut'>>): Heal {
    return once(this.#impose(agentId, ways, conditions));
  }

  /** All ways are fair again, the server is up and has room. */
  calm(): void {
    this.#full.clear();
    this.#listeners.clear();
    for (const agentId of this.#ways.keys()) {
      const { imposed } = this.#waysOf(agentId);
      imposed.up.length = 0;
      imposed.down.length = 0;
      this.#conditionsChanged(agentId);
    }
    this.#absences = 0;
    if (!this.broker.up.open) this.#startServer();
  }

  /** Its connections end; it connects again. */
  breakConnections(agentId: string): void {
    this.#options.trace.note('broken', { agent: agentId });
    for (const link of this.#linksOf(agentId)) link.breakConnection();
  }

  /**
   * The server is away until the result is called. Streams and durables are then as they were; of tokens
   * it knows those of messages that are there.
   */
  stopServer(): Heal {
    this.#absences += 1;
    if (this.broker.up.open) this.#stopServer();
    return once(() => {
      if (this.#absences === 0) return;
      this.#absences -= 1;
      if (this.#absences === 0) this.#startServer();
    });
  }

  /** Damage: the newest or the oldest acknowledged messages of a stream are gone, their sequences too. */
  forget(stream: StreamName, which: 'newest' | 'oldest', count: number): void {
    const { firstSequence, lastSequence } = this.broker.stream(stream).state();
    this.#options.trace.note('forgotten by the server', { stream, which, count, lastSequence });
    const from = which === 'newest' ? lastSequence - count + 1 : firstSequence;
    const to = which === 'newest' ? lastSequence : firstSequence + count - 1;
    const lost = this.#there(stream, from, to);
    this.broker.lose(stream, from, to);
    this.#tellForgotten(stream, lost);
  }

  /** Calls `run` so long after the next message on a subject of one of these kinds, once, unless told not to. */
  afterNext(kinds: ReadonlySet<string>, delayMs: number, run: () => void): Heal {
    const hear = (subject: string): void => {
      const kind = this.subjects.parse(subject)?.kind;
      if (kind === undefined || !kinds.has(kind)) return;
      this.#listeners.delete(hear);
      this.#options.time.after(delayMs, run);
    };
    this.#listeners.add(hear);
    return () => this.#listeners.delete(hear);
  }

  /** The server comes back at once from a copy in which `lastSequence` was the last: sequences repeat. */
  rollBack(stream: StreamName, lastSequence: number): void {
    this.#options.trace.note('rolled back', { stream, lastSequence });
    const lost = this.#there(
      stream,
      lastSequence + 1,
      this.broker.stream(stream).state().lastSequence,
    );
    const start = this.stopServer();
    this.broker.rollBack(stream, lastSequence);
    this.#tellForgotten(stream, lost);
    start();
  }

  #there(name: StreamName, from: number, to: number): number[] {
    const stream = this.broker.stream(name);
    const count = Math.max(0, to - from + 1);
    const all = Array.from({ length: count }, (_, index) => from + index);
    return all.filter((sequence) => stream.get(sequence) !== null);
  }

  #tellForgotten(stream: StreamName, sequences: readonly number[]): void {
    for (const sequence of sequences) this.#options.onForgotten?.(stream, sequence);
  }

  /** The server has no room in a stream, until the result is called. */
  fill(stream: StreamName): Heal {
    this.#options.trace.note('full', { stream });
    this.#full.set(stream, (this.#full.get(stream) ?? 0) + 1);
    return once(() => {
      const count = this.#full.get(stream) ?? 0;
      if (count <= 1) this.#full.delete(stream);
      else this.#full.set(stream, count - 1);
    });
  }

  /** Requests that went by, oldest first, at most 64. */
  overheard(): readonly Overheard[] {
    return this.#overheard;
  }

  /** Remembers what went by. */
  overhear(one: Overheard): void {
    this.#overheard.push(one);
    if (this.#overheard.length > overheardMax) this.#overheard.shift();
  }

  #impose(agentId: string, ways: Ways, conditions: Partial<Conditions>): Heal {
    const { imposed } = this.#waysOf(agentId);
    for (const way of directionsOf(ways)) imposed[way].push(conditions);
    this.#conditionsChanged(agentId);
    return () => {
      for (const way of directionsOf(ways)) {
        const at = imposed[way].indexOf(conditions);
        if (at >= 0) imposed[way].splice(at, 1);
      }
      this.#conditionsChanged(agentId);
    };
  }

  #conditionsChanged(agentId: string): void {
    const { conditions, imposed } = this.#waysOf(agentId);
    for (const way of directionsOf('both')) {
      Object.assign(conditions[way], fairConditions(), ...imposed[way]);
    }
    for (const link of this.#linksOf(agentId)) link.conditionsChanged();
  }

  #waysOf(agentId: string): ImposedWays {
    const known = this.#ways.get(agentId);
    if (known !== undefined) return known;
    const ways: ImposedWays = {
      conditions: { up: fairConditions(), down: fairConditions() },
      imposed: { up: [], down: [] },
    };
    this.#ways.set(agentId, ways);
    return ways;
  }

  #stopServer(): void {
    this.#options.trace.note('server down', {});
    this.broker.stop();
    this.#serverChanged();
  }

  #startServer(): void {
    this.#options.trace.note('server up', {});
    this.broker.start();
    this.#serverChanged();
  }

  #serverChanged(): void {
    for (const links of this.#links.values()) {
      for (const link of links) link.conditionsChanged();
    }
  }

  #linksOf(agentId: string): Set<SimulatedLink> {
    const known = this.#links.get(agentId);
    if (known !== undefined) return known;
    const links = new Set<SimulatedLink>();
    this.#links.set(agentId, links);
    return links;
  }

  #nameOf(subject: string): string {
    const known = this.#names.get(subject);
    if (known !== undefined) return known;
    const name = this.subjects.parse(subject)?.kind ?? 'bucket';
    this.#names.set(subject, name);
    return name;
  }

  /** What arrives at the server passes here first. */
  #refusal({ kind, subject, data }: Traffic): BusError | undefined {
    if (kind === 'request') this.overhear({ subject, data });
    if (kind !== 'publish' || this.#full.size === 0) return undefined;
    const stream = streamOf(this.subjects, subject);
    if (stream === null || !this.#full.has(stream)) return undefined;
    return new BusError('BUS_FULL', 'the bus has no room');
  }
}

function directionsOf(ways: Ways): readonly Direction[] {
  return ways === 'both' ? ['up', 'down'] : [ways];
}

function once(run: () => void): Heal {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    run();
  };
}
