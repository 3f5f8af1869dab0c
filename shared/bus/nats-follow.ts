/**
 * Following a stream over NATS: an ephemeral consumer that is made anew, at the last message received,
 * whenever its deliveries show a gap, it falls silent, or the connection was lost, and about once a
 * minute while nothing comes. Where that message is not there any more the stream went back, and is
 * followed from further back (`follow-place.ts`). The consumer's name is one of the few that the
 * agent's permissions list.
 */
import type { BusMessage, FollowOptions, StreamName } from './bus.ts';
import { BusError, checkFollowOptions } from './bus.ts';
import { SubscriptionLife } from './delivery.ts';
import { FollowPlace } from './follow-place.ts';
import { apiCodes, apiFault, translate } from './nats-errors.ts';
import { isRecord, nanos } from './nats-link.ts';
import type { NatsLink } from './nats-link.ts';
import { Pull } from './nats-pull.ts';
import type { Delivered } from './nats-messages.ts';
import { followConsumerName, followSlotsMax, jetstreamSubjects } from './subjects.ts';
import { sleep } from './timers.ts';

type Handler = (message: BusMessage) => void | Promise<void>;

const batch = 256;
const inactiveMs = 5 * 60_000;
const pauseMsMin = 50;
const pauseMsMax = 2_000;
/** Pull requests of ten seconds that may end without a message before the place is looked at again. */
const quietPullsMax = 6;

/** The follow slots of one connection. */
export class Followers {
  readonly #link: NatsLink;
  readonly #agentId: string;
  readonly #taken = new Set<string>();

  constructor(link: NatsLink, agentId: string) {
    this.#link = link;
    this.#agentId = agentId;
  }

  async follow(options: FollowOptions, handler: Handler): Promise<SubscriptionLife> {
    checkFollowOptions(options);
    const consumer = this.#take(options.stream);
    const release = (): void => {
      this.#taken.delete(`${options.stream}/${consumer}`);
    };
    const follower = new Follower(this.#link, this.#agentId, consumer, options, handler, release);
    await follower.start();
    return follower.life;
  }

  #take(stream: StreamName): string {
    for (let slot = 0; slot < followSlotsMax; slot++) {
      const consumer = followConsumerName(this.#agentId, slot);
      const key = `${stream}/${consumer}`;
      if (this.#taken.has(key)) continue;
      this.#taken.add(key);
      return consumer;
    }
    throw new BusError('BUS_FULL', `already following ${stream} ${followSlotsMax} times`);
  }
}

class Follower {
  readonly life: SubscriptionLife;
  readonly #link: NatsLink;
  readonly #agentId: string;
  readonly #consumer: string;
  readonly #options: FollowOptions;
  readonly #handler: Handler;
  readonly #queue: BusMessage[] = [];
  #pull: Pull | null = null;
  readonly #place: FollowPlace;
  #lowest = 1;
  #deliverySequence = 0;
  #quietPulls = 0;
  #working = false;
  #renewing = false;
  #renewAgain = false;

  constructor(
    link: NatsLink,
    agentId: string,
    consumer: string,
    options: FollowOptions,
    handler: Handler,
    release: () => void,
  ) {
    this.#link = link;
    this.#agentId = agentId;
    this.#consumer = consumer;
    this.#options = options;
    this.#handler = handler;
    this.#place = new FollowPlace(options.fromSequence);
    const stopListening = link.gate.onChange((open) => {
      this.#pull?.reset();
      if (open) this.#renew();
    });
    this.life = new SubscriptionLife(() => {
      stopListening();
      this.#pull?.stop();
      this.#queue.length = 0;
      release();
    });
  }

  /** The first consumer; its refusal is the caller's to know. */
  async start(): Promise<void> {
    this.#renewing = true;
    try {
      await this.#link.persistently(() => this.#create());
    } catch (error) {
      await this.life.stop();
      throw translate(error);
    }
    this.#renewing = false;
    this.#open();
  }

  async #create(): Promise<'begun' | 'went-back'> {
    const { stream, subjects } = this.#options;
    const consumer = this.#consumer;
    const gone = await this.#link.api(jetstreamSubjects.consumerDelete(stream, consumer));
    if (!gone.ok && gone.errCode !== apiCodes.consumerNotFound) throw apiFault(gone);
    const [only, ...others] = subjects;
    const filter = others.length === 0 ? only : undefined;
    const from = this.#place.begin();
    const created = await this.#link.api(
      jetstreamSubjects.consumerCreate(stream, consumer, filter),
      {
        stream_name: stream,
        action: 'create',
        config: {
          name: consumer,
          deliver_policy: 'by_start_sequence',
          opt_start_seq: from,
          ack_policy: 'none',
          replay_policy: 'instant',
          inactive_threshold: nanos(inactiveMs),
          mem_storage: true,
          num_replicas: 1,
          ...(filter === undefined ? { filter_subjects: subjects } : { filter_subject: filter }),
        },
      },
    );
    if (!created.ok) throw apiFault(created);
    this.#lowest = from;
    return this.#place.isAnchored && created.value['num_pending'] === 0 ? 'went-back' : 'begun';
  }

