/**
 * One direction of one connection between an agent and the bus. What is sent arrives later, in the order
 * in which it was sent, as over TCP; the world may make it slow, lose, repeat and reorder some of it, or
 * cut the way. What is sent over a way that is cut waits for as long as the connection lasts, and arrives
 * when the cut is mended in time: late, and long after its sender gave it up.
 */

import type { Traffic, TrafficKind } from '#shared/bus/memory-link.ts';
import type { Draws, Trace, WorldTime } from './model.ts';

export type Direction = 'up' | 'down';

/** What is the matter with one way. */
export interface Conditions {
  /** Nothing gets through. */
  isCut: boolean;
  delayMs: { readonly least: number; readonly most: number };
  /** Now and then something takes this much longer. */
  spike: { readonly chance: number; readonly mostMs: number };
  /** How often something gets lost, of all kinds or of each. */
  loss: number | Readonly<Partial<Record<TrafficKind, number>>>;
  /** How often something arrives a second time. */
  repetition: number;
  /** What was sent later may arrive earlier; followed streams stay in order. */
  isReordered: boolean;
}

export function fairConditions(): Conditions {
  return {
    isCut: false,
    delayMs: { least: 0.2, most: 2 },
    spike: { chance: 0, mostMs: 0 },
    loss: 0,
    repetition: 0,
    isReordered: false,
  };
}

export interface Parcel {
  readonly traffic: Traffic;
  readonly arrive: () => void;
  /** It will never arrive, and the receiver can come to know. */
  readonly lost: () => void;
}

export interface WayOptions {
  readonly agentId: string;
  readonly direction: Direction;
  readonly time: WorldTime;
  readonly draws: Draws;
  readonly trace: Trace;
  /** As they are at the moment; they change while things are under way. */
  readonly conditions: Conditions;
  /** Whether what was under way when its sender died still arrives. */
  readonly survives: () => boolean;
}

interface Shipment {
  readonly atMs: number;
  readonly connection: number;
  readonly parcels: Parcel[];
}

/** What follows a stream is numbered by the server: a part out of order is not taken. */
const orderedKinds: ReadonlySet<TrafficKind> = new Set(['followed', 'subscribe']);

/** Arrivals that say something: the others are bookkeeping of the bus, and half of all lines. */
const notedKinds: ReadonlySet<TrafficKind> = new Set([
  'delivery',
  'followed',
  'asked',
  'request',
  'answer',
  'put',
]);

export class Way {
  readonly #options: WayOptions;
  readonly #held: Parcel[] = [];
  #connection = 0;
  #lastMs = 0;
  #shipment: Shipment | undefined;

  constructor(options: WayOptions) {
    this.#options = options;
  }

  send(parcel: Parcel): void {
    const { conditions, draws } = this.#options;
    const { kind } = parcel.traffic;
    const { loss } = conditions;
    const lossChance = typeof loss === 'number' ? loss : (loss[kind] ?? 0);
    if (lossChance > 0 && draws.chance(lossChance)) {
      this.#note('lost', parcel);
      parcel.lost();
      return;
    }
    if (conditions.isCut) this.#hold(parcel);
    else this.#ship(parcel, this.#delayMs());
    if (conditions.repetition > 0 && draws.chance(conditions.repetition)) {
      this.#note('repeated', parcel);
      const { traffic, arrive } = parcel;
      const again = { traffic, arrive, lost: () => undefined };
      this.#ship(again, this.#delayMs() + draws.between(1, 50));
    }
  }

  /** The connection is gone, and with it whatever was under way. */
  reset(): void {
    this.#connection += 1;
    this.#shipment = undefined;
    this.#lastMs = 0;
    for (const parcel of this.#held.splice(0)) this.#lose(parcel);
  }

  /** The way is not cut any more: what waited goes on. */
  release(): void {
    for (const parcel of this.#held.splice(0)) this.#ship(parcel, this.#delayMs());
  }

  #hold(parcel: Parcel): void {
    this.#note('held', parcel);
    this.#held.push(parcel);
  }

  #lose(parcel: Parcel): void {
    this.#note('lost', parcel);
    parcel.lost();
  }

  #delayMs(): number {
    const { conditions, draws } = this.#options;
    const { least, most } = conditions.delayMs;
    const { chance, mostMs } = conditions.spike;
    const delayMs = least + draws.fraction() * (most - least);
    if (chance === 0 || !draws.chance(chance)) return delayMs;
    return delayMs + draws.fraction() * mostMs;
  }

  #ship(parcel: Parcel, delayMs: number): void {
    const { time, conditions } = this.#options;
    const dueMs = time.monotonicMs() + delayMs;
    if (conditions.isReordered && !orderedKinds.has(parcel.traffic.kind)) {
      this.#schedule({ atMs: dueMs, connection: this.#connection, parcels: [parcel] });
      return;
    }
    // Nothing overtakes: what would arrive earlier arrives together with what is ahead of it.
    if (this.#shipment !== undefined && dueMs <= this.#lastMs) {
      this.#shipment.parcels.push(parcel);
      return;
    }
    this.#lastMs = Math.max(dueMs, this.#lastMs);
    this.#shipment = { atMs: this.#lastMs, connection: this.#connection, parcels: [parcel] };
    this.#schedule(this.#shipment);
  }

  #schedule(shipment: Shipment): void {
    const { time } = this.#options;
    time.after(shipment.atMs - time.monotonicMs(), () => this.#arrive(shipment));
  }

  #arrive(shipment: Shipment): void {
    if (this.#shipment === shipment) this.#shipment = undefined;
    const { agentId, direction, trace, conditions, survives } = this.#options;
    const { parcels, connection } = shipment;
    const last = parcels.at(-1);
    if (last === undefined) return;
    const { kind, subject } = last.traffic;
    if (notedKinds.has(kind)) {
      trace.note('arrives', {
        agent: agentId,
        way: direction,
        count: parcels.length,
        kind,
        subject,
      });
    }
    for (const parcel of parcels) {
      if (connection !== this.#connection || !survives()) this.#lose(parcel);
      else if (conditions.isCut) this.#hold(parcel);
      else parcel.arrive();
    }
  }

  #note(what: string, { traffic: { kind, subject } }: Parcel): void {
    const { agentId, direction, trace } = this.#options;
    trace.note(what, { agent: agentId, way: direction, kind, subject });
  }
}
