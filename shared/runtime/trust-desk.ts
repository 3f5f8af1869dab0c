/**
 * Where an agent's view of trust changes: it takes documents that are offered, verifies each by itself,
 * writes down what it adopts before anyone asks for it, and locks out for a while who offers a bad one.
 * What is known, and what a locked-out sender offers, is dropped before any signature is checked, and a
 * sender may offer only so much at a time, so that a flood of offers costs next to nothing.
 *
 * A bad offer is no fault where it may have been good once: what the bus had stored before this agent
 * learned of what is newest may be overtaken rather than forged. It changes nothing then, and counts
 * against its sender only where it is repeated.
 */

import type { AgentKind, OfferedDocument } from '#schemas/trust.ts';
import { BusError, type Bus } from '#shared/bus/bus.ts';
import { mayOfferExpired } from '#shared/core/document-review.ts';
import { LockoutLedger, type Lockout } from '#shared/core/lockout.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { documentDigest } from '#shared/crypto/signed-document.ts';
import type { AdoptOptions, TrustView } from '#shared/crypto/trust.ts';
import { adoptInOrder, type RefusedAdoption, type Taking } from './adoption-order.ts';
import type { ReceivedEvent } from './exchange.ts';
import { inDocumentOrder, KeptDocuments } from './kept-documents.ts';
import { OfferAllowance } from './offer-allowance.ts';
import type { Clock, Log, Timer } from './ports.ts';
import type { TrustStore } from './trust-store.ts';

export interface TrustDeskPorts {
  readonly agentId: string;
  readonly kind: AgentKind;
  /** What `store` was opened with. */
  readonly trust: TrustView;
  readonly store: TrustStore;
  readonly crypto: CryptoProvider;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Log;
}

/** Why a bad offer may be no fault of its sender's. */
interface Lateness {
  /** The bus stored it before this agent learned of what is newest. */
  readonly isOvertaken: boolean;
  /** Its sender said it before that, or completes the log, and it was in force once. */
  readonly wasGood: boolean;
}

/** Overtaken offers of one sender before they count as bad ones. */
const overtakenMax = 8;
/** Refused documents that are remembered by their bytes, and kept ones by their place. */
const refusedMax = 4096;
/** Looks at what is kept follow each other no faster. */
const lookAgainMs = 200;
const keepRetryMs = 1_000;
/** Another offer of the same bytes, or a later look at them, may come to something else. */
const refusalsOfTheMoment: ReadonlySet<string> = new Set(['EXPIRED', 'ISSUED_IN_FUTURE']);
/** What an auditor's offer may meet that goes by its log, where another document was handed out since. */
const refusalsOfTheOvertaken: ReadonlySet<string> = new Set([
  'ROLLBACK',
  'VERSION_TAKEN',
  'VERSION_SKIPPED',
]);
/** How often an orchestrator looks whether what it keeps there still stands. */
const keptLookMs = 15_000;

export class TrustDesk {
  readonly #ports: TrustDeskPorts;
  readonly #kept: KeptDocuments;
  readonly #lockouts: LockoutLedger;
  readonly #overtaken = new Map<string, number>();
  readonly #refused = new Set<string>();
  readonly #known = new Set<string>();
  readonly #allowance: OfferAllowance;
  /** What this orchestrator answers for where late comers look, and what it has yet to put there. */
  readonly #adopted = new Map<string, OfferedDocument>();
  readonly #unkept = new Map<string, OfferedDocument>();
  #keeping = false;
  #isStopped = false;
  #retry: Timer | undefined;
  #looking: Promise<void> | undefined;
  #lookedMs = Number.NEGATIVE_INFINITY;
  /** What the bus stored before this moment may be older than what is known. */
  #newestAtMs: number;

  constructor(ports: TrustDeskPorts) {
    this.#ports = ports;
    const { store, bus, clock } = ports;
    this.#kept = new KeptDocuments(bus.bucket('gyre_trust'));
    this.#allowance = new OfferAllowance(clock);
    this.#newestAtMs = clock.nowMs();
    this.#lockouts = LockoutLedger.fromJSON(store.lockouts) ?? new LockoutLedger();
    for (const document of store.documents) this.#learned(document);
  }

  /** Whether the agent offered a bad document a while ago and may ask for nothing new. */
  isLockedOut(agentId: string): boolean {
    return this.#lockouts.isLockedOut(agentId, this.#ports.clock.nowMs());
  }

