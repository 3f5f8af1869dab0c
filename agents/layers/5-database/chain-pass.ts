/**
 * The verification of the chain as work in the background: a whole pass in every ten minutes, in bounded
 * batches, taken up after a crash where it stood. What does not hold is looked at again and again until it
 * is mended, and counted each time: layer 7 judges counters by their rate (`integrity-…`), so what was
 * altered stands out for as long as it is altered. The pass also teaches the service the newest entries of
 * records, where it does not know them (record-heads.ts).
 */

import {
  List,
  OneOf,
  StrictObject,
  Type,
  Uint,
  compile,
  type Static,
} from '#schemas/primitives.ts';
import { fromHex, toHex } from '#shared/crypto/bytes.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import type { BatchOutcome } from '../service/background-work.ts';
import { keepDocument, keptDocument } from '../service/kept-document.ts';
import {
  chainBegin,
  chainFaultCodes,
  type ChainCheck,
  type ChainFault,
  type ChainPlace,
} from './chain-check.ts';
import type { RecordHeads } from './record-heads.ts';

const file = 'chain-pass.json';
const everyMs = 10 * 60_000;
/** Entries of one batch; of each, columns of less than a megabyte are looked at. */
export const passEntries = 32;
/** Faults that are kept and looked at again. */
const standingMax = 64;

const Pass = StrictObject({
  beganAtMs: Uint(),
  isOver: Type.Boolean(),
  /** The last entry that was looked at. */
  last: StrictObject({
    sequence: Uint(),
    hash: Type.String({ pattern: '^(?:[0-9a-f]{96})?$' }),
  }),
  /** Of this pass or, behind its place, of the one before. */
  faults: List(
    StrictObject({
      code: OneOf(chainFaultCodes),
      sequence: Uint(),
    }),
    { itemsMax: standingMax },
  ),
});
type Pass = Static<typeof Pass>;
const passCheck = compile(Pass);
const noPass: Pass = { beganAtMs: 0, isOver: true, last: { sequence: 0, hash: '' }, faults: [] };

export interface ChainPassPorts {
  readonly check: ChainCheck;
  readonly heads: RecordHeads;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
}

/** Both kinds of batch fail with AdapterError, ServiceError or Refused, and are then done again. */
export class ChainPass {
  readonly #ports: ChainPassPorts;
  #pass: Pass;
  #found = 0;

  /** @throws AdapterError STORE_FAILED where what was kept is damaged */
  constructor(ports: ChainPassPorts) {
    this.#ports = ports;
    this.#pass = keptDocument(ports.disk, file, passCheck) ?? noPass;
  }

  /** For telemetry: how far the pass has come, what stands, and how often anything was found. */
  get progress() {
    const { last, faults, beganAtMs, isOver } = this.#pass;
    const ageMs = beganAtMs === 0 ? 0 : Math.max(0, this.#ports.clock.nowMs() - beganAtMs);
    return { checked: last.sequence, standing: faults.length, found: this.#found, ageMs, isOver };
  }

  /** The next entries of the pass; idle while none is due. */
  async batch(): Promise<BatchOutcome> {
    const { check, heads, clock } = this.#ports;
    const nowMs = Math.floor(clock.nowMs());
    const begun = this.#pass;
    const sinceMs = nowMs - begun.beganAtMs;
    // A clock that was set back does not keep the pass waiting.
    if (begun.isOver && sinceMs >= 0 && sinceMs < everyMs) return 'idle';
    const after = begun.isOver ? chainBegin : placeOf(begun);
    const report = await check.page(after, passEntries, (entry) => heads.note(entry));
    // What was learnt is on the disk before the pass goes on behind it.
    if (!heads.write()) return 'idle';
    const { last, isDone, faults } = report;
    const isBehind = ({ sequence }: ChainFault) =>
      sequence <= after.sequence || (!isDone && sequence > last.sequence);
    this.#stand([...this.#pass.faults.filter(isBehind), ...faults], faults, {
      beganAtMs: begun.isOver ? nowMs : begun.beganAtMs,
      isOver: isDone,
      last: { sequence: last.sequence, hash: toHex(last.hash) },
    });
    return isDone ? 'idle' : 'more';
  }

  /** What was found, once more. */
  async lookAgain(): Promise<BatchOutcome> {
    const { check } = this.#ports;
    const sequences = new Set(this.#pass.faults.map(({ sequence }) => sequence));
    if (sequences.size === 0) return 'idle';
    const looked: ChainFault[] = [];
    for (const sequence of sequences) looked.push(...(await check.at(sequence)));
    const others = this.#pass.faults.filter(({ sequence }) => !sequences.has(sequence));
    const { beganAtMs, isOver, last } = this.#pass;
    this.#stand([...others, ...looked], looked, { beganAtMs, isOver, last });
    return 'idle';
  }

  #stand(
    standing: readonly ChainFault[],
    found: readonly ChainFault[],
    pass: Omit<Pass, 'faults'>,
  ): void {
    const { disk, log } = this.#ports;
    const known = new Set(this.#pass.faults.map(nameOf));
    for (const fault of found) {
      // Nobody changed anything where a key was destroyed on purpose.
      if (fault.code !== 'COLUMN_UNREADABLE') this.#found += 1;
      if (!known.has(nameOf(fault))) log.error({ ...fault }, 'the chain of records does not hold');
    }
    const faults = [...standing].slice(0, standingMax);
    this.#pass = { ...pass, faults };
    keepDocument(disk, file, this.#pass);
  }
}

function nameOf({ code, sequence }: ChainFault): string {
  return `${code}@${sequence}`;
}

function placeOf({ last }: Pass): ChainPlace {
  return { sequence: last.sequence, hash: fromHex(last.hash) ?? new Uint8Array() };
}
