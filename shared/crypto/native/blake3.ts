/**
 * BLAKE3, which OpenSSL does not have, as WebAssembly from hash-wasm: about ten times faster than in
 * JavaScript (docs/adr). Compiled once while this module loads, so that hashing is synchronous
 * afterwards; it works in 16 KiB of its own memory, through which longer messages pass in pieces.
 *
 * One hasher serves all calls. It is set up anew for each message and never holds one across calls,
 * but the last message's bytes stay in its memory until the next: keys do not belong here.
 */
import { createBLAKE3 } from 'hash-wasm';

const hasher = await createBLAKE3(256);

/** 32 bytes, owned by the caller. */
export function blake3(message: Uint8Array): Uint8Array {
  return hasher.init().update(message).digest('binary');
}
