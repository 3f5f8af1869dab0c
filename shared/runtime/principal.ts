/**
 * An enrolled agent on the bus: seals what it says, opens what it hears, asks and answers. One
 * principal has one identity key and one incarnation at a time; when it cannot know whether an event
 * was stored it draws a new incarnation, so that no chain ever forks.
 */

import { answerBytesMax, eventTypes, type EventTypeName } from '#schemas/events.ts';
import { Query } from '#schemas/queries.ts';
import { compile } from '#schemas/primitives.ts';
import type { RefusalCode } from '#schemas/errors.ts';
import { BusError, type Bus, type BusMessage } from '#shared/bus/bus.ts';
import { subjectsOf, type Subjects } from '#shared/bus/subjects.ts';
import { noticesChannel } from '#shared/core/channels.ts';
import { reasonOf } from '#shared/core/reason.ts';
import { fromHex, toHex } from '#shared/crypto/bytes.ts';
import { decodeCanonical, encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { CryptoError } from '#shared/crypto/errors.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import type { ChannelKeyring } from '#shared/crypto/keyring.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { SenderChain, type EventInput, type PendingEvent } from '#shared/crypto/sender-chain.ts';
import type { Enrolled, TrustView } from '#shared/crypto/trust.ts';
import type {
  AnyReceivedEvent,
  Answer,
  AppendOutcome,
  Exchange,
  Opening,
  OutgoingEvent,
  PublishedEvent,
  SealedEvent,
} from './exchange.ts';
import type { Clock, Log } from './ports.ts';
import { Receiver } from './receiver.ts';
import { Turns } from './turns.ts';

export interface PrincipalOptions {
  readonly agentId: string;
  readonly crypto: CryptoProvider;
  readonly trust: TrustView;
  readonly signingKey: SigningKey;
  readonly keyring: ChannelKeyring;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Log;
  readonly observesAll?: boolean;
  readonly isLockedOut?: (agentId: string) => boolean;
  /** Learns of newer documents; what was sealed under them is looked at once more then. */
  readonly catchUp?: () => Promise<void>;
}

const queryCheck = compile(Query);

export class Principal implements Exchange {
  readonly agentId: string;
  readonly #options: PrincipalOptions;
  readonly #receiver: Receiver;
  readonly #subjects: Subjects;
  readonly #turns = new Turns();
  #chain: SenderChain;

  constructor(options: PrincipalOptions) {
    this.agentId = options.agentId;
    this.#options = options;
    this.#receiver = new Receiver(options);
    this.#subjects = subjectsOf(options.trust.mesh);
    this.#chain = this.#newChain();
  }

  refusals(): Readonly<Partial<Record<RefusalCode, number>>> {
    return this.#receiver.refusals();
  }

  open(message: BusMessage): Opening {
    return this.#noted(message, this.#receiver.open(message));
  }

  async catchUp(): Promise<void> {
    await this.#options.catchUp?.();
  }

  openRecord(
    frame: Uint8Array,
    kept?: { readonly salt: Uint8Array; readonly body: Uint8Array },
  ): AnyReceivedEvent | undefined {
    return this.#receiver.openRecord(frame, kept);
  }

  seal<Name extends EventTypeName>(event: OutgoingEvent<Name>): SealedEvent {
    const pending = this.#seal(event);
    pending.accepted();
    return sealedFrom(event.subject, pending);
  }

  renew(): void {
    this.#chain = this.#newChain();
  }

  publish<Name extends EventTypeName>(event: OutgoingEvent<Name>): Promise<PublishedEvent> {
    return this.#inTurn(event, async () => {
      const pending = this.#seal(event);
      const outcome = await this.#store(event.subject, pending, undefined);
      pending.accepted();
      if (outcome.status === 'conflict') throw new Error('assertion: nothing was expected');
      return { ...sealedFrom(event.subject, pending), sequence: outcome.sequence };
    });
  }

  append<Name extends EventTypeName>(
    event: OutgoingEvent<Name>,
    lastSequence: number,
  ): Promise<AppendOutcome> {
    return this.#inTurn(event, async () => {
      const pending = this.#seal(event);
      const outcome = await this.#store(event.subject, pending, lastSequence);
      if (outcome.status === 'conflict') {
        const { status, lastSequence: last, maybeStored = false } = outcome;
        // What was stored, and lost since, may come back: nothing else takes its place in its chain.
        if (maybeStored) this.renew();
        else pending.refused();
        return { status, lastSequence: last };
      }
      pending.accepted();
      const { sequence } = outcome;
      return { status: 'stored', sequence, event: sealedFrom(event.subject, pending) };
    });
  }

  async ask(
    to: { agentId: string; channel: string },
    query: Query,
    timeoutMs: number,
  ): Promise<Answer> {
    const queryId = toHex(this.#options.crypto.randomBytes(16));
    const asked = this.seal({
      type: 'query-asked',
      subject: this.#subjects.query(to.agentId),
      channel: to.channel,
      audience: to.agentId,
      body: { queryId, query: encodeCanonical(query, { floats: true }) },
    });
    const reply = await this.#options.bus.request(asked.subject, asked.frame, timeoutMs);
    const delivery = { subject: this.#subjects.query(this.agentId), data: reply, sequence: 0 };
    const anyDocuments = query.ask === 'trust-documents';
    let opening = this.#receiver.open(delivery, { anyDocuments });
    if (isBehind(opening) && this.#options.catchUp !== undefined) {
      await this.#options.catchUp();
      opening = this.#receiver.open(delivery);
    }
    const event = opening.status === 'opened' ? opening.event : undefined;
    if (
      event?.type !== 'query-answered' ||
      event.body.queryId !== queryId ||
      event.sender.agentId !== to.agentId
    ) {
      throw new BusError('BUS_REJECTED', `the answer of ${to.agentId} is not authentic`);
    }
    const { ok, code, reason, result } = event.body;
    if (!ok) return { ok: false, code: code ?? 'ORCH-8013', reason: reason ?? 'no reason given' };
    const decoded = decodeCanonical(result ?? encodeCanonical(null), { floats: true });
    if (!decoded.ok) throw new BusError('BUS_REJECTED', 'the answer is not canonical');
    return { ok: true, result: decoded.value };
  }

  async answer(handler: (query: Query, asker: Enrolled) => Promise<Answer>): Promise<void> {
    const subject = this.#subjects.query(this.agentId);
    await this.#options.bus.respond(subject, async (data) => {
      const { opening, isDated } = await this.#openQuery({ ...queryMessage, subject, data });
      if (opening.status !== 'opened' || opening.event.type !== 'query-asked') return null;
      const { sender, header, body } = opening.event;
      const decoded = decodeCanonical(body.query, { floats: true });
      const query = decoded.ok && queryCheck.check(decoded.value) ? decoded.value : undefined;
      if (isDated && query?.ask !== 'trust-documents') return null;
      const answer = await answerTo(query, header.channel, (known) => handler(known, sender));
      return this.#sealedAnswer({
        type: 'query-answered',
        subject: this.#subjects.query(sender.agentId),
        channel: header.channel,
        audience: sender.agentId,
        body: { queryId: body.queryId, ...answerBody(answer) },
      });
    });
  }

  /** Null while the channel's new secret is on its way: the asker waits in vain, and asks again. */
  #sealedAnswer(answer: OutgoingEvent<'query-answered'>): Uint8Array | null {
    try {
      return this.seal(answer).frame;
    } catch (error) {
      if (!(error instanceof CryptoError && error.code === 'CHANNEL_UNKNOWN')) throw error;
      this.#options.log.warn({ channel: answer.channel }, 'no secret to answer a query with yet');
      return null;
    }
  }

  /** `isDated`: sealed under documents that are not in force here; good for asking for newer ones. */
  async #openQuery(message: BusMessage): Promise<{ opening: Opening; isDated: boolean }> {
    let opening = this.#receiver.open(message);
    if (isBehind(opening)) {
      await this.#options.catchUp?.();
      opening = this.#receiver.open(message);
    }
    const isDated = isBehind(opening) || isOutdated(opening);
    if (isDated) opening = this.#receiver.open(message, { anyDocuments: true });
    return { opening: this.#noted(message, opening), isDated };
  }

  #noted(message: BusMessage, opening: Opening): Opening {
    if (opening.status === 'refused') {
      this.#options.log.warn(
        { code: opening.code, subject: message.subject, sequence: message.sequence },
        'event refused',
      );
    }
    return opening;
  }

  #seal<Name extends EventTypeName>(event: OutgoingEvent<Name>): PendingEvent {
    const { trust, clock, crypto } = this.#options;
    const type = eventTypes[event.type];
    const timeMs = clock.nowMs();
    const input: EventInput = {
      lane: type.lane,
      audience: event.audience ?? event.channel,
      subject: event.subject,
      channel: event.channel,
      registryVersion: trust.registry.version,
      registryDigest: digestBytes(trust.registryDigest),
      policyVersion: trust.policy.version,
      policyDigest: digestBytes(trust.policyDigest),
      type: event.type,
      schemaVersion: type.schemaVersion,
      timeMs,
      expiresMs: timeMs + type.validMs,
      eventId: toHex(crypto.randomBytes(16)),
      body: event.body,
    };
    if (!type.body.check(event.body)) {
      const errors = type.body.errors(event.body).join('; ');
      throw new Error(`assertion: a ${event.type} of our own is out of its schema: ${errors}`);
    }
    try {
      return this.#chain.seal(input);
    } catch (error) {
      if (!(error instanceof CryptoError && error.code === 'CHANNEL_EXHAUSTED')) throw error;
      this.renew();
      return this.#chain.seal(input);
    }
  }

  async #store(subject: string, pending: PendingEvent, expect: number | undefined) {
    try {
      return await this.#options.bus.publish({
        subject,
        data: pending.frame,
        messageId: pending.messageId,
        ...(expect === undefined ? {} : { expectLastSubjectSequence: expect }),
      });
    } catch (error) {
      // Whether it was stored is unknown: this chain can neither link to it nor step over it.
      this.renew();
      throw error;
    }
  }

  #newChain(): SenderChain {
    const { agentId, crypto, signingKey, keyring } = this.#options;
    return new SenderChain({ crypto, sender: agentId, signingKey, keyring });
  }

  /** One undecided event per chain: the next is sealed when the one before is decided. */
  #inTurn<Result>(event: OutgoingEvent, run: () => Promise<Result>): Promise<Result> {
    return this.#turns.take(event.audience ?? event.channel, run);
  }
}

