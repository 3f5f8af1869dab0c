/**
 * The verification of the chain as work in the background: a whole pass in every ten minutes, in bounded
 * batches, taken up after a crash where it stood. What does not hold is looked at again and again until it
 * is mended, and counted each time: layer 7 judges counters by their rate (`integrity-…`), so what was
 * altered stands out for as long as it is altered. What is wrong with the end of the chain, and cells of no
 * record, are looked at again by themselves: they are of no number. The pass also teaches the service the newest entries of
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
  chainFaultCodes,
  type ChainCheck,
  type ChainFault,
  type ChainFaultCode,
} from './chain-check.ts';
import { cellsBegin, chainBegin, type CellPlace, type ChainPlace } from './chain-place.ts';
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
  /** What is wrong with the end. */
  ends: Type.Optional(List(OneOf(chainFaultCodes), { itemsMax: chainFaultCodes.length })),
  /** Whether there are cells of no record; which is not kept here. */
  hasStrays: Type.Optional(Type.Boolean()),
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

/** What was found at one look. */
interface Found {
  readonly faults: readonly ChainFault[];
  readonly ends: readonly ChainFaultCode[];
  readonly isStray: boolean;
}

/** Both kinds of batch fail with AdapterError, ServiceError or Refused, and are then done again. */
export class ChainPass {
  readonly #ports: ChainPassPorts;
  #pass: Pass;
  /** Where the pass is among the cells; after a restart they are gone through from the first one. */
  #cell: CellPlace | undefined;
  /** A cell of no record. */
  #stray: CellPlace | undefined;
  /** How far the cells were gone through for another one. */
  #again: CellPlace = cellsBegin;
  #found = 0;

  /** @throws AdapterError STORE_FAILED where what was kept is damaged */
  constructor(ports: ChainPassPorts) {
    this.#ports = ports;
    this.#pass = keptDocument(ports.disk, file, passCheck) ?? noPass;
  }

  /** For telemetry: how far the pass has come, what stands, and how often anything was found. */
  get progress() {
    const { last, faults, ends = [], hasStrays = false, beganAtMs, isOver } = this.#pass;
    const ageMs = beganAtMs === 0 ? 0 : Math.max(0, this.#ports.clock.nowMs() - beganAtMs);
    const standing = faults.length + ends.length + (hasStrays ? 1 : 0);
    return { checked: last.sequence, standing, found: this.#found, ageMs, isOver };
  }

  /** The next entries of the pass, or the next cells; idle while none is due. */
  async batch(): Promise<BatchOutcome> {
    const { check, heads, clock } = this.#ports;
    const nowMs = Math.floor(clock.nowMs());
    const begun = this.#pass;
    const sinceMs = nowMs - begun.beganAtMs;
    // A clock that was set back does not keep the pass waiting.
    if (begun.isOver && sinceMs >= 0 && sinceMs < everyMs) return 'idle';
    const after = begun.isOver ? chainBegin : placeOf(begun, this.#cell);
    const report = await check.page(after, passEntries, (entry) => heads.note(entry));
    // What was learnt is on the disk before the pass goes on behind it.
    if (!heads.write()) return 'idle';
    const { last, isDone, faults, ends, stray } = report;
    const isAtEnd = last.cell !== undefined;
    const isBehind = ({ sequence }: ChainFault) =>
      sequence <= after.sequence || (!isAtEnd && sequence > last.sequence);
    const { ends: endsBefore, hasStrays } = this.#pass;
    this.#stray ??= stray;
    this.#stand(
      {
        beganAtMs: begun.isOver ? nowMs : begun.beganAtMs,
        isOver: isDone,
        last: { sequence: last.sequence, hash: toHex(last.hash) },
        faults: [...this.#pass.faults.filter(isBehind), ...faults],
        ends: isAtEnd && after.cell === undefined ? [...ends] : (endsBefore ?? []),
        hasStrays: hasStrays === true || stray !== undefined,
      },
      { faults, ends, isStray: stray !== undefined },
    );
    this.#cell = isDone ? undefined : last.cell;
    return isDone ? 'idle' : 'more';
  }

  /** What was found, once more. */
  async lookAgain(): Promise<BatchOutcome> {
    const { check } = this.#ports;
    const { hasStrays: wereStrays = false } = this.#pass;
    // Among the cells: what else was found has its turn every five seconds.
    const isAmongCells = wereStrays && this.#again !== cellsBegin;
    const { faults: stood, ends: endsStood = [] } = isAmongCells ? noPass : this.#pass;
    const sequences = new Set(stood.map(({ sequence }) => sequence));
    if (sequences.size + endsStood.length === 0 && !wereStrays) return 'idle';
    const faults: ChainFault[] = [];
    for (const sequence of sequences) faults.push(...(await check.at(sequence)));
    const ends = endsStood.length === 0 ? [] : await check.end();
    const strays = wereStrays ? await this.#straysAgain() : 'none';
    if (isAmongCells && strays === 'unknown') return 'more';
    const others = this.#pass.faults.filter(({ sequence }) => !sequences.has(sequence));
    const { ends: endsNow = [], hasStrays = false } = this.#pass;
    this.#stand(
      {
        ...this.#pass,
        faults: [...others, ...faults],
        ends: endsStood.length === 0 ? endsNow : [...ends],
        hasStrays: wereStrays ? strays !== 'none' : hasStrays,
      },
      { faults, ends, isStray: strays === 'found' },
    );
    return strays === 'unknown' ? 'more' : 'idle';
  }

  /** Where the cell that was found is gone, or forgotten by a restart, all of them are gone through. */
  async #straysAgain(): Promise<'found' | 'none' | 'unknown'> {
    const { check } = this.#ports;
    if (this.#stray !== undefined) {
      if (await check.isStray(this.#stray)) return 'found';
      this.#stray = undefined;
      this.#again = cellsBegin;
    }
    const { last, stray, isDone } = await check.page({ ...chainBegin, cell: this.#again }, 1);
    this.#again = isDone ? cellsBegin : (last.cell ?? cellsBegin);
    this.#stray ??= stray;
    if (this.#stray !== undefined) return 'found';
    return isDone ? 'none' : 'unknown';
  }

  #stand(pass: Pass, found: Found): void {
    const { disk, log } = this.#ports;
    const known = new Set(this.#pass.faults.map(nameOf));
    for (const fault of found.faults) {
      // Nobody changed anything where a key was destroyed on purpose.
      if (fault.code !== 'COLUMN_UNREADABLE') this.#found += 1;
      if (!known.has(nameOf(fault))) log.error({ ...fault }, unsound);
    }
    for (const code of found.ends) {
      this.#found += 1;
      if (this.#pass.ends?.includes(code) !== true) log.error({ code }, unsound);
    }
    if (found.isStray) {
      this.#found += 1;
      if (this.#pass.hasStrays !== true) log.error({ code: 'CELL_STRAY' }, unsound);
    }
    this.#pass = { ...pass, faults: pass.faults.slice(0, standingMax) };
    keepDocument(disk, file, this.#pass);
  }
}

const unsound = 'the chain of records does not hold';

function nameOf({ code, sequence }: ChainFault): string {
  return `${code}@${sequence}`;
}

function placeOf({ last }: Pass, cell: CellPlace | undefined): ChainPlace {
  const place = { sequence: last.sequence, hash: fromHex(last.hash) ?? new Uint8Array() };
  return cell === undefined ? place : { ...place, cell };
}
