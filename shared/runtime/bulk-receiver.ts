/**
 * The reading side of the bulk lane: the same checks in the same order as for events (`receiver.ts`),
 * then decryption, tree, and the schema of every event. It hands out telemetry and nothing else: there
 * is no way from here to what handles events, so that nothing in a batch can ever act.
 *
 * The signature is checked in the thread pool while this thread decrypts and hashes; nothing is handed
 * out before both are done.
 */
import type { RefusalCode } from '#schemas/errors.ts';
import type { BatchProof, Header } from '#schemas/frame.ts';
import { telemetryEventCheck, type TelemetryEvent } from '#schemas/telemetry.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { entitlementMisfit, type InForce } from '#shared/core/entitlement.ts';
import {
  openBatch,
  parseBatch,
  proveEvent,
  verifyBatchAsync,
  type OpenedBatch,
  type ParsedBatch,
} from '#shared/crypto/batch.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { readCanonical } from '#shared/crypto/canonical-reader.ts';
import type { ChannelKeyring } from '#shared/crypto/keyring.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { inForceLive } from '#shared/crypto/trust-in-force.ts';
import type { Enrolled, TrustView } from '#shared/crypto/trust.ts';
import type { Clock } from './ports.ts';
import type { Delivery } from './receiver.ts';
import { ReplayWindow } from './replay-window.ts';

export interface BulkReceiverPorts {
  readonly crypto: CryptoProvider;
  readonly trust: TrustView;
  readonly keyring: ChannelKeyring;
  readonly clock: Clock;
}

export interface ReceivedBatch {
  /** Statement hash, 64 hexadecimal characters. */
  readonly hash: string;
  readonly header: Header;
  readonly sender: Enrolled;
  readonly events: readonly TelemetryEvent[];
  /** Bytes of the frame: what keeping it costs. */
  readonly frameBytes: number;
  /** Shows one event to anyone, without a secret. */
  prove(index: number): BatchProof;
}

export type BatchOpening =
  | { readonly status: 'opened'; readonly batch: ReceivedBatch }
  /** The same message once more, by the bus's own redelivery. */
  | { readonly status: 'redelivered' }
  | { readonly status: 'refused'; readonly code: RefusalCode };

export class BulkReceiver {
  readonly #ports: BulkReceiverPorts;
  readonly #inForce: InForce;
  readonly #window = new ReplayWindow();
  readonly #refusals: Partial<Record<RefusalCode, number>> = {};

  constructor(ports: BulkReceiverPorts) {
    this.#ports = ports;
    const subjects = subjectsOf(ports.trust.mesh);
    this.#inForce = inForceLive(ports.trust, (subject) => subjects.parse(subject), ports.clock);
  }

  /** Refused batches since the start, by code. */
  refusals(): Readonly<Partial<Record<RefusalCode, number>>> {
    return this.#refusals;
  }

  async open(delivery: Delivery): Promise<BatchOpening> {
    const opening = await this.#open(delivery);
    if (opening.status === 'refused') {
      this.#refusals[opening.code] = (this.#refusals[opening.code] ?? 0) + 1;
    }
    return opening;
  }

  async #open({ subject, data, sequence }: Delivery): Promise<BatchOpening> {
    const { crypto, trust, keyring } = this.#ports;
    const parsed = parseBatch(data);
    if (!parsed.ok) return refused(parsed.code);
    const { header } = parsed.batch;
    const sender = trust.agent(header.sender);
    if (sender === undefined) return refused('SENDER_UNKNOWN');
    const misfit = this.#misfit(header, sender, subject);
    if (misfit !== undefined) return refused(misfit);
    const verifying = verifyBatchAsync(crypto, parsed.batch, sender.verifyKey);
    const secret = keyring.secretOf({ channel: header.channel, epoch: header.epoch });
    const content = secret === undefined ? undefined : contentOf(crypto, parsed.batch, secret);
    const verified = await verifying;
    if (!verified.ok) return refused(verified.code);
    if (content === undefined) return refused('EPOCH_UNKNOWN');
    if (!content.ok) return refused(content.code);
    const chain = `${header.sender}/${toHex(header.incarnation)}/${header.audience}`;
    const { counter } = header;
    const hash = verified.messageId;
    const sighting = this.#window.note({ chain, counter, sequence, hash });
    if (sighting === 'replayed') return refused('EVENT_REPLAYED');
    if (sighting === 'redelivered') return { status: 'redelivered' };
    const { opened, events } = content;
    return {
      status: 'opened',
      batch: {
        hash,
        header,
        sender,
        events,
        frameBytes: parsed.batch.bytes.length,
        prove: (index) => proveEvent(crypto, parsed.batch, { ...opened, index }),
      },
    };
  }

  #misfit(header: Header, sender: Enrolled, subject: string): RefusalCode | undefined {
    if (header.subject !== subject) return 'SUBJECT_MISMATCH';
    const announced = {
      ...header,
      policyDigest: toHex(header.policyDigest),
      registryDigest: toHex(header.registryDigest),
    };
    const misfit = entitlementMisfit(announced, sender, this.#inForce);
    if (misfit !== undefined) return misfit;
    if (sender.revokedAtMs !== undefined) return 'SENDER_REVOKED';
    if (header.audience !== header.channel) return 'AUDIENCE_MISMATCH';
    const nowMs = this.#ports.clock.nowMs();
    const { clockSkewMs } = this.#inForce;
    if (header.timeMs > nowMs + clockSkewMs) return 'TIME_OUT_OF_RANGE';
    return header.expiresMs + clockSkewMs < nowMs ? 'EVENT_EXPIRED' : undefined;
  }
}

/** Content of a batch whose signature is being checked elsewhere. */
function contentOf(crypto: CryptoProvider, batch: ParsedBatch, secret: Uint8Array) {
  const opened = openBatch(crypto, batch, secret);
  if (!opened.ok) return opened;
  const events = telemetryOf(opened);
  if (events === undefined) return { ok: false, code: 'BODY_MALFORMED' } as const;
  return { ok: true, opened, events } as const;
}

/** All of a batch's events, or undefined where one of them is not telemetry. */
export function telemetryOf({ events }: OpenedBatch): TelemetryEvent[] | undefined {
  const telemetry: TelemetryEvent[] = [];
  for (const bytes of events) {
    const decoded = readCanonical(bytes, { floats: true });
    if (decoded === undefined || !telemetryEventCheck.check(decoded.value)) return undefined;
    telemetry.push(decoded.value);
  }
  return telemetry;
}

function refused(code: RefusalCode): BatchOpening {
  return { status: 'refused', code };
}
