/**
 * An anomaly that is none of the load's: somebody who can write to layer 4's disk flips one bit in each
 * stored data key of one owner's objects, and this owner goes on reading them. Each read is refused, and
 * layer 4 counts a use of its KEK that failed; whether anybody finds that out of the ordinary is for layer
 * 7 to say, from telemetry alone. The objects belong to this owner and to nobody else; the owner knows
 * which answer is right at any moment. The owner's requests count among those of the load; whatever is not the
 * right answer counts there as a failure, a damaged object that opens like a wrong content.
 */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { memberFiles, type MeshLayout } from '#cli/mesh/layout.ts';
import { compile, Type } from '#schemas/primitives.ts';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import { enrol } from './enrolment.ts';
import type { StackLoad } from './stack-load.ts';
import { StackUser, StepFailed, type Measured } from './stack-user.ts';
import { contentFailure, countedRead, damagedRefusal } from './verdicts.ts';

export interface DamageReport {
  /** Reads of whole objects that gave what was written. */
  readonly opened: number;
  /** Reads of damaged objects that were refused, as they have to be. */
  readonly refused: number;
}

const subject = 'keeper';
const objects = 16;
const readPauseMs = 80;
const context = 'kept';
const reading = 'read-kept';
const sealedCheck = compile(Type.Object({ objectId: Type.String(), ciphertext: Type.String() }));
const openedCheck = compile(Type.Object({ plaintext: Type.String() }));

interface Kept {
  readonly objectId: string;
  readonly ciphertext: string;
  readonly plaintext: string;
}

/** Where the owner's requests are counted, and by whom they are sent. */
export type DamageLoad = Pick<StackLoad, 'client' | 'note'>;

/** A row as it was before it was damaged. */
interface Copy {
  readonly objectId: string;
  readonly wrapped: Uint8Array;
}

export class StoredDamage {
  readonly #layout: MeshLayout;
  readonly #note: (measured: Measured) => void;
  readonly #owner: StackUser;
  readonly #kept: Kept[] = [];
  #copies: readonly Copy[] = [];
  #wanted: 'whole' | 'damaged' = 'whole';
  #turned: PromiseWithResolvers<number> | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopping = false;
  #isWhole = true;
  #counts = { opened: 0, refused: 0 };

  /** The load is under way until this one has stopped. */
  constructor(layout: MeshLayout, { client, note }: DamageLoad) {
    this.#layout = layout;
    this.#note = note;
    this.#owner = new StackUser(subject, client, (measured) => {
      note(measured.step === reading ? countedRead(measured, this.#isWhole) : measured);
    });
  }

  /** Seals the objects and begins to read them, all the time. @throws StepFailed */
  async start(): Promise<void> {
    await enrol(this.#layout, [{ user: this.#owner, role: 'keeper' }]);
    for (let at = 0; at < objects; at += 1) {
      const plaintext = toBase64Url(Buffer.from(`kept, ${at}`));
      const sealed = await this.#ask('seal-kept', 'encrypt', { plaintext, context });
      if (!sealedCheck.check(sealed)) throw new Error('nothing was sealed');
      this.#kept.push({ ...sealed, plaintext });
    }
    this.#running = this.#run();
  }

  /** Flips the bits; the time at which that was done, in milliseconds since 1970. */
  strike(): Promise<number> {
    return this.#turn('damaged');
  }

  /** Puts back what was there, as from a backup; the time at which that was done. */
  mend(): Promise<number> {
    return this.#turn('whole');
  }

  async stop(): Promise<DamageReport> {
    this.#stopping = true;
    await this.#running;
    return { ...this.#counts };
  }

  async #turn(wanted: 'whole' | 'damaged'): Promise<number> {
    this.#wanted = wanted;
    this.#turned = Promise.withResolvers();
    return await this.#turned.promise;
  }

  /** Damage is done between two reads, so that every answer is either right or wrong. */
  async #run(): Promise<void> {
    for (let at = 0; !this.#stopping; at += 1) {
      if (this.#isWhole !== (this.#wanted === 'whole')) {
        if (this.#isWhole) this.#damage();
        else this.#restore();
        this.#isWhole = !this.#isWhole;
        this.#turned?.resolve(Date.now());
      }
      const kept = this.#kept[at % objects];
      if (kept !== undefined) await this.#read(kept);
      await sleep(readPauseMs);
    }
  }

  async #read({ objectId, ciphertext, plaintext }: Kept): Promise<void> {
    try {
      const opened = await this.#ask(reading, 'decrypt', { objectId, ciphertext, context });
      const isRight = openedCheck.check(opened) && opened.plaintext === plaintext;
      const failure = contentFailure(isRight, this.#isWhole);
      if (failure === undefined) this.#counts.opened += 1;
      else this.#note({ step: reading, tookMs: 0, failure });
    } catch (error) {
      if (!(error instanceof StepFailed)) throw error;
      const isRefused = error.step === reading && error.code === damagedRefusal;
      if (!this.#isWhole && isRefused) this.#counts.refused += 1;
    }
  }

  async #ask(step: string, what: 'encrypt' | 'decrypt', body: unknown): Promise<unknown> {
    return await this.#owner.use(step, {
      audience: 'encryption',
      scope: 'encryption:use',
      method: 'POST',
      path: `/encryption/v1/objects/${what}`,
      body,
    });
  }

  #damage(): void {
    this.#withStore((store) => {
      const rows = store
        .prepare('SELECT object_id, wrapped FROM data_keys WHERE owner = ?')
        .all(owner);
      this.#copies = rows.map(({ object_id: objectId, wrapped }) => {
        if (typeof objectId !== 'string' || !(wrapped instanceof Uint8Array)) {
          throw new Error('a stored data key has an id and bytes');
        }
        return { objectId, wrapped };
      });
      const write = store.prepare(
        'UPDATE data_keys SET wrapped = ? WHERE owner = ? AND object_id = ?',
      );
      for (const { objectId, wrapped } of this.#copies) {
        const damaged = Uint8Array.from(wrapped);
        damaged[0] = (damaged[0] ?? 0) ^ 1;
        write.run(damaged, owner, objectId);
      }
    });
  }

  #restore(): void {
    this.#withStore((store) => {
      const write = store.prepare(
        'UPDATE data_keys SET wrapped = ?, damaged = 0 WHERE owner = ? AND object_id = ?',
      );
      for (const { objectId, wrapped } of this.#copies) write.run(wrapped, owner, objectId);
    });
  }

  #withStore(work: (store: DatabaseSync) => void): void {
    const path = join(this.#layout.serviceDirectory(4), memberFiles.state, 'data-keys.db');
    const store = new DatabaseSync(path, { timeout: 5_000 });
    try {
      store.exec('BEGIN IMMEDIATE');
      work(store);
      store.exec('COMMIT');
    } finally {
      store.close();
    }
  }
}

/** As layer 4 names the owner of what a subject seals. */
const owner = `subject:${subject}`;
