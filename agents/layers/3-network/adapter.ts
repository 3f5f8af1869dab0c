/**
 * Layer 3, network: the ML-DSA-87 key of TLS certificates (tls-certificate), the hybrid X25519 and
 * ML-KEM-1024 key of the mesh's key exchange (key-exchange) and the AES-256-GCM key that seals session
 * tickets (session-ticket), which lives a day.
 */

import { EmbeddedAdapter, type EmbeddedOptions } from '../embedded/embedded-adapter.ts';

export const layer = 3;

/** The layer's keys in the embedded key system. @throws AdapterError */
export function openAdapter(options: Omit<EmbeddedOptions, 'layer'>): EmbeddedAdapter {
  return EmbeddedAdapter.open({ ...options, layer });
}
