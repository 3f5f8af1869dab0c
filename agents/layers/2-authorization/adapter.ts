/**
 * Layer 2, authorization: the ML-DSA-87 key that signs capability tokens (capability-signature) and the
 * HMAC-SHA3-384 key behind nonces (nonce-mac), which nobody else may hold and which ages fastest.
 */

import { EmbeddedAdapter, type EmbeddedOptions } from '../embedded/embedded-adapter.ts';

export const layer = 2;

/** The layer's keys in the embedded key system. @throws AdapterError */
export function openAdapter(options: Omit<EmbeddedOptions, 'layer'>): EmbeddedAdapter {
  return EmbeddedAdapter.open({ ...options, layer });
}
