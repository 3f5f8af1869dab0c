/**
 * Layer 4, encryption: the root KEK (root-kek, AES-256-GCM) and the X25519MLKEM1024 key to which data
 * keys are encapsulated (kek). Both live in the embedded store; a token can hold the root KEK behind the
 * same interface. Agents of layer 5 use the public half of kek, under which column keys are wrapped.
 */

import { EmbeddedAdapter, type EmbeddedOptions } from '../embedded/embedded-adapter.ts';

export const layer = 4;

/** The layer's keys in the embedded key system. @throws AdapterError */
export function openAdapter(options: Omit<EmbeddedOptions, 'layer'>): EmbeddedAdapter {
  return EmbeddedAdapter.open({ ...options, layer });
}