  /** The lockout of an agent while it runs. */
  lockoutOf(agentId: string): Lockout | undefined {
    return this.#lockouts.of(agentId, this.#ports.clock.nowMs());
  }

  /** Lockouts that run. */
  lockouts(): readonly Lockout[] {
    return this.#lockouts.lasting(this.#ports.clock.nowMs());
  }

  /** Before anything of the message is looked at; false: it is dropped. */
  admits(agentId: string, storedAtMs: number): boolean {
    return !this.isLockedOut(agentId) && this.#allowance.take(agentId, storedAtMs);
  }

  /** `storedAtMs`: when the bus took it. @throws where what was adopted cannot be written down */
  offered(event: ReceivedEvent<'document-offered'>, storedAtMs: number): void {
    const { agentId } = event.sender;
    const { document } = event.body;
    if (this.isLockedOut(agentId)) return;
    const name = toHex(this.#ports.crypto.sha256(document));
    const isOvertaken = storedAtMs <= this.#newestAtMs;
    if (isOvertaken && this.#refused.has(name)) return;
    const saidAtMs = event.header.timeMs;
    // An auditor offers what the log lacks: roots that were succeeded and documents that expired since.
    const { kind } = event.sender;
    const adoption = this.#adopt(document, { saidAtMs, takesExpired: mayOfferExpired(kind) });
    if (adoption.status !== 'refused') return;
    this.#noteRefused(name, adoption);
    const { refusal } = adoption;
    const wasGood =
      kind === 'auditor'
        ? refusalsOfTheOvertaken.has(refusal)
        : refusal === 'ROLLBACK' && saidAtMs < this.#newestAtMs && this.#wasInForce(document);
    this.#onBadOffer(agentId, adoption, { isOvertaken, wasGood });
  }

  /**
   * As `offered`, of what an agent told when it was asked, in whatever order; expired documents lead to
   * newer ones. Returns the first that does not hold. Who was asked for want of better is not locked out.
   */
  async learn(
    documents: readonly Uint8Array[],
    tellerId: string,
    { isBlamed = true }: { readonly isBlamed?: boolean } = {},
  ): Promise<RefusedAdoption | undefined> {
    const unfit = await adoptInOrder(inDocumentOrder(documents), (bytes) => this.#take(bytes));
    // Two who are asked at once tell the same: the second may be late.
    const bad = unfit.find(({ adoption }) => adoption.refusal !== 'ROLLBACK')?.adoption;
    if (bad !== undefined && isBlamed) {
      this.#onBadOffer(tellerId, bad, { isOvertaken: false, wasGood: false });
    }
    return bad;
  }

  /** Learns what orchestrators keep for late comers. Never throws for want of the bus. */
  catchUp(): Promise<void> {
    if (this.#looking === undefined) {
      this.#looking = this.#look().finally(() => {
        this.#looking = undefined;
      });
    }
    return this.#looking;
  }

  stop(): void {
    this.#isStopped = true;
    this.#retry?.cancel();
  }

  async #look(): Promise<void> {
    const { clock, log } = this.#ports;
    if (clock.monotonicMs() - this.#lookedMs < lookAgainMs) return;
    try {
      // Again after each that is adopted: what was refused before may stand under it.
      for (let before = -1; before < this.#known.size;) {
        before = this.#known.size;
        const isKnown = (digest: string): boolean => this.#isKnown(digest);
        const found = await this.#kept.unknown(isKnown, (name) => this.#refused.has(name));
        const unfit = await adoptInOrder(found, (bytes) => this.#take(bytes));
        for (const { kept, adoption } of unfit) this.#noteRefused(kept.name, adoption);
      }
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
      log.warn({ code: error.code }, 'what is kept for late comers cannot be read');
    }
    this.#lookedMs = clock.monotonicMs();
    this.#keepAll();
  }

  /** Not from an offer: one's way to newer documents may lead over expired ones. */
  #take(bytes: Uint8Array): Taking {
    return this.#adopt(bytes, { takesExpired: true });
  }

  /** Written down in the same turn, so that nothing is done by a document that a crash would forget. */
  #adopt(bytes: Uint8Array, options: AdoptOptions = {}): Taking {
    const { trust, store, clock, log } = this.#ports;
    const nowMs = clock.nowMs();
    if (!store.hasRoomFor(bytes.length)) {
      log.error({ file: store.file }, 'there is no room for another document: it is not adopted');
      return { status: 'no-room' };
    }
    const adoption = trust.adoptBytes(bytes, nowMs, options);
    if (adoption.status !== 'adopted') return adoption;
    // Not parsed a second time: two readers of the same bytes need not agree.
    const document = adoption.document as OfferedDocument;
    store.keepDocument(document, nowMs);
    this.#newestAtMs = nowMs;
    this.#refused.clear();
    this.#learned(document);
    const { kind, version } = adoption;
    log.info({ kind, version }, 'a document is adopted');
    this.#keepAll();
    return adoption;
  }

