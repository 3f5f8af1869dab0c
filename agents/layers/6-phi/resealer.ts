/**
 * Seals resources anew under the primary key after it changed: a few at a time, beside the requests,
 * each checked under its old key first. A restart goes on with what is still under another version, so
 * nothing has to be remembered; the old key is needed until nothing is. A resource that does not hold
 * any more keeps its old seal, is counted, and keeps the old key.
 */

import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import { Refused } from '../service/http-app.ts';
import type { ResourceDesk } from './resource-desk.ts';
import type { SealKind, SealStore } from './seal-store.ts';
import { signatureSlot, tagSlot, type Sealing } from './sealing.ts';

const batch = 32;
const pauseMs = 10;
/** Layer 5 is down, or the slot frozen. */
const retryMs = 500;
/** A write that was given up has arrived by then, or never will. */
const strayMs = 60_000;
const noGeneration = 0;

const slotOf: Readonly<Record<SealKind, string>> = { tag: tagSlot, signature: signatureSlot };

export interface ResealerPorts {
  readonly desk: ResourceDesk;
  readonly seals: SealStore;
  readonly sealing: Sealing;
  readonly clock: Clock;
  readonly log: Log;
}

export class Resealer {
  readonly #ports: ResealerPorts;
  #timer: Timer | undefined;
  #running: Promise<void> = Promise.resolve();
  #isRunning = false;
  #wanted = false;
  #stopped = false;
  #resealed = 0;
  /** By name, so that one damaged resource counts once. */
  readonly #damaged = new Set<string>();

  constructor(ports: ResealerPorts) {
    this.#ports = ports;
  }

  /** Goes through what is not under the primary keys, unless it does so already. */
  wake(): void {
    this.#wanted = true;
    if (this.#isRunning || this.#stopped) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#isRunning = true;
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  measure(): Record<string, number> {
    const { seals, sealing } = this.#ports;
    const tags = sealing.primaryVersion(tagSlot);
    const total = seals.count();
    const done = seals.countUnder('tag', tags);
    return {
      seals: total,
      'seals-under-older-keys': total - done,
      'seals-made-anew': this.#resealed,
      'seals-damaged': this.#damaged.size,
    };
  }

  #again(delayMs: number): void {
    this.#timer?.cancel();
    if (!this.#stopped) this.#timer = this.#ports.clock.after(delayMs, () => this.wake());
  }

  async #run(): Promise<void> {
    try {
      while (this.#wanted && !this.#stopped) {
        this.#wanted = false;
        for (const kind of ['tag', 'signature'] as const) await this.#pass(kind);
      }
    } catch (error) {
      // Layer 5 is away, the disk full, the slot frozen: none of it ends the service.
      const code = error instanceof Error && 'code' in error ? error.code : 'UNEXPECTED';
      this.#ports.log.warn({ code }, 'sealing anew waits');
      this.#again(retryMs);
    } finally {
      this.#isRunning = false;
    }
  }

  async #pass(kind: SealKind): Promise<void> {
    const { seals, sealing, clock } = this.#ports;
    let after = '';
    for (;;) {
      const version = sealing.primaryVersion(slotOf[kind]);
      const names = seals.namesNotUnder(kind, version, batch, after);
      for (const name of names) {
        if (this.#stopped) return;
        await this.#reseal(name, kind);
      }
      const last = names.at(-1);
      if (last === undefined) return;
      after = last;
      await new Promise<void>((resolve) => {
        clock.after(pauseMs, resolve);
      });
    }
  }

  async #reseal(name: string, kind: SealKind): Promise<void> {
    const { desk, seals, sealing, clock, log } = this.#ports;
    try {
      await desk.turns.take(name, async () => {
        const { resource, seal } = await desk.read(name);
        const stray = seals.dropStray(name, seal.generation, clock.nowMs() - strayMs);
        if (stray > 0) this.#again(strayMs);
        seals.replace(seal, kind, kind === 'tag' ? sealing.tag(resource) : sealing.sign(resource));
        this.#resealed += 1;
        this.#damaged.delete(name);
      });
    } catch (error) {
      if (error instanceof Refused && error.code === 'RESOURCE_UNKNOWN') {
        // Its first write never came to layer 5, or is on its way there.
        if (seals.dropStray(name, noGeneration, clock.nowMs() - strayMs) >= 0) this.#again(strayMs);
        return;
      }
      if (!(error instanceof Refused) || !isDamage(error.code)) throw error;
      if (!this.#damaged.has(name))
        log.error({ code: error.code }, 'a resource keeps its old seal');
      this.#damaged.add(name);
    }
  }
}

function isDamage(code: string): boolean {
  return ['RESOURCE_TAMPERED', 'RECORD_TAMPERED', 'CONSENT_SIGNATURE_INVALID'].includes(code);
}
