/**
 * Files of a simulated agent that are more than one content: the log, which takes writes at once and has
 * them on the disk only after a barrier, and the folder of secrets.
 *
 * When the power goes, a log keeps what was synced and of the rest the first few writes, the last of them
 * in part. A secret that is being wiped may be noise under its name.
 */

import type { LogFile, SecretFiles, SecretName } from '#shared/runtime/disk.ts';
import type { Access } from './disk-access.ts';
import type { Draws } from './model.ts';

type Change =
  { readonly position: number; readonly bytes: Uint8Array } | { readonly truncatedTo: number };

/** Buffers of worlds that are over: growing again costs more than all that is written into them. */
const idle: Uint8Array<ArrayBuffer>[] = [];
const idleMax = 16;
const none = new Uint8Array(0);

/** Bytes that grow and shrink. */
class Bytes {
  #buffer = idle.pop() ?? new Uint8Array(1 << 12);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** A view, until the next change. */
  view(from = 0, to = this.#length): Uint8Array {
    return this.#buffer.subarray(Math.min(from, this.#length), Math.min(to, this.#length));
  }

  apply(change: Change): void {
    if ('truncatedTo' in change) {
      this.#resize(change.truncatedTo);
      return;
    }
    const { position, bytes } = change;
    // What is between the old end and a write beyond it is empty.
    this.#resize(Math.max(this.#length, position + bytes.length), position);
    this.#buffer.set(bytes, position);
  }

  /** For the next one. */
  release(): void {
    if (idle.length < idleMax) idle.push(this.#buffer);
    this.#buffer = none;
    this.#length = 0;
  }

  #resize(length: number, emptyTo = length): void {
    if (length > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(length, 2 * this.#buffer.length));
      grown.set(this.view());
      this.#buffer = grown;
    }
    if (emptyTo > this.#length) this.#buffer.fill(0, this.#length, emptyTo);
    this.#length = length;
  }
}

export class SimulatedLog {
  readonly name: string;
  readonly #durable = new Bytes();
  readonly #image = new Bytes();
  #pending: Change[] = [];

  constructor(name: string) {
    this.name = name;
  }

  /** What is on the disk: a view, until the next change. */
  get durable(): Uint8Array {
    return this.#durable.view();
  }

  /** The world is over. */
  release(): void {
    this.#durable.release();
    this.#image.release();
  }

  open(access: Access): LogFile {
    return {
      size: () => access.soon(() => this.#image.length),
      read: (position, length) =>
        access.soon(() => this.#image.view(position, position + length).slice()),
      write: (position, bytes) => {
        const copy = bytes.slice();
        return access.later(() => this.#write(access, position, copy));
      },
      sync: () => access.later(() => access.write(`log ${this.name}`, () => this.#sync(access))),
      truncate: (size) => access.later(() => this.#change({ truncatedTo: size })),
      close: () => access.soon(() => this.#sync(access)),
    };
  }

  /** The power is gone. Where the bytes may be others since, or undefined. */
  tear(draws: Draws): number | undefined {
    const pending = this.#pending;
    if (pending.length === 0) return undefined;
    const from = this.#pendingFrom();
    const kept = draws.between(0, pending.length);
    for (const change of pending.slice(0, kept)) this.#durable.apply(change);
    const torn = pending[kept];
    if (torn !== undefined && 'bytes' in torn) {
      const bytes = torn.bytes.subarray(0, draws.between(0, torn.bytes.length));
      if (bytes.length > 0) this.#durable.apply({ position: torn.position, bytes });
    }
    this.#pending = [];
    this.#image.apply({ truncatedTo: 0 });
    this.#image.apply({ position: 0, bytes: this.#durable.view() });
    return from;
  }

  /** A full disk takes a part, and says only that it did not take all. */
  #write(access: Access, position: number, bytes: Uint8Array): void {
    if (access.isFull && access.chance(0.5)) {
      this.#change({ position, bytes: bytes.subarray(0, bytes.length >> 1) });
    }
    access.assertRoom();
    this.#change({ position, bytes });
  }

  #change(change: Change): void {
    this.#image.apply(change);
    this.#pending.push(change);
  }

  #sync(access: Access): void {
    if (this.#pending.length === 0) return;
    const from = this.#pendingFrom();
    for (const change of this.#pending) this.#durable.apply(change);
    this.#pending = [];
    access.written({ kind: 'log', name: this.name, from });
  }

  #pendingFrom(): number {
    const starts = this.#pending.map((change) =>
      'bytes' in change ? change.position : change.truncatedTo,
    );
    return Math.min(...starts);
  }
}

export class SimulatedSecrets {
  readonly name: string;
  readonly #secrets = new Map<string, { readonly secret: SecretName; content: Uint8Array }>();

  constructor(name: string) {
    this.name = name;
  }

  /** As they lie there, by `<channel> <epoch>`. */
  get wrapped(): ReadonlyMap<string, Uint8Array> {
    return new Map(Array.from(this.#secrets, ([key, { content }]) => [key, content]));
  }

  open(access: Access): SecretFiles {
    return {
      names: () => access.soon(() => Array.from(this.#secrets.values(), ({ secret }) => secret)),
      read: (secret) =>
        access.soon(() => this.#secrets.get(keyOf(secret))?.content.slice() ?? null),
      write: (secret, wrapped) => {
        const content = wrapped.slice();
        return access.later(() => this.#create(access, secret, content));
      },
      wipe: (secret) => access.later(() => this.#wipe(access, secret)),
    };
  }

  #create(access: Access, { channel, epoch }: SecretName, content: Uint8Array): void {
    const secret = { channel, epoch };
    if (this.#secrets.has(keyOf(secret))) throw existing(keyOf(secret));
    access.write(`secret of ${this.name}`, () => {
      access.assertRoom();
      this.#secrets.set(keyOf(secret), { secret, content });
      access.written({ kind: 'secret', name: this.name, secret });
    });
  }

  #wipe(access: Access, secret: SecretName): void {
    const held = this.#secrets.get(keyOf(secret));
    if (held === undefined) return;
    access.write(`noise over a secret of ${this.name}`, () => {
      held.content = new Uint8Array(held.content.length).fill(0xa5);
      access.written({ kind: 'secret', name: this.name, secret: held.secret });
    });
    this.#secrets.delete(keyOf(secret));
    access.written({ kind: 'secret', name: this.name, secret: held.secret });
    access.pass(`end of a secret of ${this.name}`, 'after');
  }
}

/** The system's error for a name that is taken. */
export function existing(name: string): Error {
  return Object.assign(new Error(`EEXIST: file already exists, ${name}`), { code: 'EEXIST' });
}

function keyOf({ channel, epoch }: SecretName): string {
  return `${channel} ${epoch}`;
}
