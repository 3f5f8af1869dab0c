/**
 * A negotiation computed again, by public keys alone: from the disclosures that an orchestrator shows,
 * or from the records of an audit. Neither is believed in anything that does not follow.
 */

import { eventTypes } from '#schemas/events.ts';
import type { Disclosure } from '#schemas/frame.ts';
import type { AuditRecord } from '#schemas/queries.ts';
import { mayOfferExpired } from '#shared/core/document-review.ts';
import { NegotiationLog } from '#shared/core/negotiation-log.ts';
import type { NegotiationRules } from '#shared/core/negotiation-state.ts';
import { toHex } from './bytes.ts';
import { disclose, parseFrame, statementHashOf, type ParsedFrame } from './envelope.ts';
import {
  disclosedNegotiationEvent,
  isNegotiationEvent,
  negotiationRules,
} from './negotiation-rules.ts';
import type { CryptoProvider } from './provider.ts';
import type { TrustView } from './trust.ts';

export interface ReplayOptions {
  /** Adopts the documents that records offer: a view of one's own, from genesis. */
  readonly trust: TrustView;
  readonly negotiationId: string;
  /** `negotiation.<id>` of the mesh. */
  readonly subject: string;
}

export class NegotiationReplay {
  readonly log: NegotiationLog;
  readonly #crypto: CryptoProvider;
  readonly #options: ReplayOptions;
  readonly #rules: NegotiationRules;
  readonly #requests = new Set<string>();
  #place = 0;
  #unreadable = 0;

  constructor(crypto: CryptoProvider, options: ReplayOptions) {
    this.#crypto = crypto;
    this.#options = options;
    this.#rules = negotiationRules(crypto, options.trust);
    this.log = new NegotiationLog(options.negotiationId, this.#rules);
  }

  /** Events of the negotiation that the audit does not disclose. */
  get unreadable(): number {
    return this.#unreadable;
  }

  /** Whether the operator's request is itself among the accepted records. */
  get isRequestRecorded(): boolean {
    const request = this.log.state?.request;
    return request !== undefined && this.#requests.has(request);
  }

  /** The next event, in the order of the bus. False where it is not authentic, or of another one. */
  add(disclosure: Disclosure): boolean {
    const disclosed = disclosedNegotiationEvent(this.#options.trust, disclosure);
    if (disclosed === undefined) return false;
    const { event, subject } = disclosed;
    const isOurs = subject === this.#options.subject;
    // A nonce of another negotiation is one that may not come again.
    if (!isOurs && event.type === 'algorithms-advertised') {
      this.#rules.isNonceReused(event.body.nonce, event.hash);
    }
    if (!isOurs) return false;
    this.#place += 1;
    this.log.add(event, this.#place);
    return true;
  }

  /** The next record of an audit. What the auditor refused never happened. */
  addRecord({ verdict, frame: bytes, salt, body }: AuditRecord): void {
    const parsed = parseFrame(bytes);
    if (verdict !== 'accepted' || !parsed.ok) return;
    const { frame } = parsed;
    const { type } = frame.header;
    if (type === 'negotiation-requested') {
      this.#requests.add(toHex(statementHashOf(this.#crypto, frame)));
    }
    if (type !== 'document-offered' && !isNegotiationEvent(type)) return;
    if (salt === undefined || body === undefined) {
      if (frame.header.subject === this.#options.subject) this.#unreadable += 1;
      return;
    }
    const disclosure = disclose(this.#crypto, frame, { salt, bodyBytes: body });
    if (type === 'document-offered') this.#adopt(disclosure, frame);
    else this.add(disclosure);
  }

  /** As the auditor did: what does not hold changes nothing. */
  #adopt(disclosure: Disclosure, { header }: ParsedFrame): void {
    const { trust } = this.#options;
    const opening = trust.verifyEvidence(disclosure);
    if (opening.status !== 'ok') return;
    const { body, senderKind } = opening.event;
    if (eventTypes['document-offered'].body.check(body)) {
      const takesExpired = mayOfferExpired(senderKind);
      trust.adoptBytes(body.document, header.timeMs, { takesExpired });
    }
  }
}
