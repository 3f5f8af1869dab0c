/**
 * What an agent does with events, as an interface: seal, send, open, ask, answer. `Principal`
 * implements it over a bus; every agent is written against it.
 */

import type { EventBody, EventTypeName } from '#schemas/events.ts';
import type { OrchCode, RefusalCode } from '#schemas/errors.ts';
import type { Disclosure, Header } from '#schemas/frame.ts';
import type { Query } from '#schemas/queries.ts';
import type { BusMessage } from '#shared/bus/bus.ts';
import type { Enrolled } from '#shared/crypto/trust.ts';

export interface OutgoingEvent<Name extends EventTypeName = EventTypeName> {
  readonly type: Name;
  readonly subject: string;
  readonly channel: string;
  /** An agent id, or the channel itself (the default). */
  readonly audience?: string;
  readonly body: EventBody<Name>;
}

export interface SealedEvent {
  /** Statement hash, 64 hexadecimal characters: message id, chain link and name of the event. */
  readonly hash: string;
  readonly subject: string;
  readonly frame: Uint8Array;
  readonly disclosure: Disclosure;
}

export interface PublishedEvent extends SealedEvent {
  /** Where the stream has it. */
  readonly sequence: number;
}

/** An event that passed every check of the receiver. */
export interface ReceivedEvent<Name extends EventTypeName = EventTypeName> {
  readonly hash: string;
  readonly type: Name;
  readonly header: Header;
  readonly sender: Enrolled;
  readonly body: EventBody<Name>;
  readonly disclosure: Disclosure;
  readonly frame: Uint8Array;
  /** Stream sequence of the message it came in; 0 on the query lane. */
  readonly sequence: number;
  /** Set where the auditor put the event back: the hash of the `event-restored` event. */
  readonly restoredBy?: string;
}

export type AnyReceivedEvent = { [Name in EventTypeName]: ReceivedEvent<Name> }[EventTypeName];

export type Opening =
  | { readonly status: 'opened'; readonly event: AnyReceivedEvent }
  /** The same message once more, by the bus's own redelivery. */
  | { readonly status: 'redelivered'; readonly event: AnyReceivedEvent }
  | { readonly status: 'refused'; readonly code: RefusalCode };

export type AppendOutcome =
  | { readonly status: 'stored'; readonly sequence: number; readonly event: SealedEvent }
  | { readonly status: 'conflict'; readonly lastSequence: number };

export type Answer =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly code: OrchCode; readonly reason: string };

export interface Exchange {
  readonly agentId: string;
  /** Seals one event; durable only once somebody stores it. Advances the chain. */
  seal<Name extends EventTypeName>(event: OutgoingEvent<Name>): SealedEvent;
  /**
   * Draws a new incarnation. For when a sealed event was not stored after all: the next one must not
   * link to what nobody will ever see.
   */
  renew(): void;
  /** Seals and publishes now, outside the outbox: for what its sender can derive again. */
  publish<Name extends EventTypeName>(event: OutgoingEvent<Name>): Promise<PublishedEvent>;
  /** Appends to a subject's log if nothing was appended since `lastSequence` (0: empty). */
  append<Name extends EventTypeName>(
    event: OutgoingEvent<Name>,
    lastSequence: number,
  ): Promise<AppendOutcome>;
  /** Checks and opens what came from the bus; refusals are logged and counted here. */
  open(message: BusMessage): Opening;
  /**
   * Opens a frame out of an auditor's record: signature, sender and content, but neither time nor
   * replay, because a record is history. Undefined for what is not authentic. `kept`: salt and body
   * out of the record, for what was sealed under an epoch that is over.
   */
  openRecord(
    frame: Uint8Array,
    kept?: { readonly salt: Uint8Array; readonly body: Uint8Array },
  ): AnyReceivedEvent | undefined;
  /** Asks one agent over the query lane. @throws BusError when there is no answer in time. */
  ask(to: { agentId: string; channel: string }, query: Query, timeoutMs: number): Promise<Answer>;
  /** Answers the queries addressed to this agent. */
  answer(handler: (query: Query, asker: Enrolled) => Promise<Answer>): Promise<void>;
  /** Learns of documents that the mesh adopted and this agent did not. Never throws for want of the bus. */
  catchUp(): Promise<void>;
  /** Refused events since the start, by code. */
  refusals(): Readonly<Partial<Record<RefusalCode, number>>>;
}
