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
  SealedEvent,
} from './exchange.ts';
import type { Clock, Log } from './ports.ts';
import { Receiver } from './receiver.ts';

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
}

const queryCheck = compile(Query);

export class Principal implements Exchange {
  readonly agentId: string;
  readonly #options: PrincipalOptions;
  readonly #receiver: Receiver;
  readonly #subjects: Subjects;
  readonly #registryDigest: Uint8Array;
  readonly #policyDigest: Uint8Array;
  readonly #turns = new Map<string, Promise<unknown>>();
  #chain: SenderChain;

  constructor(options: PrincipalOptions) {
    this.agentId = options.agentId;
    this.#options = options;
    this.#receiver = new Receiver(options);
    this.#subjects = subjectsOf(options.trust.mesh);
    this.#registryDigest = fromHex(options.trust.registryDigest) ?? new Uint8Array(32);
    this.#policyDigest = fromHex(options.trust.policyDigest) ?? new Uint8Array(32);
    this.#chain = this.#newChain();
  }

  refusals(): Readonly<Partial<Record<RefusalCode, number>>> {
    return this.#receiver.refusals();
  }

  open(message: BusMessage): Opening {
    const opening = this.#receiver.open(message);
    if (opening.status === 'refused') {
      this.#options.log.warn(
        { code: opening.code, subject: message.subject, sequence: message.sequence },
        'event refused',
      );
    }
    return opening;
  }

  openRecord(frame: Uint8Array): AnyReceivedEvent | undefined {
    return this.#receiver.openRecord(frame);
  }

  seal<Name extends EventTypeName>(event: OutgoingEvent<Name>): SealedEvent {
    const pending = this.#seal(event);
    pending.accepted();
    return sealedFrom(event.subject, pending);
  }

  renew(): void {
    this.#chain = this.#newChain();
  }

  publish<Name extends EventTypeName>(event: OutgoingEvent<Name>): Promise<SealedEvent> {
    return this.#inTurn(event, async () => {
      const pending = this.#seal(event);
      await this.#store(event.subject, pending, undefined);
      pending.accepted();
      return sealedFrom(event.subject, pending);
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
        pending.refused();
        return outcome;
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
    const subject = this.#subjects.query(this.agentId);
    const opening = this.#receiver.open({ subject, data: reply, sequence: 0 });
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
      const opening = this.open({ ...queryMessage, subject, data });
      if (opening.status !== 'opened' || opening.event.type !== 'query-asked') return null;
      const { sender, header, body } = opening.event;
      const decoded = decodeCanonical(body.query, { floats: true });
      const answer: Answer =
        decoded.ok && queryCheck.check(decoded.value)
          ? await handler(decoded.value, sender)
          : { ok: false, code: 'ORCH-8012', reason: 'the query is not one that this agent knows' };
      return this.seal({
        type: 'query-answered',
        subject: this.#subjects.query(sender.agentId),
        channel: header.channel,
        audience: sender.agentId,
        body: { queryId: body.queryId, ...answerBody(answer) },
      }).frame;
    });
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
      registryDigest: this.#registryDigest,
      policyVersion: trust.policy.version,
      policyDigest: this.#policyDigest,
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
    const audience = event.audience ?? event.channel;
    const turn = (this.#turns.get(audience) ?? Promise.resolve()).then(run, run);
    this.#turns.set(
      audience,
      turn.then(
        () => undefined,
        () => undefined,
      ),
    );
    return turn;
  }
}

const queryMessage = { messageId: '', sequence: 0, deliveryCount: 1, timeMs: 0 } as const;

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
