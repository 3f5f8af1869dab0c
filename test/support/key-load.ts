/**
 * Uses of a mesh's keys, as its agents count and report them, and failures of them on demand: the
 * injected anomaly of tests and measurements. What is reported is real telemetry.
 */

import { slotDefinitions, type LayerNumber } from '#schemas/layers.ts';
import type { LayerAdapter } from '#agents/layers/adapter.ts';
import type { TelemetryRecent } from '#schemas/telemetry.ts';
import type { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import type { InMemoryMesh } from './in-memory-mesh.ts';

/** Reported uses of a key after which it is known what is usual of it. */
const learntUses = 400;
const learningMsMax = 120_000;

export class KeyLoad {
  readonly #adapters = new Map<number, EmbeddedAdapter>();
  readonly #failing = new Map<number, number>();
  #turn = 0;
  #timer: NodeJS.Timeout | undefined;

  /** For the mesh's `adapterOf`. */
  readonly adapterOf = (layer: number, adapter: EmbeddedAdapter): LayerAdapter => {
    this.#adapters.set(layer, adapter);
    return adapter;
  };

  /** `usesPerTurn` uses of each slot's primary key every `turnMs`; one in a thousand fails. */
  start({ turnMs, usesPerTurn }: { turnMs: number; usesPerTurn: number }): void {
    this.#timer = setInterval(() => {
      for (const { slot, layer } of slotDefinitions) this.#use(slot, layer, usesPerTurn);
    }, turnMs);
  }

  /** The keys of a layer, for whoever has stolen them. */
  adapter(layer: LayerNumber): EmbeddedAdapter {
    const adapter = this.#adapters.get(layer);
    if (adapter === undefined) throw new Error(`layer ${layer} has no agent`);
    return adapter;
  }

  /** Resolves when enough uses of every slot's newest key were reported. */
  async learnt(mesh: Pick<InMemoryMesh, 'ask'>): Promise<void> {
    const deadlineMs = performance.now() + learningMsMax;
    for (;;) {
      const { agents } = (await mesh.ask({ ask: 'telemetry-recent' })) as TelemetryRecent;
      const usage = agents.flatMap((agent) => agent.usage);
      const isLearnt = slotDefinitions.every(({ slot }) => {
        const newest = usage
          .filter((each) => each.slot === slot)
          .toSorted((one, other) => other.version - one.version)[0];
        return newest !== undefined && newest.operations >= learntUses;
      });
      if (isLearnt) return;
      if (performance.now() > deadlineMs) throw new Error('too few uses were reported');
      await new Promise((resolve) => {
        setTimeout(resolve, 100);
      });
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** From now on this part of the uses of a layer's keys fails; of the version that is primary now. */
  fail(layers: readonly LayerNumber[], part: number): void {
    for (const layer of layers) this.#failing.set(layer, part);
  }

  heal(): void {
    this.#failing.clear();
  }

  #use(slot: string, layer: number, uses: number): void {
    const adapter = this.#adapters.get(layer);
    if (adapter === undefined) return;
    let version: number | undefined;
    try {
      version = adapter.store.primary(slot)?.version;
    } catch {
      // The agent has stopped: its keys are closed.
      return;
    }
    if (version === undefined) return;
    const part = this.#failing.get(layer) ?? 0.001;
    for (let use = 0; use < uses; use += 1) {
      this.#turn += 1;
      // Spread evenly, and the same at each run.
      const failed = Math.floor(this.#turn * part) !== Math.floor((this.#turn - 1) * part);
      adapter.usage.record({ slot, version, operation: 'use', durationMs: 1, failed });
    }
  }
}
