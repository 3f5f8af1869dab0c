/**
 * Bytes of the caller under the token's own AES-256 key: what the signer keeps at rest (secrets of
 * epochs) opens with this token only. A wrapping is "gyre-wrap" ‖ NUL ‖ version 1 ‖ IV length 12 ‖
 * IV (12) ‖ AES-256-GCM of the bytes ‖ tag (16); NIST SP 800-38D, the IV drawn anew for each call.
 *
 * The additional data are a label of their own in front of token label and purpose, each behind its
 * two-byte length, so that a wrapped ML-DSA seed (seed-file.ts), which lies under the same key, never
 * opens here: no private half crosses the token interface.
 */
import assert from 'node:assert/strict';

import { ivBytes, tagBytes } from './seed-file.ts';
import type { SeedWrapper } from './seed-keys.ts';
import { TokenError, wrapBytesMax, wrapPurposeBytesMax } from './token.ts';

const formatVersion = 1;
const header = Buffer.concat([Buffer.from('gyre-wrap\0'), Uint8Array.of(formatVersion, ivBytes)]);

/** What a wrapping has more than its content: 40 bytes. */
export const wrapOverheadBytes = header.length + ivBytes + tagBytes;

/** Asserts the bounds: 1 byte to 64 KiB of content, at most 512 bytes of purpose. */
export function assertWrapArguments(bytes: Uint8Array, purpose: Uint8Array): void {
  // SoftHSM2 encrypts no empty input.
  assert(bytes.length >= 1, 'there is nothing to be wrapped');
  assert(bytes.length <= wrapBytesMax, 'what is to be wrapped is over its bound');
  assertPurpose(purpose);
}

export function assertPurpose(purpose: Uint8Array): void {
  assert(purpose.length <= wrapPurposeBytesMax, 'the purpose of a wrapping is over its bound');
}

/** WRAPPING_INVALID for what cannot be a wrapping by its size or its first bytes. */
export function requireWrapping(wrapped: Uint8Array): void {
  const fits =
    wrapped.length > wrapOverheadBytes && wrapped.length <= wrapBytesMax + wrapOverheadBytes;
  if (fits && header.compare(wrapped, 0, header.length) === 0) return;
  throw new TokenError('WRAPPING_INVALID', 'this is no wrapping of this version');
}

export async function wrapBytes(
  wrapper: SeedWrapper,
  label: string,
  input: { readonly bytes: Uint8Array; readonly purpose: Uint8Array },
): Promise<Uint8Array> {
  const { iv, sealed } = await wrapper.wrap(input.bytes, wrapAad(label, input.purpose));
  assert(iv.length === ivBytes, 'a wrapping must have a 12-byte IV');
  assert(sealed.length === input.bytes.length + tagBytes, 'a wrapping has a wrong size');
  return new Uint8Array(Buffer.concat([header, iv, sealed]));
}

/** WRAPPING_INVALID for what this token did not wrap for this purpose, or what was changed since. */
export async function unwrapBytes(
  wrapper: SeedWrapper,
  label: string,
  input: { readonly wrapped: Uint8Array; readonly purpose: Uint8Array },
): Promise<Uint8Array> {
  const { wrapped, purpose } = input;
  requireWrapping(wrapped);
  const ivEnd = header.length + ivBytes;
  const parts = { iv: wrapped.slice(header.length, ivEnd), sealed: wrapped.slice(ivEnd) };
  try {
    return await wrapper.unwrap(parts, wrapAad(label, purpose));
  } catch (error) {
    // A library says by no number of its own that a tag does not check; a lost token has its own.
    if (!(error instanceof TokenError) || error.code !== 'TOKEN_FAILED') throw error;
    throw new TokenError('WRAPPING_INVALID', 'the wrapping does not open', { cause: error });
  }
}

function wrapAad(label: string, purpose: Uint8Array): Uint8Array {
  const fields = [Buffer.from(label, 'utf8'), purpose];
  const parts = fields.flatMap((field) => [
    Uint8Array.of(field.length >> 8, field.length & 0xff),
    field,
  ]);
  return new Uint8Array(Buffer.concat([Buffer.from('gyre/v1/token-wrap\0'), ...parts]));
}
