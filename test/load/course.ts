/**
 * What happens during a load: rotations until there were enough, one in five of them made to fail in
 * layer 5, and one emergency in the middle. Everything in it is drawn from the seed.
 */
import { join } from 'node:path';
import { layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import { memberFiles, type MeshLayout } from '#cli/mesh/layout.ts';
import type { RotationSummary } from '#cli/answers.ts';
import { span } from '#cli/style.ts';
import { refuseNewPrimaries } from '../demo/sabotage.ts';
import type { Draws } from '../sim/model.ts';
import type { Campaign, Turned } from './campaign.ts';
import type { Kills } from './kills.ts';
import type { LoadSettings } from './settings.ts';
import type { StackLoad } from './stack-load.ts';
import { StoredDamage } from './stored-damage.ts';
import { healingFault, restFaults } from './verdicts.ts';
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
const damagedLayer = 4;
/** Rotations until one is over well before the tokens of before it are. */
const firstTriesMax = 3;
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
  /** Rotations that were committed, the emergency among them. */
  readonly #committed: string[] = [];
  #witnessed: string | undefined;
  #struck = false;
  #isHurried = false;

  constructor(parts: CourseParts) {
    this.#parts = parts;
    const { layout, load } = parts;
    this.#witness = new Witness(layout, load.client);
    this.#damage = new StoredDamage(layout, {
      client: load.client,
      note: (measured) => load.note(measured),
    });
  }

  async run(): Promise<void> {
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
  }

  /** What was wrong by now, as far as it is nothing of the end. */
  get faults(): readonly string[] {
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

  /**
   * What is wrong once nothing goes on by itself: every rotation that was committed has to be retired,
   * none of them before what was given out under its old keys was over.
   */
  verifyRest(all: readonly RotationSummary[]): string[] {
    const faults = restFaults(all, this.#committed);
    const first = all.find(({ planId }) => planId === this.#witnessed);
    if (first?.phase === 'retired' && first.atMs < this.#witness.lastEndMs) {
      faults.push(`${first.planId} was retired before the tokens of before it were over`);
    }
    return faults;
  }

  /** What was given out before the first rotation was good until its end, and is refused by now. */
  async verifyOld(): Promise<readonly string[]> {
    const faults = await this.#witness.afterOverlap();
    this.#parts.tell(
      `old session, capability and certificate, stolen key: ${this.#witness.summary}`,
    );
    return faults;
  }

  async end(): Promise<void> {
    await this.#witness.stop();
    const { opened, refused } = await this.#damage.stop();
    this.#parts.tell(
      `damaged objects: ${opened} opened while whole, ${refused} refused while damaged`,
    );
    if (refused === 0 && this.#struck) this.#faults.push('no damaged object was read');
  }

  /** Alone, so that what was given out before is shown while its overlap lasts. */
  async #first(): Promise<void> {
    const { kills, load, campaign, tell } = this.#parts;
    load.phase('the first rotation');
    await kills.stop();
    let seen: 'late' | readonly string[] = 'late';
    for (let tries = 0; seen === 'late' && tries < firstTriesMax; tries += 1) {
      await this.#witness.start();
      const turned = await campaign.rotate(layerNumbers);
      this.#note(turned, false);
      if (turned.phase !== 'committed') continue;
      this.#witnessed = turned.planId;
      seen = await this.#witness.duringOverlap();
      if (seen === 'late') tell('the rotation took as long as tokens live: once more');
    }
    if (seen === 'late') this.#faults.push('no overlap was looked at: rotations take too long');
    else this.#faults.push(...seen.map((what) => `refused during its overlap: ${what}`));
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
    this.#struck = true;
    const wanted = { layer: damagedLayer, sinceMs: struckMs } as const;
    const found = await campaign.emergency(wanted, emergencyWithinMs);
    await this.#damage.mend();
    kills.spare([]);
    const fault = healingFault(found);
    if (found === undefined || fault !== undefined) {
      this.#faults.push(fault ?? 'the anomaly led to nothing');
      this.#healed = 'none that healed';
      return;
    }
    this.#committed.push(found.planId);
    this.#healed = `began by itself ${span(found.beganAtMs - struckMs)} after the damage, layers ${found.layers.join(', ')}`;
    tell(`emergency ${this.#healed}`);
  }

  #note({ planId, phase }: Turned, isSabotaged: boolean): void {
    const { tell } = this.#parts;
    if (phase === 'committed') {
      this.#ended.committed += 1;
      this.#committed.push(planId);
    }
    if (isSabotaged && phase === 'rolled_back') this.#ended.sabotaged += 1;
    else if (phase !== 'committed') this.#ended.others += 1;
    if (isSabotaged && phase === 'committed') this.#faults.push(`${planId} was committed`);
    if (phase === 'locked_out') this.#faults.push(`${planId} is locked out`);
    tell(
      `${this.#ended.committed} committed; ${planId} ${phase}${isSabotaged ? ' (made to fail)' : ''}`,
    );
  }
}
