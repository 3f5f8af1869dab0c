/**
 * The newest entry of every record that this service has seen committed, in its own state and not in the
 * database: so an older revision that was put back there, or a record that was taken out, is noticed by
 * whoever reads it, although everything that is left is signed. Of each record 16 bytes of a hash of its key,
 * its number and 16 bytes of its hash; a name tells nothing of the record.
 *
 * It is written shortly after the commits and may be behind them, never before them, as the anchor of the
 * chain is (chain-anchor.ts). What it is behind by, after a crash or where it is new, the pass over the chain makes up for (chain-pass.ts).
 */

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { lengthPrefixed, samePublicBytes, toHex, utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import { openDatabase, transact, translated } from '../sqlite.ts';
import { keyParts, type Entry, type RecordKey } from './record-entry.ts';

export interface Head {
  readonly sequence: number;
  /** The first 16 bytes of the entry's. */
  readonly hash: Uint8Array;
}

export interface RecordHeadsPorts {
  readonly disk: Pick<Disk, 'database'>;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Log;
}

const file = 'record-heads.db';
const shortBytes = 16;
const writtenWithinMs = 200;
const retryMs = 1_000;
/** While the disk takes nothing; beyond it the pass makes up for what is forgotten. */
const unwrittenMax = 4_096;

const schema = `CREATE TABLE IF NOT EXISTS heads (
  name BLOB PRIMARY KEY,
  sequence INTEGER NOT NULL,
  hash BLOB NOT NULL
) STRICT, WITHOUT ROWID;`;

interface Unwritten {
  readonly name: Uint8Array;
  readonly head: Head;
}

export class RecordHeads {
  readonly #database: DatabaseSync;
  readonly #ports: RecordHeadsPorts;
  readonly #select: StatementSync;
  readonly #insert: StatementSync;
  readonly #unwritten = new Map<string, Unwritten>();
  #timer: Timer | undefined;

  private constructor(database: DatabaseSync, ports: RecordHeadsPorts) {
    this.#database = database;
    this.#ports = ports;
    this.#select = database.prepare('SELECT sequence, hash FROM heads WHERE name = ?');
    this.#insert = database.prepare(
      `INSERT INTO heads VALUES (?, ?, ?) ON CONFLICT (name)
         DO UPDATE SET sequence = excluded.sequence, hash = excluded.hash
         WHERE excluded.sequence > heads.sequence`,
    );
  }

  /** @throws AdapterError STORE_FAILED, DISK_FULL */
  static open(ports: RecordHeadsPorts): RecordHeads {
    const database = openDatabase(ports.disk, file);
    return translated('the heads of records cannot be opened', () => {
      database.exec(schema);
      return new RecordHeads(database, ports);
    });
  }

  /** @throws AdapterError */
  of(key: RecordKey): Head | undefined {
    const name = this.#nameOf(key);
    const unwritten = this.#unwritten.get(toHex(name));
    if (unwritten !== undefined) return unwritten.head;
    const row = translated('a head cannot be read', () => this.#select.get(name));
    if (row === undefined || !(row['hash'] instanceof Uint8Array)) return undefined;
    return { sequence: Number(row['sequence']), hash: row['hash'] };
  }

  /** An entry was committed, or is verified and newer than what is known. @throws AdapterError */
  note(entry: Entry): void {
    const { sequence } = entry;
    const known = this.of(entry);
    if (known !== undefined && known.sequence >= sequence) return;
    const name = this.#nameOf(entry);
    const key = toHex(name);
    const oldest = this.#unwritten.size < unwrittenMax ? undefined : this.#unwritten.keys().next();
    if (oldest?.done === false) this.#unwritten.delete(oldest.value);
    this.#unwritten.delete(key);
    this.#unwritten.set(key, { name, head: { sequence, hash: shortOf(entry) } });
    this.#timer ??= this.#ports.clock.after(writtenWithinMs, () => this.write());
  }

  /** Everything that was noted is on the disk, unless it returns false. */
  write(): boolean {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#unwritten.size === 0) return true;
    try {
      transact(this.#database, 'heads were not written', () => {
        for (const { name, head } of this.#unwritten.values()) {
          this.#insert.run(name, head.sequence, head.hash);
        }
      });
      this.#unwritten.clear();
      return true;
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      this.#ports.log.warn({ code }, 'the heads of records were not written');
      this.#timer = this.#ports.clock.after(retryMs, () => this.write());
      return false;
    }
  }

  close(): void {
    this.write();
    this.#timer?.cancel();
    this.#database.close();
  }

  #nameOf(key: RecordKey): Uint8Array {
    const parts = lengthPrefixed(utf8('gyre/v1/record-head'), ...keyParts(key));
    return this.#ports.crypto.sha3_256(parts).slice(0, shortBytes);
  }
}

/** Whether an entry is that one, or a newer one that was not noted yet. */
export function isNewest(entry: Entry, head: Head | undefined): boolean {
  if (head === undefined || entry.sequence > head.sequence) return true;
  return entry.sequence === head.sequence && samePublicBytes(shortOf(entry), head.hash);
}

function shortOf({ hash }: Entry): Uint8Array {
  return hash.slice(0, shortBytes);
}
