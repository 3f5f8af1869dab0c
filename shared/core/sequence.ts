/**
 * The order in which layers are turned: a topological order of their dependencies; where nothing
 * ties two layers, the preferred order decides.
 */

import type { LayerDependency, LayerNumber } from '#schemas/layers.ts';

export type Sequence =
  | { readonly ok: true; readonly layers: LayerNumber[] }
  | { readonly ok: false; readonly cycle: LayerNumber[] };

/** Dependencies on layers that are not among `layers` do not bind. */
export function sequenceLayers(
  layers: readonly LayerNumber[],
  dependencies: readonly Pick<LayerDependency, 'prerequisite' | 'dependent'>[],
  preferred: readonly LayerNumber[],
): Sequence {
  const rank = (layer: LayerNumber): number => {
    const position = preferred.indexOf(layer);
    return position === -1 ? preferred.length + layer : position;
  };
  const left = new Set([...layers].sort((one, other) => rank(one) - rank(other)));
  const ordered: LayerNumber[] = [];
  while (left.size > 0) {
    const next = [...left].find((layer) =>
      dependencies.every(
        ({ prerequisite, dependent }) => dependent !== layer || !left.has(prerequisite),
      ),
    );
    if (next === undefined) return { ok: false, cycle: [...left] };
    left.delete(next);
    ordered.push(next);
  }
  return { ok: true, layers: ordered };
}
