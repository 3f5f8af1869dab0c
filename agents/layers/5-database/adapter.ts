/**
 * Layer 5, database: the ML-DSA-87 key that signs records (record-signature) and the AES-256-GCM key that
 * wraps the data keys of columns (column-key).
 */

import { EmbeddedAdapter, type EmbeddedOptions } from '../embedded/embedded-adapter.ts';

export const layer = 5;

/** The layer's keys in the embedded key system. @throws AdapterError */
export function openAdapter(options: Omit<EmbeddedOptions, 'layer'>): EmbeddedAdapter {
  return EmbeddedAdapter.open({ ...options, layer });
}