const queryMessage = { messageId: '', sequence: 0, deliveryCount: 1, timeMs: 0 } as const;

/** What may be asked on a channel whose key anyone can derive. */
const publicQueries: ReadonlySet<string> = new Set(['trust-documents', 'epoch-secrets']);

/** An announcement is public, and needed before the first secret is there; other statements are not. */
function isPublic(query: Query): boolean {
  if (query.ask === 'sign-statement') return query.statement.kind === 'epoch_announcement';
  return publicQueries.has(query.ask);
}

function answerTo(
  query: Query | undefined,
  channel: string,
  handler: (query: Query) => Promise<Answer>,
): Promise<Answer> {
  const refused = (code: 'ORCH-8012' | 'ORCH-8015', reason: string): Promise<Answer> =>
    Promise.resolve({ ok: false, code, reason });
  if (query === undefined) {
    return refused('ORCH-8012', 'the query is not one that this agent knows');
  }
  if (channel === noticesChannel && !isPublic(query)) {
    return refused('ORCH-8015', 'the answer is not for a channel that anyone can read');
  }
  return handler(query);
}

function isBehind(opening: Opening): boolean {
  return opening.status === 'refused' && opening.code === 'TRUST_BEHIND';
}

function isOutdated(opening: Opening): boolean {
  if (opening.status !== 'refused') return false;
  return opening.code === 'POLICY_NOT_IN_FORCE' || opening.code === 'REGISTRY_NOT_IN_FORCE';
}

/** Of the documents in force, a handful in a process's life: every event names two of them. */
const digestsKeptMax = 64;
const digestsKept = new Map<string, Uint8Array>();

function digestBytes(hex: string): Uint8Array {
  const known = digestsKept.get(hex);
  if (known !== undefined) return known;
  const bytes = fromHex(hex);
  if (bytes === undefined) throw new Error('assertion: a digest is hexadecimal');
  if (digestsKept.size >= digestsKeptMax) digestsKept.clear();
  digestsKept.set(hex, bytes);
  return bytes;
}

/** What is asked of an agent decides how long its answer is, and no question may end the agent. */
function answerBody(answer: Answer) {
  if (!answer.ok) return { ok: false, code: answer.code, reason: reasonOf(answer.reason) };
  const result = encodeCanonical(answer.result, { floats: true });
  return result.length <= answerBytesMax
    ? { ok: true, result }
    : { ok: false, code: 'ORCH-8013' as const, reason: 'the answer is too long for one message' };
}

function sealedFrom(subject: string, pending: PendingEvent): SealedEvent {
  const { messageId: hash, frame, disclosure } = pending;
  return { hash, subject, frame, disclosure };
}
