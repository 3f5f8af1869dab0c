/**
 * What a receiver refuses, in one place and one order: structure, address, sender, entitlement, time,
 * signature, key, content, schema, documents in force, replay. Each refusal has its own code, is counted, changes nothing
 * and is never answered (invariant 12). Verification runs over the received bytes.
 */

import type { RefusalCode } from '#schemas/errors.ts';
import { eventTypes, isEventType, type EventTypeName } from '#schemas/events.ts';
import type { Header } from '#schemas/frame.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import {
  entitlementMisfit,
  misfitsOfDocuments,
  type AnnouncedEvent,
  type InForce,
} from '#shared/core/entitlement.ts';
import { decodeBody, isContentOf } from '#shared/crypto/audit-event.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import {
  disclose,
  openFrame,
  parseFrame,
  verifyFrame,
  type ParsedFrame,
} from '#shared/crypto/envelope.ts';
import type { ChannelKeyring } from '#shared/crypto/keyring.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { inForceLive } from '#shared/crypto/trust-in-force.ts';
import type { Enrolled, TrustView } from '#shared/crypto/trust.ts';
import type { AnyReceivedEvent, Opening } from './exchange.ts';
import type { Clock } from './ports.ts';
import { ReplayWindow } from './replay-window.ts';

export interface ReceiverOptions {
  readonly agentId: string;
  readonly crypto: CryptoProvider;
  readonly trust: TrustView;
  readonly keyring: ChannelKeyring;
  readonly clock: Clock;
  /** An auditor reads what is addressed to others too. */
  readonly observesAll?: boolean;
  /** Whether a sender offered a bad document and is not heard on anything new for now. */
  readonly isLockedOut?: (agentId: string) => boolean;
}

/** How strictly to look at one delivery. */
export interface OpenRules {
  /** Whatever registry and policy the header names: for how one learns of newer ones. */
  readonly anyDocuments?: boolean;
}

/** What asks for something new: not heard of a sender that is locked out. */
const asksForNew: ReadonlySet<string> = new Set<EventTypeName>([
  'document-offered',
  'prekeys-published',
  'rotation-requested',
  'plan-approved',
  'execution-requested',
  'rollback-requested',
  'recovery-requested',
  'recovery-approved',
  'epoch-rotation-requested',
  'healing-action-requested',
  'negotiation-requested',
  'negotiation-opened',
  'algorithms-advertised',
  'negotiation-confirmed',
  'negotiation-failed',
]);

export interface Delivery {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly sequence: number;
}

export class Receiver {
  readonly #options: ReceiverOptions;
  readonly #inForce: InForce;
  readonly #window = new ReplayWindow();
  readonly #refusals: Partial<Record<RefusalCode, number>> = {};

  constructor(options: ReceiverOptions) {
    this.#options = options;
    const { trust } = options;
    const subjects = subjectsOf(trust.mesh);
    this.#inForce = inForceLive(trust, (subject) => subjects.parse(subject), options.clock);
  }

  refusals(): Readonly<Partial<Record<RefusalCode, number>>> {
    return this.#refusals;
  }

  open(delivery: Delivery, rules: OpenRules = {}): Opening {
    const opening = this.#open(delivery, undefined, rules);
    // Who is behind looks again: that is no fault of the event's.
    if (opening.status === 'refused' && opening.code !== 'TRUST_BEHIND') {
      this.#refusals[opening.code] = (this.#refusals[opening.code] ?? 0) + 1;
    }
    return opening;
  }

  /**
   * Opens history: no check of time, address or replay. `kept`: salt and body as an auditor kept them,
   * for when the epoch is over; they must be what the signed digest stands for.
   */
  openRecord(
    frame: Uint8Array,
    kept?: { readonly salt: Uint8Array; readonly body: Uint8Array },
  ): AnyReceivedEvent | undefined {
    const parsed = parseFrame(frame);
    if (!parsed.ok) return undefined;
    const sender = this.#options.trust.agent(parsed.frame.header.sender);
    if (sender === undefined) return undefined;
    const from = { sequence: 0, restoredBy: undefined, kept };
    const opening = this.#content(parsed.frame, sender, from);
    return opening.status === 'opened' ? opening.event : undefined;
  }