  /** Where nothing was received yet there is no message to begin at, and only the end to look at. */
  async #endsBefore(next: number): Promise<boolean> {
    const info = await this.#link.api(jetstreamSubjects.streamInfo(this.#options.stream));
    if (!info.ok) throw apiFault(info);
    const { state } = info.value;
    return isRecord(state) && Number(state['last_seq']) + 1 < next;
  }

  /** Fresh inbox, so that nothing that the former consumer sent can be taken for this one's. */
  #open(): void {
    this.#pull?.stop();
    if (this.life.over) return;
    this.#deliverySequence = 0;
    this.#pull = new Pull(this.#link, {
      stream: this.#options.stream,
      consumer: this.#consumer,
      agentId: this.#agentId,
      onMessage: (delivered) => this.#receive(delivered),
      onEnd: () => this.#ended(),
      onLost: () => this.#renew(),
      onRefused: (error) => this.life.fail(error),
    });
    this.#pull.start();
    this.#ask();
  }

  #renew(): void {
    if (this.life.over) return;
    if (this.#renewing) {
      this.#renewAgain = true;
      return;
    }
    this.#renewing = true;
    this.#pull?.stop();
    this.life.run(
      () => this.#renewed(),
      () => {
        this.#renewing = false;
        const again = this.#renewAgain;
        this.#renewAgain = false;
        if (again) this.#renew();
        else this.#open();
      },
    );
  }

  async #renewed(): Promise<void> {
    let pauseMs = pauseMsMin;
    while (!this.life.over) {
      try {
        if (await this.#link.ready(pauseMsMax)) {
          if (await this.#begun()) return;
          this.#place.stepBack();
          continue;
        }
      } catch (error) {
        const fault = translate(error);
        if (fault.code === 'BUS_CLOSED' || fault.code === 'BUS_DENIED') throw fault;
        this.#link.onTrouble(fault);
      }
      await sleep(this.#link.clock, pauseMs);
      pauseMs = Math.min(2 * pauseMs, pauseMsMax);
    }
  }

  /** Whether the stream is as it was where this begins again. */
  async #begun(): Promise<boolean> {
    this.#place.begin();
    if (!this.#place.isAnchored && this.#place.next > 1) {
      if (await this.#endsBefore(this.#place.next)) return false;
    }
    return (await this.#create()) === 'begun';
  }

  #receive({ message, deliverySequence }: Delivered): void {
    if (deliverySequence !== this.#deliverySequence + 1 || message.sequence < this.#lowest) {
      this.#renew();
      return;
    }
    this.#deliverySequence = deliverySequence;
    this.#lowest = message.sequence + 1;
    this.#quietPulls = 0;
    switch (this.#place.arrived(message)) {
      case 'gone':
        this.#place.stepBack();
        this.#renew();
        return;
      case 'new':
        this.#queue.push(message);
        this.#work();
        break;
      case 'known':
    }
    this.#ask();
  }

  /** A pull request ended in the ordinary way. */
  #ended(): void {
    this.#quietPulls += 1;
    if (this.#quietPulls < quietPullsMax) {
      this.#ask();
      return;
    }
    this.#quietPulls = 0;
    this.#renew();
  }

  #ask(): void {
    if (!this.life.over && this.#queue.length <= batch / 2) this.#pull?.ask(batch);
  }

  #work(): void {
    if (this.#working) return;
    this.#working = true;
    this.life.run(
      async () => {
        for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
          const outcome = this.#handler(next);
          if (outcome !== undefined) await outcome;
          this.#ask();
        }
      },
      () => {
        this.#working = false;
        if (!this.life.over && this.#queue.length > 0) this.#work();
      },
    );
  }
}
