/**
 * The self-healing part of layer 7's agent: reads the telemetry of all layers, sealed batches and
 * nothing else, folds it, and asks for what the findings are worth by a signed control event. It
 * decides nothing by itself and keeps nothing: after a start it learns anew what is usual, and until
 * then it has no verdicts.
 */

import type { HealingActionRequested, HealingClaim, HealingSignature } from '#schemas/healing.ts';
import { layerNumbers } from '#schemas/layers.ts';
import type { Bus, BusMessage, Subscription } from '#shared/bus/bus.ts';
import type { Subjects } from '#shared/bus/subjects.ts';
import {
  nothingWatched,
  stepWatch,
  type Finding,
  type WatchEvent,
  type WatchState,
} from '#shared/core/anomaly/watch.ts';
import {
  dueAction,
  gatherFinding,
  nothingAsked,
  type HealingState,
  type WantedAction,
} from '#shared/core/healing.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { BulkReceiver } from '#shared/runtime/bulk-receiver.ts';
import { OutboxError } from '#shared/runtime/outbox-store.ts';
import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';

/** Signs with the primary key of slot 7/healing-signature. @throws AdapterError */
export type SignClaim = (claim: HealingClaim) => Promise<HealingSignature>;

export interface HealerPorts {
  readonly bus: Bus;
  readonly subjects: Subjects;
  readonly receiver: Pick<BulkReceiver, 'open'>;
  readonly sign: SignClaim;
  /** Durable when it returns. @throws AdapterError, OutboxError */
  readonly request: (body: HealingActionRequested) => void;
  /** How long an anomaly waits for others: as long as all agents take to report. */
  readonly gatherMs: number;
  readonly crypto: Pick<CryptoProvider, 'randomBytes'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** How often it is looked whether somebody is silent, and whether an action is due. */
const lookMs = 200;
const retryMs = 1_000;
/** Tries at one action; by then it is asked for anew, if its anomalies stand. */
const triesMax = 20;

export class Healer {
  readonly #ports: HealerPorts;
  #watch: WatchState = nothingWatched;
  #healing: HealingState = nothingAsked;
  #counts = { raised: 0, cleared: 0, asked: 0 };
  #subscription: Subscription | undefined;
  #timer: Timer | undefined;
  #acting: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(ports: HealerPorts) {
    this.#ports = ports;
  }

  /** From now on: what was said before is no news. @throws BusError */
  async start(): Promise<void> {
    const { bus, subjects } = this.#ports;
    const { lastSequence } = await bus.streamState('GYRE_BULK');
    const followed = { stream: 'GYRE_BULK' as const, subjects: [subjects.patterns.telemetry] };
    this.#subscription = await bus.follow(
      { ...followed, fromSequence: lastSequence + 1 },
      (message) => this.take(message),
    );
    this.#look();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#subscription?.stop();
    await this.#acting;
  }

  /** For telemetry: findings and requests since the start. */
  measure(): Readonly<Record<string, number>> {
    const { raised, cleared, asked } = this.#counts;
    return { 'anomalies-raised': raised, 'anomalies-cleared': cleared, 'healings-asked': asked };
  }

  /** One message of the bulk stream. */
  async take(message: BusMessage): Promise<void> {
    const { receiver, clock, log } = this.#ports;
    const opening = await receiver.open(message);
    if (opening.status === 'refused') {
      log.warn({ code: opening.code, subject: message.subject }, 'telemetry refused');
    }
    if (opening.status !== 'opened') return;
    const { sender, events } = opening.batch;
    const layer = layerNumbers.find((number) => number === sender.layer);
    if (layer === undefined) return;
    const atMs = clock.nowMs();
    for (const event of events) {
      this.#fold({ kind: 'telemetry', agentId: sender.agentId, layer, event, atMs });
    }
  }

  #look(): void {
    const { clock } = this.#ports;
    const nowMs = clock.nowMs();
    this.#fold({ kind: 'tick', atMs: nowMs });
    const due = dueAction(this.#healing, { nowMs, gatherMs: this.#ports.gatherMs });
    this.#healing = due.state;
    const { wanted } = due;
    if (wanted !== undefined) this.#acting = this.#acting.then(() => this.#ask(wanted));
    if (!this.#stopped) this.#timer = clock.after(lookMs, () => this.#look());
  }

  #fold(event: WatchEvent): void {
    const step = stepWatch(this.#watch, event);
    this.#watch = step.state;
    for (const finding of step.findings) {
      this.#tell(finding);
      this.#healing = gatherFinding(this.#healing, finding);
    }
  }

  #tell(finding: Finding): void {
    const { log } = this.#ports;
    if (finding.verdict === 'raised') {
      this.#counts.raised += 1;
      log.warn({ ...finding }, 'an anomaly begins');
    } else if (finding.verdict === 'cleared') {
      this.#counts.cleared += 1;
      log.info({ ...finding }, 'an anomaly is over');
    }
  }

  async #ask({ anomalies, action }: WantedAction): Promise<void> {
    const { sign, request, crypto, clock, log } = this.#ports;
    const actionId = `heal-${toHex(crypto.randomBytes(12))}`;
    const claim = { actionId, anomalies, action };
    for (let tries = 1; !this.#stopped; tries += 1) {
      try {
        request({ claim, signature: await sign(claim) });
        this.#counts.asked += 1;
        log.warn({ actionId, layers: action.layers }, 'an emergency rotation is asked for');
        return;
      } catch (error) {
        if (!(error instanceof AdapterError || error instanceof OutboxError)) throw error;
        log.error({ actionId, code: error.code }, 'the healing action cannot be asked for');
        if (tries >= triesMax) return;
      }
      await new Promise<void>((resolve) => {
        clock.after(retryMs, resolve);
      });
    }
  }
}
