/**
 * Layer 1, identity: the keys by which people and services are known (identity-signature) and the keys
 * that sign their session tokens (session-token), both ML-DSA-87. Agents of layer 2 verify under them,
 * because capability keys are certified by identity keys.
 */

import { EmbeddedAdapter, type EmbeddedOptions } from '../embedded/embedded-adapter.ts';

export const layer = 1;

/** The layer's keys in the embedded key system. @throws AdapterError */
export function openAdapter(options: Omit<EmbeddedOptions, 'layer'>): EmbeddedAdapter {
  return EmbeddedAdapter.open({ ...options, layer });
}
