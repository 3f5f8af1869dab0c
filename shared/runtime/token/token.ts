/**
 * The token port: the only way the signer reaches its ML-DSA-87 keys. A token makes keys, tells
 * their public halves and signs with a context string (FIPS 204, section 5.2); no private half ever
 * crosses this interface. It also wraps bytes that only it can unwrap, for what the signer keeps at rest. Two back ends exist, a PKCS#11 token in a child process and a file token,
 * and both pass one contract suite (test/contract/token).
 */
import assert from 'node:assert/strict';

export type KeyRole = 'orchestration' | 'audit' | 'enrolment';

export interface TokenDescription {
  kind: 'pkcs11' | 'file';
  label: string;
  /** Where signing happens: from a wrapped seed in our process, inside the token, or from a file. */
  mode: 'wrapped-seed' | 'in-token' | 'file';
  isHsm: boolean;
  /** What every place that shows the signer must print. */
  notice: string;
}

export type CanaryResult =
  | { ok: true; durationMs: number }
  | {
      ok: false;
      code: 'TOKEN_CANARY_FAILED';
      /** What was seen outside the token: a signature that does not verify, or a dropped context. */
      reason: 'signature-invalid' | 'context-ignored';
    };

/**
 * Every method rejects with a `TokenError`. Arguments out of bounds (a bad key name for a new key,
 * a context over 255 bytes, a message over 1 MiB, more than 64 KiB to wrap) are broken invariants of the caller and assert.
 */
export interface Token {
  describe(): TokenDescription;
  /**
   * Makes an ML-DSA-87 key, durable when this resolves. Not idempotent: an existing name is refused
   * with KEY_EXISTS, because replacing a key silently is losing one. Never retried by itself: after
   * TOKEN_TIMEOUT or TOKEN_UNREACHABLE ask `publicKey`, where KEY_UNKNOWN means that none was made.
   */
  generateKey(keyName: string): Promise<{ publicKey: Uint8Array }>;
  /** 2,592 bytes (FIPS 204, table 2). KEY_UNKNOWN if there is no such key. */
  publicKey(keyName: string): Promise<Uint8Array>;
  /** 4,627 bytes (FIPS 204, table 2); hedged, so two signatures of one message differ. */
  sign(keyName: string, message: Uint8Array, context: Uint8Array): Promise<Uint8Array>;
  /**
   * AES-256-GCM under a key that cannot leave the token, with a fresh IV: 40 bytes longer than
   * `bytes`, which has 1 byte to 64 KiB. `purpose`, at most 512 bytes, is bound to it.
   */
  wrap(bytes: Uint8Array, purpose: Uint8Array): Promise<Uint8Array>;
  /**
   * What `wrap` was given; the caller wipes it. WRAPPING_INVALID where another token wrapped it, or
   * for another purpose, or a byte of it was changed.
   */
  unwrap(wrapped: Uint8Array, purpose: Uint8Array): Promise<Uint8Array>;
  /** Signs with a context under a key of its own, and judges the signature outside the token. */
  canary(): Promise<CanaryResult>;
  close(): Promise<void>;
}

/** A key in a token by its name, and by the id that was drawn for it when it was made. */
export interface TokenKey {
  /** Lower case, digits, dot, underscore and hyphen, 1 to 64 characters. */
  readonly name: string;
  /** 32 bytes. */
  readonly id: Uint8Array;
}

export const tokenErrorCodes = [
  'TOKEN_UNREACHABLE',
  'TOKEN_TIMEOUT',
  'TOKEN_PIN_WRONG',
  'TOKEN_PIN_LOCKED',
  'TOKEN_NOT_FOUND',
  'TOKEN_LIBRARY_MISSING',
  'KEY_UNKNOWN',
  'KEY_EXISTS',
  'TOKEN_MECHANISM_MISSING',
  'TOKEN_FAILED',
  'TOKEN_CANARY_FAILED',
  'WRAPPING_INVALID',
] as const;

export type TokenErrorCode = (typeof tokenErrorCodes)[number];

/** What an operator can do about each code; every `TokenError` message ends with it. */
export const tokenAdvice: Readonly<Record<TokenErrorCode, string>> = {
  TOKEN_UNREACHABLE: 'check that the token is plugged in and its service runs, then try again',
  TOKEN_TIMEOUT: 'the token did not answer in time; check its load and its connection',
  TOKEN_PIN_WRONG:
    'the PIN was refused once and is not tried again, because wrong PINs lock a token; correct the PIN file, then restart the process that uses it',
  TOKEN_PIN_LOCKED:
    'no login was tried; let the security officer unlock or reset the PIN, then restart the process that uses it',
  TOKEN_NOT_FOUND: 'check the token label and the slot configuration of the PKCS#11 library',
  TOKEN_LIBRARY_MISSING:
    'install the PKCS#11 library and the package pkcs11js (it compiles: python3, make, g++), or ask for the file token by name',
  KEY_UNKNOWN:
    'check the key name, the key directory, and that this is the token that the key was made in',
  KEY_EXISTS: 'choose another key name; existing keys are never replaced',
  TOKEN_MECHANISM_MISSING: 'use a token that offers AES-GCM',
  TOKEN_FAILED: 'see the cause',
  TOKEN_CANARY_FAILED: 'do not sign with this token: what it signs does not verify outside it',
  WRAPPING_INVALID: 'restore the file from before it was changed, or the token that it belongs to',
};

/** A fault of the token or of what stands behind it. `cause` is the fault as it came, if there is one. */
export class TokenError extends Error {
  readonly code: TokenErrorCode;
  /** What happened, without the advice; for people, never to be matched. */
  readonly detail: string;

  constructor(code: TokenErrorCode, detail: string, options: { cause?: unknown } = {}) {
    super(`${code}: ${detail} (${tokenAdvice[code]})`, options);
    this.name = 'TokenError';
    this.code = code;
    this.detail = detail;
  }
}

export const publicKeyBytes = 2592;
export const signatureBytes = 4627;
export const seedBytes = 32;
export const tokenKeyIdBytes = 32;
/** FIPS 204, section 5.2: a context string has at most 255 bytes. */
export const contextBytesMax = 255;
/** Far above any statement or document that the signer signs. */
export const messageBytesMax = 1_048_576;

/** What one wrapping holds: far above one secret, far below what a process would feel. */
export const wrapBytesMax = 65_536;
export const wrapPurposeBytesMax = 512;

const keyNamePattern = /^[a-z0-9][a-z0-9._-]{0,63}$/;
/** Printable ASCII, so that its bytes and characters agree when it is padded to 32. */
const labelPattern = /^[!-~](?:[ -~]{0,30}[!-~])?$/;

/** Lower case, digits, dot, underscore and hyphen, 1 to 64 characters: also safe as a file name. */
export function isKeyName(value: unknown): value is string {
  return typeof value === 'string' && keyNamePattern.test(value);
}

/** A PKCS#11 token label: 1 to 32 printable ASCII characters without blanks at the ends. */
export function isTokenLabel(value: unknown): value is string {
  return typeof value === 'string' && labelPattern.test(value);
}

export function assertSignArguments(message: Uint8Array, context: Uint8Array): void {
  assert(message.length <= messageBytesMax, 'message to sign is over its bound');
  assert(context.length <= contextBytesMax, 'signature context is over 255 bytes');
}
