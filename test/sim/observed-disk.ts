/**
 * From a simulated disk to the observer: what each durable write changed. Of the auditor's log only what
 * is new is read, record by record; what was on the disk and is gone is told as a cut.
 */

import { decode } from '@msgpack/msgpack';
import type { DurableWrite } from './disk-access.ts';
import type { SimulatedDisk } from './disk.ts';
import type { Leaf } from './observation.ts';
import type { Observer } from './observer.ts';

type Peek = Pick<
  SimulatedDisk,
  'agentId' | 'peekDatabase' | 'peekFile' | 'peekLog' | 'peekSecrets'
>;

/** Names of files that agents keep. */
const names = { trust: 'trust.json', log: 'audit.log', vault: 'epochs' } as const;
/** The log's first bytes, and what stands before each record (`agents/auditor/log.ts`). */
const magicBytes = 16;
const headBytes = 12;

export interface DiskWatchOptions {
  readonly observer: Observer;
  /** Statement hash of a frame, for what the bus never held under that sequence. */
  readonly hashOf: (frame: Uint8Array) => string;
}

export class DiskWatch {
  readonly #options: DiskWatchOptions;
  /** Where each record of the log ends. */
  readonly #ends: number[] = [];

  constructor(options: DiskWatchOptions) {
    this.#options = options;
  }

  /** Called for each durable write, at once. */
  written(disk: Peek, write: DurableWrite): void {
    const { observer } = this.#options;
    const { agentId } = disk;
    if (write.kind === 'database') {
      const database = disk.peekDatabase(write.name);
      if (database !== undefined) {
        observer.committed(agentId, write.name, database, write.tables);
      }
    } else if (write.kind === 'file' && write.name === names.trust) {
      observer.trustFile(agentId, disk.peekFile(names.trust) ?? new Uint8Array(0));
    } else if (write.kind === 'log' && write.name === names.log) {
      this.#logged(agentId, disk.peekLog(names.log) ?? new Uint8Array(0), write.from);
    } else if (write.kind === 'secret') {
      observer.vault(agentId, disk.peekSecrets(names.vault).keys());
    }
  }

  #logged(agentId: string, bytes: Uint8Array, from: number): void {
    const { observer } = this.#options;
    if ((this.#ends.at(-1) ?? 0) > from) {
      while ((this.#ends.at(-1) ?? 0) > from) this.#ends.pop();
      observer.cut(agentId, this.#ends.length);
    }
    observer.auditLog(agentId, bytes);
    let position = this.#ends.at(-1) ?? magicBytes;
    for (;;) {
      if (position + headBytes > bytes.length) return;
      const length = new DataView(bytes.buffer, bytes.byteOffset + position).getUint32(0);
      const end = position + headBytes + length;
      if (end > bytes.length) return;
      this.#record(agentId, bytes.subarray(position + headBytes, end));
      this.#ends.push(end);
      position = end;
    }
  }

  #record(agentId: string, payload: Uint8Array): void {
    const record = decode(payload) as Omit<Leaf, 'hash'> & { readonly frame: Uint8Array };
    const { leafIndex, verdict, sequence, frame } = record;
    const { observer, hashOf } = this.#options;
    const message = observer.message('GYRE_CONTROL', sequence);
    const isMessage = message !== undefined && Buffer.compare(message.data, frame) === 0;
    const hash = isMessage ? message.hash : hashOf(frame);
    observer.leaf(agentId, { leafIndex, hash, verdict, sequence });
  }
}
