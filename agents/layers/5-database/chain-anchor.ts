/**
 * The last entry of the chain that this service has seen committed, in its own state and not in the
 * database: a database that was set back to an earlier state, or lost its last entries, is found out. It
 * is written shortly after the commits and may be behind them, never before them: a commit is on the disk
 * of the database before it is noted here (pglite-files.ts, postgresql.ts).
 */

import { StrictObject, Type, Uint, compile, type Static } from '#schemas/primitives.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import { keptDocument } from '../service/kept-document.ts';

const file = 'chain-anchor.json';
const writtenWithinMs = 200;

const Anchor = StrictObject({
  sequence: Uint(),
  /** SHA3-384. */
  hash: Type.String({ pattern: '^[0-9a-f]{96}$' }),
});
type Anchor = Static<typeof Anchor>;
const anchorCheck = compile(Anchor);

export class ChainAnchor {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #log: Log;
  #current: Anchor | undefined;
  #written: Anchor | undefined;
  #timer: Timer | undefined;

  /** @throws AdapterError STORE_FAILED where what was kept is damaged */
  constructor(disk: Disk, clock: Clock, log: Log) {
    this.#disk = disk;
    this.#clock = clock;
    this.#log = log;
    const kept = keptDocument(disk, file, anchorCheck);
    this.#current = kept;
    this.#written = kept;
  }

  /** Undefined before the first entry. */
  get current(): Anchor | undefined {
    return this.#current;
  }

  /** Whether a chain that ends there can be the one that was seen here; beyond it, anything can (chain-end.ts). */
  allows(end: { readonly sequence: number; readonly hash: Uint8Array }): boolean {
    const seen = this.#current;
    if (seen === undefined || end.sequence > seen.sequence) return true;
    return end.sequence === seen.sequence && toHex(end.hash) === seen.hash;
  }

  /** An entry was committed. */
  note(end: { readonly sequence: number; readonly hash: Uint8Array }): void {
    if (this.#current !== undefined && end.sequence <= this.#current.sequence) return;
    this.#current = { sequence: end.sequence, hash: toHex(end.hash) };
    this.#timer ??= this.#clock.after(writtenWithinMs, () => this.write());
  }

  write(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#current === undefined || this.#current === this.#written) return;
    try {
      this.#disk.replaceFile(file, Buffer.from(JSON.stringify(this.#current)));
      this.#written = this.#current;
    } catch (error) {
      // Written with the next entry; until then a cut of the last ones may go unseen.
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      this.#log.warn({ code }, 'the anchor of the chain was not written');
    }
  }
}
