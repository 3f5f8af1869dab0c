/**
 * Layer 7, self-healing: the ML-DSA-87 key that signs healing actions (healing-signature), so that a repair
 * that nobody authorised can be told from one that somebody did.
 */

import { EmbeddedAdapter, type EmbeddedOptions } from '../embedded/embedded-adapter.ts';

export const layer = 7;

/** The layer's keys in the embedded key system. @throws AdapterError */
export function openAdapter(options: Omit<EmbeddedOptions, 'layer'>): EmbeddedAdapter {
  return EmbeddedAdapter.open({ ...options, layer });
}