  #onBadOffer(agentId: string, refusal: RefusedAdoption, lateness: Lateness): void {
    const { log, store } = this.#ports;
    const { code } = refusal;
    const fields = { sender: agentId, code, refusal: refusal.refusal };
    const lockout = this.#isExcused(agentId, refusal, lateness)
      ? undefined
      : this.#lockouts.note(agentId, code, this.#ports.clock.nowMs());
    if (lockout === undefined) {
      log.warn(fields, 'an offered document is refused');
      return;
    }
    this.#overtaken.delete(agentId);
    const { untilMs } = lockout;
    log.warn({ ...fields, untilMs }, 'an offered document is refused, and its sender locked out');
    try {
      store.keepLockouts(this.lockouts());
    } catch (error) {
      // It holds until the next start; an agent does not end for want of a place for it.
      log.error({ err: error }, 'the lockout cannot be written down');
    }
  }

  /**
   * What was in force once, and was stored or said before its successor was known here, is late and no
   * more: what a sender said in time locks nobody out when the bus hands it over later, or once more.
   */
  #isExcused(
    agentId: string,
    { refusal }: RefusedAdoption,
    { isOvertaken, wasGood }: Lateness,
  ): boolean {
    if (wasGood) return true;
    if (!isOvertaken) return false;
    if (refusal === 'ROLLBACK') return true;
    const times = (this.#overtaken.get(agentId) ?? 0) + 1;
    this.#overtaken.set(agentId, times);
    return times < overtakenMax;
  }

  /** Whether these bytes, which were refused for their version alone, were adopted once. */
  #wasInForce(bytes: Uint8Array): boolean {
    const { body } = JSON.parse(new TextDecoder().decode(bytes)) as OfferedDocument;
    return this.#isKnown(documentDigest(this.#ports.crypto, body));
  }

  #noteRefused(name: string, { refusal }: RefusedAdoption): void {
    if (refusalsOfTheMoment.has(refusal)) return;
    if (this.#refused.size >= refusedMax) this.#refused.clear();
    this.#refused.add(name);
  }

  #isKnown(digest: string): boolean {
    const { trust } = this.#ports;
    return (
      this.#known.has(digest) ||
      trust.policyOf(digest) !== undefined ||
      trust.registryOf(digest) !== undefined
    );
  }

  #learned(document: OfferedDocument): void {
    const digest = documentDigest(this.#ports.crypto, document.body);
    this.#known.add(digest);
    if (this.#ports.kind !== 'orchestrator') return;
    this.#adopted.set(digest, document);
    this.#unkept.set(digest, document);
  }

  /** Orchestrators put what they adopted where late comers look, until it is there. */
  #keepAll(): void {
    if (this.#keeping || this.#isStopped || this.#unkept.size === 0) return;
    this.#keeping = true;
    void this.#keepEach().finally(() => {
      this.#keeping = false;
      this.#keepLater(this.#unkept.size > 0 ? keepRetryMs : keptLookMs);
    });
  }

  /** Whatever is written over it, or taken away, is put back. */
  #keepLater(delayMs: number): void {
    if (this.#isStopped) return;
    this.#retry?.cancel();
    this.#retry = this.#ports.clock.after(delayMs, () => {
      for (const [digest, document] of this.#adopted) this.#unkept.set(digest, document);
      this.#keepAll();
    });
  }

  async #keepEach(): Promise<void> {
    const { log } = this.#ports;
    for (const [digest, document] of this.#unkept) {
      try {
        await this.#kept.keep(document, digest);
        this.#unkept.delete(digest);
      } catch (error) {
        if (!(error instanceof BusError)) throw error;
        log.warn({ code: error.code }, 'a document is not kept for late comers yet');
        this.#isStopped ||= error.code === 'BUS_CLOSED';
        // One key that somebody holds against us does not keep the others from their places.
        if (error.code !== 'BUS_REJECTED') return;
      }
    }
  }
}
