/**
 * Faults of this folder: one error class with a code for what comes from outside (a key that is no
 * key, a value that cannot be encoded, a spent channel), and an assertion for what can only be a
 * mistake of our own. What a received message can do wrong is not here: that is data
 * (`envelope.ts`, `signed-document.ts`).
 */

export type CryptoErrorCode =
  /** Key material of the wrong length or outside its domain. */
  | 'KEY_INVALID'
  /** A peer's public value leads to no secret (X25519 of a point of low order). */
  | 'KEY_AGREEMENT_FAILED'
  /** A ciphertext of a KEM that has the wrong length. */
  | 'CIPHERTEXT_INVALID'
  /** The thread that makes a slow signature ended without one. */
  | 'SIGNING_FAILED'
  /** A value has no canonical encoding, or a larger one than allowed. */
  | 'NOT_ENCODABLE'
  /** A sender has used up its messages or audiences: draw a new incarnation. */
  | 'CHANNEL_EXHAUSTED'
  /** The previous event of this chain is neither accepted nor refused yet. */
  | 'CHAIN_BUSY'
  /** The keyring holds no secret for this channel. */
  | 'CHANNEL_UNKNOWN';

/** The one error class of `shared/crypto`. Messages never contain secrets. */
export class CryptoError extends Error {
  override readonly name = 'CryptoError';
  readonly code: CryptoErrorCode;

  constructor(code: CryptoErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** A broken invariant: a mistake in the program, never the doing of a peer. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Throws `InvariantError` unless `condition` holds. */
export function invariant(condition: boolean, what: string): asserts condition {
  if (!condition) throw new InvariantError(`invariant broken: ${what}`);
}

/** Asserts that `value` has exactly `length` bytes. */
export function assertLength(value: Uint8Array, length: number, what: string): void {
  invariant(value.length === length, `${what} has ${length} bytes, not ${value.length}`);
}