  #open(delivery: Delivery, restoredBy: string | undefined, rules: OpenRules): Opening {
    const parsed = parseFrame(delivery.data);
    if (!parsed.ok) return refused(parsed.code);
    const { header } = parsed.frame;
    const sender = this.#options.trust.agent(header.sender);
    if (sender === undefined) return refused('SENDER_UNKNOWN');
    const misfit = this.#misfit(header, sender, { subject: delivery.subject, rules });
    // Only who signed may say that there are newer documents than are known here.
    if (misfit !== undefined && misfit !== 'TRUST_BEHIND') return refused(misfit);
    const opened = this.#content(parsed.frame, sender, { ...delivery, restoredBy });
    if (opened.status === 'refused') return opened;
    if (misfit !== undefined) return refused(misfit);
    const chain = `${header.sender}/${toHex(header.incarnation)}/${header.audience}/${header.lane}`;
    const sighting = this.#window.note({
      chain,
      counter: header.counter,
      sequence: delivery.sequence,
      hash: opened.event.hash,
    });
    // What the auditor puts back may have been seen before; it is the same event, not a replay.
    const known = restoredBy === undefined ? 'replayed' : 'never';
    if (sighting === known) return refused('EVENT_REPLAYED');
    const event = opened.event;
    if (event.type === 'event-restored') {
      const inner = { ...delivery, data: event.body.frame };
      return restoredBy === undefined
        ? this.#open(inner, event.hash, rules)
        : refused('FRAME_MALFORMED');
    }
    return sighting === 'new' ? { status: 'opened', event } : { status: 'redelivered', event };
  }

  #content(
    frame: ParsedFrame,
    sender: Enrolled,
    from: {
      readonly sequence: number;
      readonly restoredBy: string | undefined;
      readonly kept?: { readonly salt: Uint8Array; readonly body: Uint8Array } | undefined;
    },
  ): Opening {
    const { crypto, keyring } = this.#options;
    const { header } = frame;
    if (!isEventType(header.type)) return refused('TYPE_UNKNOWN');
    const verified = verifyFrame(crypto, frame, sender.verifyKey);
    if (!verified.ok) return refused(verified.code);
    const secret = keyring.secretOf({ channel: header.channel, epoch: header.epoch });
    if (secret === undefined && from.kept === undefined) return refused('EPOCH_UNKNOWN');
    const opened =
      secret === undefined ? this.#kept(frame, from.kept) : openFrame(crypto, frame, secret);
    if (!opened.ok) return refused(opened.code);
    if (!eventTypes[header.type].body.check(opened.body)) return refused('BODY_MALFORMED');
    const event = {
      hash: verified.messageId,
      type: header.type,
      header,
      sender,
      body: opened.body,
      disclosure: disclose(crypto, frame, opened),
      frame: frame.bytes,
      sequence: from.sequence,
      ...(from.restoredBy === undefined ? {} : { restoredBy: from.restoredBy }),
    } as unknown as AnyReceivedEvent;
    return { status: 'opened', event };
  }

  #kept(
    frame: ParsedFrame,
    kept: { readonly salt: Uint8Array; readonly body: Uint8Array } | undefined,
  ): ReturnType<typeof openFrame> {
    const { crypto } = this.#options;
    if (kept === undefined || !isContentOf(crypto, frame, kept)) {
      return { ok: false, code: 'DIGEST_MISMATCH' };
    }
    const body = decodeBody(kept.body);
    if (body === undefined) return { ok: false, code: 'BODY_MALFORMED' };
    return { ok: true, body, salt: kept.salt, bodyBytes: kept.body };
  }

  /** What the header may not say, apart from everything that only the content or a key can show. */
  #misfit(
    header: Header,
    sender: Enrolled,
    { subject, rules }: { readonly subject: string; readonly rules: OpenRules },
  ): RefusalCode | undefined {
    if (header.subject !== subject) return 'SUBJECT_MISMATCH';
    // Offered documents carry their own signatures, and are how one comes to know of newer ones.
    const anyDocuments = rules.anyDocuments === true || header.type === 'document-offered';
    const misfit = entitlementMisfit(announcedBy(header), sender, this.#inForce);
    const isOfDocuments = misfit !== undefined && misfitsOfDocuments.has(misfit);
    if (misfit !== undefined && !isOfDocuments) return misfit;
    if (sender.revokedAtMs !== undefined) return 'SENDER_REVOKED';
    const { agentId, observesAll, clock, isLockedOut } = this.#options;
    if (asksForNew.has(header.type) && isLockedOut?.(sender.agentId) === true) {
      return 'SENDER_LOCKED_OUT';
    }
    const addressed = header.audience === agentId || header.audience === header.channel;
    if (!addressed && observesAll !== true) return 'AUDIENCE_MISMATCH';
    const nowMs = clock.nowMs();
    const skewMs = this.#inForce.clockSkewMs;
    if (header.timeMs > nowMs + skewMs) return 'TIME_OUT_OF_RANGE';
    if (header.expiresMs + skewMs < nowMs) return 'EVENT_EXPIRED';
    return anyDocuments ? undefined : misfit;
  }
}

function announcedBy(header: Header): AnnouncedEvent {
  const policyDigest = toHex(header.policyDigest);
  return { ...header, policyDigest, registryDigest: toHex(header.registryDigest) };
}

function refused(code: RefusalCode): Opening {
  return { status: 'refused', code };
}
