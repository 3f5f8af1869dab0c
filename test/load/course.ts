/**
 * What happens during a load: rotations until there were enough, one in five of them made to fail in
 * layer 5, and one emergency in the middle. Everything in it is drawn from the seed.
 */
import { join } from 'node:path';
import { layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import { memberFiles, type MeshLayout } from '#cli/mesh/layout.ts';
import { span } from '#cli/style.ts';
import { refuseNewPrimaries } from '../demo/sabotage.ts';
import type { Draws } from '../sim/model.ts';
import type { Campaign, Turned } from './campaign.ts';
import type { Kills } from './kills.ts';
import type { LoadSettings } from './settings.ts';
import type { StackLoad } from './stack-load.ts';
import { StoredDamage } from './stored-damage.ts';
import { Witness } from './witness.ts';

export interface CourseParts {
  readonly layout: MeshLayout;
  readonly load: StackLoad;
  readonly kills: Kills;
  readonly campaign: Campaign;
  readonly settings: LoadSettings;
  readonly tell: (line: string) => void;
  readonly draws: Draws;
}

const sabotagePart = 0.2;
/** Layer 7 knows what is usual for a key after so long, at a heartbeat of half a second. */
const learningMs = 35_000;
const emergencyWithinMs = 90_000;
/** A capability lives for a minute. */
const witnessMs = 45_000;
/** Whoever is killed forgets what it has learnt, or what it has counted. */
const heardBy = ['self-healing-a', 'encryption-a', 'encryption-service', 'nats-server'];
const withoutLayer4: readonly LayerNumber[] = [1, 2, 3, 6, 7];

export class Course {
  readonly #parts: CourseParts;
  readonly #witness: Witness;
  readonly #damage: StoredDamage;
  readonly #faults: string[] = [];
  readonly #ended = { committed: 0, sabotaged: 0, others: 0 };
  #healed: string | undefined;
  #isHurried = false;

  constructor(parts: CourseParts) {
    this.#parts = parts;
    this.#witness = new Witness(parts.layout);
    this.#damage = new StoredDamage(parts.layout);
  }

  /** What was wrong. */
  async run(): Promise<readonly string[]> {
    const { settings, load } = this.#parts;
    const endMs = performance.now() + settings.seconds * 1_000;
    const half = Math.ceil(settings.rotations / 2);
    await this.#damage.start();
    await this.#first();
    const goesOn = (): boolean =>
      !this.#isHurried && (this.#ended.committed < settings.rotations || performance.now() < endMs);
    while (goesOn()) {
      if (this.#healed === undefined && this.#ended.committed >= half) await this.#emergency();
      load.phase('rotations, and processes killed');
      await this.#one();
    }
    if (this.#healed === undefined && !this.#isHurried) await this.#emergency();
    return this.#faults;
  }

  /** Ends after the rotation that runs; what was done by then is looked at as ever. */
  hurry(): void {
    this.#isHurried = true;
    this.#faults.push('it was interrupted');
  }

  summary(): string {
    const { committed, sabotaged, others } = this.#ended;
    return (
      `${committed} rotations committed, ${sabotaged} made to fail and gone back, ` +
      `${others} that ended otherwise; emergency: ${this.#healed ?? 'none'}`
    );
  }

  /** What was given out before the first rotation is refused by now. */
  async verifyOld(faults: string[]): Promise<void> {
    const accepted = await this.#witness.afterOverlap();
    faults.push(...accepted.map((what) => `accepted after its overlap: ${what}`));
    this.#parts.tell('old session, capability and certificate: looked at');
  }

  async end(): Promise<void> {
    this.#witness.stop();
    const { opened, refused, unexpected } = await this.#damage.stop();
    const others = Object.entries(unexpected).map(([what, count]) => `${what} ${count}`);
    this.#parts.tell(
      `damaged objects: ${opened} opened while whole, ${refused} refused while damaged; otherwise: ${others.join(', ') || 'nothing'}`,
    );
  }

  /** Alone, so that what was given out before is shown while its overlap lasts. */
  async #first(): Promise<void> {
    const { kills, load, campaign, tell } = this.#parts;
    load.phase('the first rotation');
    await kills.stop();
    await this.#witness.start();
    const beganMs = performance.now();
    this.#note(await campaign.rotate(layerNumbers), false);
    if (performance.now() - beganMs < witnessMs) {
      const refused = await this.#witness.duringOverlap();
      this.#faults.push(...refused.map((what) => `refused during its overlap: ${what}`));
    } else {
      tell('the first rotation took longer than a capability lives: its overlap was not looked at');
    }
    if (this.#parts.settings.kills) kills.start();
  }

  async #one(): Promise<void> {
    const { campaign, layout, draws } = this.#parts;
    const isSabotaged = draws.chance(sabotagePart);
    const repair = isSabotaged
      ? refuseNewPrimaries(join(layout.serviceDirectory(5), memberFiles.state))
      : undefined;
    try {
      this.#note(await campaign.rotate(layerNumbers), isSabotaged);
    } finally {
      repair?.();
    }
  }

  /** Layer 4 is left alone until layer 7 knows what is usual for its key; then stored keys are damaged. */
  async #emergency(): Promise<void> {
    const { kills, load, campaign, tell } = this.#parts;
    load.phase('an anomaly, and the emergency rotation');
    kills.spare(heardBy);
    const learntMs = performance.now() + learningMs;
    while (performance.now() < learntMs) this.#note(await campaign.rotate(withoutLayer4), false);
    const struckMs = await this.#damage.strike();
    const found = await campaign.emergency(emergencyWithinMs);
    await this.#damage.mend();
    kills.spare([]);
    if (found === undefined || found.phase === 'rolled_back') {
      this.#faults.push(`the anomaly led to ${found?.phase ?? 'nothing'}`);
      this.#healed = 'none in time';
      return;
    }
    this.#healed = `began by itself ${span(found.beganAtMs - struckMs)} after the damage, layers ${found.layers.join(', ')}`;
    tell(`emergency ${this.#healed}`);
  }

  #note({ planId, phase }: Turned, isSabotaged: boolean): void {
    const { tell } = this.#parts;
    if (phase === 'committed') this.#ended.committed += 1;
    else if (isSabotaged && phase === 'rolled_back') this.#ended.sabotaged += 1;
    else this.#ended.others += 1;
    if (isSabotaged && phase === 'committed') this.#faults.push(`${planId} was committed`);
    if (phase === 'locked_out') this.#faults.push(`${planId} is locked out`);
    tell(
      `${this.#ended.committed} committed; ${planId} ${phase}${isSabotaged ? ' (made to fail)' : ''}`,
    );
  }
}
