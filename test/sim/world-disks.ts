/** The disks of all agents of a world, and what the observer hears of them. */

import { toHex } from '#shared/crypto/bytes.ts';
import { parseFrame, statementHashOf } from '#shared/crypto/envelope.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { DatabasePool, SimulatedDisk } from './disk.ts';
import type { Draws, WorldTime } from './model.ts';
import { DiskWatch } from './observed-disk.ts';
import type { Observer } from './observer.ts';

export interface DisksOptions {
  readonly agentIds: readonly string[];
  readonly observer: Observer;
  readonly crypto: CryptoProvider;
  readonly time: WorldTime;
  readonly draws: Draws;
}

/** Databases of worlds that are over, for those that come. */
const pool = new DatabasePool();
const outboxQuery = 'SELECT row_count FROM outbox_totals';
const databasesWithOutbox = ['store.db', 'signer.db'] as const;

export class WorldDisks {
  readonly #disks = new Map<string, SimulatedDisk>();

  constructor({ agentIds, observer, crypto, time, draws }: DisksOptions) {
    const hashOf = (frame: Uint8Array): string => {
      const parsed = parseFrame(frame);
      return parsed.ok ? toHex(statementHashOf(crypto, parsed.frame)) : '';
    };
    for (const agentId of agentIds) {
      const watch = new DiskWatch({ observer, hashOf });
      const disk: SimulatedDisk = new SimulatedDisk({
        agentId,
        time,
        draws: draws.fork(`disk of ${agentId}`),
        pool,
        onDurable: (write) => watch.written(disk, write),
      });
      this.#disks.set(agentId, disk);
    }
  }

  of(agentId: string): SimulatedDisk {
    const disk = this.#disks.get(agentId);
    if (disk === undefined) throw new Error(`${agentId} has no disk`);
    return disk;
  }

  /** No write of the agent finds room, until the result is called. */
  fill(agentId: string): () => void {
    const disk = this.of(agentId);
    disk.isFull = true;
    return () => {
      disk.isFull = false;
    };
  }

  /**
   * Events that are durable at their producers and not settled yet: `3 at identity-a`. Who is revoked has
   * no secret of a new epoch, and cannot read what became of its events.
   */
  waiting(revoked: ReadonlySet<string>): string[] {
    return [...this.#disks.values()].flatMap((disk) =>
      databasesWithOutbox.flatMap((name) => {
        if (revoked.has(disk.agentId)) return [];
        const row = disk.peekDatabase(name)?.prepare(outboxQuery).get();
        const rows = Number(row?.['row_count'] ?? 0);
        return rows === 0 ? [] : [`${rows} at ${disk.agentId}`];
      }),
    );
  }

  /** The databases go on to the next world. */
  release(): void {
    for (const disk of this.#disks.values()) disk.release();
  }
}
