/**
 * Seals resources anew under the primary key after it changed: a few at a time, beside the requests,
 * each checked under its old key first. A restart goes on with what is still under another version, so
 * nothing has to be remembered; the old key is needed until nothing is. A resource that does not hold
 * any more keeps its old seal, is counted, and keeps the old key.
 */

import type { Clock, Log } from '#shared/runtime/ports.ts';
import { BackgroundWork, type BatchOutcome } from '../service/background-work.ts';
import { Refused } from '../service/http-app.ts';
import type { ResourceDesk } from './resource-desk.ts';
import type { SealKind, SealStore } from './seal-store.ts';
import { signatureSlot, tagSlot, type Sealing } from './sealing.ts';

const batchNames = 32;
const pauseMs = 10;
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

/** How far a pass has come: the last name of the batch before. */
interface Place {
  readonly kind: SealKind;
  readonly after: string;
}

const begin: Place = { kind: 'tag', after: '' };

export class Resealer {
  readonly #ports: ResealerPorts;
  readonly #work: BackgroundWork;
  #place = begin;
  #isWoken = false;
  #resealed = 0;
  /** By name, so that one damaged resource counts once. */
  readonly #damaged = new Set<string>();

  constructor(ports: ResealerPorts) {
    const { clock, log } = ports;
    this.#ports = ports;
    const batch = () => this.#batch();
    this.#work = new BackgroundWork({ name: 'seal anew', clock, log, batch, pauseMs });
  }

  start(): void {
    this.#work.start();
  }

  /** A key has changed: also what a pass under way has gone by is looked at. */
  wake(): void {
    this.#isWoken = true;
    this.#work.wake();
  }

  async stop(): Promise<void> {
    await this.#work.stop();
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

  /** Where it fails, at layer 5 or at the disk, it is done again from the same place. */
  async #batch(): Promise<BatchOutcome> {
    const { seals, sealing } = this.#ports;
    const { kind, after } = this.#place;
    const slot = slotOf[kind];
    if (this.#place === begin) this.#isWoken = false;
    const version = sealing.primaryVersion(slot);
    const names = sealing.isFrozen(slot)
      ? []
      : seals.namesNotUnder(kind, version, batchNames, after);
    for (const name of names) await this.#reseal(name, kind);
    const last = names.at(-1);
    if (last !== undefined) this.#place = { kind, after: last };
    else this.#place = kind === 'tag' ? { kind: 'signature', after: '' } : begin;
    return this.#place === begin && !this.#isWoken ? 'idle' : 'more';
  }

  async #reseal(name: string, kind: SealKind): Promise<void> {
    const { desk, seals, sealing, clock, log } = this.#ports;
    try {
      await desk.turns.take(name, async () => {
        const { resource, seal } = await desk.read(name);
        seals.dropStray(name, seal.generation, clock.nowMs() - strayMs);
        seals.replace(seal, kind, kind === 'tag' ? sealing.tag(resource) : sealing.sign(resource));
        this.#resealed += 1;
        this.#damaged.delete(name);
      });
    } catch (error) {
      if (error instanceof Refused && error.code === 'RESOURCE_UNKNOWN') {
        // Its first write never came to layer 5, or is on its way there.
        seals.dropStray(name, noGeneration, clock.nowMs() - strayMs);
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
