/** What a service says of itself: the policy that it works by, and the primary key of each slot. */

import type { LayerNumber } from '#schemas/layers.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import type { RefusalCounts } from './http-app.ts';
import type { KeptSettings } from './kept-settings.ts';

/** As many metrics as one telemetry sample of a service carries. */
const metricsMax = 16;

/** The answer of `GET /v1/health`. @throws AdapterError */
export function healthOf(layer: LayerNumber, keys: EmbeddedAdapter, settings: KeptSettings) {
  const slots = keys.store.slots().flatMap(({ slot }) => {
    const primary = keys.store.primary(slot);
    return primary === undefined ? [] : [{ slot, version: primary.version, keyId: primary.keyId }];
  });
  return { layer, status: 'ok', policyVersion: settings.current.policyVersion, slots } as const;
}

/** A service's own metrics, and of the refusals by code the most frequent ones: 16 in all. */
export function metricsOf(
  own: Readonly<Record<string, number>>,
  refusals: RefusalCounts,
): Record<string, number> {
  const frequent = Object.entries(refusals.metrics()).toSorted(
    ([, left], [, right]) => right - left,
  );
  return Object.fromEntries([...Object.entries(own), ...frequent].slice(0, metricsMax));
}
