/**
 * The sending side of the bulk lane: collects events until there are 256 of them or the first has
 * waited 100 ms, seals them as one batch, and writes it to an outbox of its own as one row, so that a
 * batch is durable before it is published. While one batch is signed in the thread pool the next one
 * fills.
 *
 * Telemetry gives way: the queue and the outbox are bounded, what does not fit is dropped and counted,
 * and nothing here ever makes its caller wait.
 */
import { eventTypes } from '#schemas/events.ts';
import { batchEventBytesMax, batchEventsMax, bodyBytesMax } from '#schemas/frame.ts';
import { batchWaitMs, type TelemetryEvent } from '#schemas/telemetry.ts';
import { fromHex, toHex } from '#shared/crypto/bytes.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { CryptoError, invariant } from '#shared/crypto/errors.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import type { ChannelKeyring } from '#shared/crypto/keyring.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { SenderChain } from '#shared/crypto/sender-chain.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import { OutboxError } from './outbox-store.ts';
import type { Clock, Log, Timer } from './ports.ts';

export interface BulkSenderPorts {
  readonly agentId: string;
  /** The agent's own subject of the bulk stream. */
  readonly subject: string;
  readonly crypto: CryptoProvider;
  readonly signingKey: SigningKey;
  readonly keyring: ChannelKeyring;
  readonly trust: TrustView;
  /** Durable when it returns. */
  readonly outbox: {
    enqueue(row: {
      readonly subject: string;
      readonly data: Uint8Array;
      readonly messageId: string;
    }): void;
  };
  readonly clock: Clock;
  readonly log: Log;
}

export interface BulkCounts {
  /** Events that wait for a batch. */
  readonly queued: number;
  /** Since the start. */
  readonly batches: number;
  readonly events: number;
  readonly dropped: number;
}

/** Events that wait at the most: sixteen batches. */
export const queueEventsMax = 16 * batchEventsMax;
/** Of the list around the events, and of each event's head. */
const headBytesMax = 3;

export class BulkSender {
  readonly #ports: BulkSenderPorts;
  #chain: SenderChain;
  #queue: Uint8Array[] = [];
  #timer: Timer | undefined;
  /** The oldest event has waited long enough. */
  #due = false;
  #sealing: Promise<void> | undefined;
  #counts = { batches: 0, events: 0, dropped: 0 };
  #stopped = false;

  constructor(ports: BulkSenderPorts) {
    this.#ports = ports;
    this.#chain = this.#newChain();
  }

  /** Takes an event of the agent's own, or drops it; never waits, never throws for want of room. */
  offer(event: TelemetryEvent): 'taken' | 'dropped' {
    const { body } = eventTypes['telemetry-batch'];
    invariant(body.check(event), 'telemetry of our own is of its schema');
    const bytes = encodeCanonical(event, { floats: true });
    invariant(bytes.length <= batchEventBytesMax, 'an event of telemetry has at most 4 KiB');
    if (this.#stopped || this.#queue.length >= queueEventsMax) {
      this.#counts.dropped += 1;
      return 'dropped';
    }
    this.#queue.push(bytes);
    this.#arm();
    if (this.#queue.length >= batchEventsMax) this.#work();
    return 'taken';
  }

  counts(): BulkCounts {
    return { queued: this.#queue.length, ...this.#counts };
  }

  /** Takes nothing more, and writes what waits to the outbox. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#due = true;
    this.#work();
    await this.#sealing;
  }

  #arm(): void {
    if (this.#stopped) return;
    this.#timer ??= this.#ports.clock.after(batchWaitMs, () => {
      this.#timer = undefined;
      this.#due = true;
      this.#work();
    });
  }

  #work(): void {
    this.#sealing ??= this.#sealAll().finally(() => {
      this.#sealing = undefined;
    });
  }

  /** One batch after the other, as long as one is full or due. */
  async #sealAll(): Promise<void> {
    while (this.#queue.length >= batchEventsMax || (this.#due && this.#queue.length > 0)) {
      if (this.#ports.keyring.currentEpoch('telemetry') === undefined) {
        // Before the channel's first epoch nobody could read it; the queue waits, and is bounded.
        this.#arm();
        return;
      }
      this.#due = this.#stopped;
      await this.#sealOne(this.#take());
    }
  }

  /** As many as one batch holds. */
  #take(): Uint8Array[] {
    let [count, bytes] = [0, headBytesMax];
    for (const event of this.#queue) {
      bytes += headBytesMax + event.length;
      if (count === batchEventsMax || bytes > bodyBytesMax) break;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  async #sealOne(events: readonly Uint8Array[]): Promise<void> {
    const { subject, outbox } = this.#ports;
    const batch = await this.#sealed(events);
    if (batch === undefined) return;
    try {
      outbox.enqueue({ subject, data: batch.frame, messageId: batch.messageId });
    } catch (error) {
      batch.refused();
      if (!(error instanceof OutboxError)) throw error;
      this.#giveWay(error.code, events.length);
      return;
    }
    batch.accepted();
    this.#counts.batches += 1;
    this.#counts.events += events.length;
  }

  #giveWay(code: string, events: number): void {
    this.#counts.dropped += events;
    this.#ports.log.warn({ code, events }, 'telemetry gave way');
  }

  /** Undefined where the channel's secret went in the meantime. */
  async #sealed(events: readonly Uint8Array[]) {
    try {
      return await this.#seal(events);
    } catch (error) {
      if (!(error instanceof CryptoError && error.code === 'CHANNEL_UNKNOWN')) throw error;
      this.#giveWay(error.code, events.length);
      return undefined;
    }
  }

  async #seal(events: readonly Uint8Array[]) {
    const { subject, trust, clock, crypto } = this.#ports;
    const { schemaVersion, validMs } = eventTypes['telemetry-batch'];
    const timeMs = clock.nowMs();
    const input = {
      lane: 'bulk' as const,
      audience: 'telemetry',
      subject,
      channel: 'telemetry',
      registryVersion: trust.registry.version,
      registryDigest: digestOf(trust.registryDigest),
      policyVersion: trust.policy.version,
      policyDigest: digestOf(trust.policyDigest),
      type: 'telemetry-batch',
      schemaVersion,
      timeMs,
      expiresMs: timeMs + validMs,
      eventId: toHex(crypto.randomBytes(16)),
      events,
    };
    try {
      return await this.#chain.sealBatch(input);
    } catch (error) {
      if (!(error instanceof CryptoError && error.code === 'CHANNEL_EXHAUSTED')) throw error;
      this.#chain = this.#newChain();
      return this.#chain.sealBatch(input);
    }
  }

  #newChain(): SenderChain {
    const { agentId, crypto, signingKey, keyring } = this.#ports;
    return new SenderChain({ crypto, sender: agentId, signingKey, keyring });
  }
}

function digestOf(hex: string): Uint8Array {
  const digest = fromHex(hex);
  invariant(digest !== undefined, 'a digest of a document is hexadecimal');
  return digest;
}
