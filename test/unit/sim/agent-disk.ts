/** A disk, its agent's lives, and a hand that ends a life at a point of its choice. */

import type { Disk } from '#shared/runtime/disk.ts';
import { DatabasePool, SimulatedDisk, type DurableWrite } from '../../sim/disk.ts';
import { SimulatedLife } from '../../sim/lives.ts';
import type { CrashPoint, CrashPoints, Life } from '../../sim/model.ts';
import { drawsFrom } from '../../sim/seed.ts';
import { SimulatedTime } from '../../sim/time.ts';

const pool = new DatabasePool();

export class AgentDisk implements CrashPoints {
  readonly time = new SimulatedTime();
  readonly disk: SimulatedDisk;
  /** Points that the present life passed. */
  points: CrashPoint[] = [];
  readonly durable: DurableWrite[] = [];
  life!: SimulatedLife;
  #lives = 0;
  #endsAt: (point: CrashPoint, index: number) => boolean = () => false;

  constructor(seed = 1) {
    this.disk = new SimulatedDisk({
      agentId: 'phi-a',
      time: this.time,
      draws: drawsFrom(seed),
      pool,
      onDurable: (write) => this.durable.push(write),
    });
  }

  /** A new life; the one before is over. */
  begin(endsAt: (point: CrashPoint, index: number) => boolean = () => false): Disk {
    this.#lives += 1;
    this.#endsAt = endsAt;
    this.points = [];
    this.life = new SimulatedLife({ agentId: 'phi-a', number: this.#lives, time: this.time });
    return this.disk.facade(this.life, this);
  }

  /** The power goes, and comes back. */
  crash(): Disk {
    this.life.crash();
    return this.begin();
  }

  pass(life: Life, point: CrashPoint): void {
    if (life !== this.life) throw new Error('a life that is over passes a point');
    if (this.#endsAt(point, this.points.length)) this.life.crash();
    this.points.push(point);
    this.life.assertAlive();
  }

  /** What comes of it within a second; `never` where nothing does. */
  async outcome<Result>(work: Promise<Result>): Promise<Result | 'never'> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    work.then(over, over);
    const came = await this.time.run(this.time.monotonicMs() + 1_000, () => isOver);
    return came ? work : 'never';
  }
}
