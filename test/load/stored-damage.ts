/**
 * An anomaly that is none of the load's: somebody who can write to layer 4's disk flips one bit in each
 * stored data key of one owner's objects, and this owner goes on reading them. Each read is refused, and
 * layer 4 counts a use of its KEK that failed; whether anybody finds that out of the ordinary is for layer
 * 7 to say, from telemetry alone. The objects belong to this owner and to nobody else; the owner knows
 * which answer is right at any moment, and whatever else comes is counted as unexpected.
 */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TlsClient } from '#agents/layers/service/tls-client.ts';
import { memberFiles, type MeshLayout } from '#cli/mesh/layout.ts';
import { compile, Type } from '#schemas/primitives.ts';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import { enrol } from './enrolment.ts';
import { frontDoor } from './front-door.ts';
import { StackUser, StepFailed } from './stack-user.ts';

export interface DamageReport {
  /** Reads of whole objects that gave what was written. */
  readonly opened: number;
  /** Reads of damaged objects that were refused, as they have to be. */
  readonly refused: number;
  /** Answers that were neither, by what they were. */
  readonly unexpected: Readonly<Record<string, number>>;
}

const subject = 'keeper';
const objects = 16;
const readPauseMs = 80;
const context = 'kept';
const refusal = 'DATA_KEY_DAMAGED';
const sealedCheck = compile(Type.Object({ objectId: Type.String(), ciphertext: Type.String() }));
const openedCheck = compile(Type.Object({ plaintext: Type.String() }));

interface Kept {
  readonly objectId: string;
  readonly ciphertext: string;
  readonly plaintext: string;
}

/** A row as it was before it was damaged. */
interface Copy {
  readonly objectId: string;
  readonly wrapped: Uint8Array;
}

export class StoredDamage {
  readonly #layout: MeshLayout;
  readonly #client: TlsClient;
  readonly #owner: StackUser;
  readonly #kept: Kept[] = [];
  #copies: readonly Copy[] = [];
  #wanted: 'whole' | 'damaged' = 'whole';
  #turned: PromiseWithResolvers<number> | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopping = false;
  #failure: string | undefined;
  #counts = { opened: 0, refused: 0, unexpected: new Map<string, number>() };

  constructor(layout: MeshLayout) {
    this.#layout = layout;
    this.#client = frontDoor(layout);
    this.#owner = new StackUser(subject, this.#client, ({ failure }) => {
      this.#failure = failure;
    });
  }

  /** Seals the objects and begins to read them, all the time. @throws StepFailed */
  async start(): Promise<void> {
    await enrol(this.#layout, [{ user: this.#owner, role: 'keeper' }]);
    for (let at = 0; at < objects; at += 1) {
      const plaintext = toBase64Url(Buffer.from(`kept, ${at}`));
      const sealed = await this.#ask('encrypt', { plaintext, context });
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
    this.#client.close();
    const { opened, refused, unexpected } = this.#counts;
    return { opened, refused, unexpected: Object.fromEntries(unexpected) };
  }

  async #turn(wanted: 'whole' | 'damaged'): Promise<number> {
    this.#wanted = wanted;
    this.#turned = Promise.withResolvers();
    return await this.#turned.promise;
  }

  /** Damage is done between two reads, so that every answer is either right or wrong. */
  async #run(): Promise<void> {
    let isWhole = true;
    for (let at = 0; !this.#stopping; at += 1) {
      if (isWhole !== (this.#wanted === 'whole')) {
        if (isWhole) this.#damage();
        else this.#restore();
        isWhole = !isWhole;
        this.#turned?.resolve(Date.now());
      }
      const kept = this.#kept[at % objects];
      if (kept !== undefined) this.#count(await this.#read(kept), isWhole);
      await sleep(readPauseMs);
    }
  }

  /** `opened`, or the code of what failed. */
  async #read({ objectId, ciphertext, plaintext }: Kept): Promise<string> {
    try {
      const opened = await this.#ask('decrypt', { objectId, ciphertext, context });
      const isRight = openedCheck.check(opened) && opened.plaintext === plaintext;
      return isRight ? 'opened' : 'WRONG_CONTENT';
    } catch (error) {
      if (!(error instanceof StepFailed)) throw error;
      return this.#failure ?? 'UNKNOWN';
    }
  }

  #count(outcome: string, isWhole: boolean): void {
    const { unexpected } = this.#counts;
    if (outcome === (isWhole ? 'opened' : refusal))
      this.#counts[isWhole ? 'opened' : 'refused'] += 1;
    else unexpected.set(outcome, (unexpected.get(outcome) ?? 0) + 1);
  }

  async #ask(what: 'encrypt' | 'decrypt', body: unknown): Promise<unknown> {
    return await this.#owner.use(what, {
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
