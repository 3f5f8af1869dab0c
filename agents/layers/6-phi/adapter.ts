/**
 * Layer 6, phi: the HMAC-SHA3-384 key from which the keys of single patients are derived (patient-mac) and
 * the ML-DSA-87 key that signs consent (consent-signature).
 */

import { EmbeddedAdapter, type EmbeddedOptions } from '../embedded/embedded-adapter.ts';

export const layer = 6;

/** The layer's keys in the embedded key system. @throws AdapterError */
export function openAdapter(options: Omit<EmbeddedOptions, 'layer'>): EmbeddedAdapter {
  return EmbeddedAdapter.open({ ...options, layer });
}
