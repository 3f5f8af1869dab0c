/**
 * Where a PIN comes from: a file, or a function for deployments that hold it elsewhere. Never argv
 * and never the environment, which other processes can read. It stays bytes up to the one library
 * call that takes a string (see pkcs11-library.ts), and whoever asked for it wipes it; the buffers of
 * the pipe to the child are the one copy that is not ours to wipe.
 */
import { isUtf8 } from 'node:buffer';

import { readAtMost } from '../durable-file.ts';
import { TokenError } from './token.ts';

/** A function must return a fresh array at each call: it is wiped after use. */
export type PinSource = { path: string } | (() => Uint8Array | Promise<Uint8Array>);

export const pinBytesMax = 255;

/**
 * 1 to 255 bytes of UTF-8, read anew at each call so that a corrected file counts. One line break at
 * the end of a file is not part of the PIN. TOKEN_FAILED if it cannot be read or is not a PIN; that
 * is not TOKEN_PIN_WRONG, because no token has been asked.
 */
export async function readPin(source: PinSource): Promise<Uint8Array> {
  const pin = typeof source === 'function' ? await source() : readPinFile(source.path);
  if (pin.length >= 1 && pin.length <= pinBytesMax && isUtf8(pin)) return pin;
  pin.fill(0);
  throw new TokenError('TOKEN_FAILED', `the PIN is not 1 to ${pinBytesMax} bytes of UTF-8`);
}

function readPinFile(path: string): Uint8Array {
  try {
    // One byte more than a PIN and its line break may have, so that a longer file is noticed.
    const bytes = readAtMost(path, pinBytesMax + 3);
    return bytes.subarray(0, bytes.length - lineBreakBytes(bytes));
  } catch (error) {
    throw new TokenError('TOKEN_FAILED', `cannot read the PIN file ${path}`, { cause: error });
  }
}

function lineBreakBytes(bytes: Uint8Array): number {
  if (bytes.at(-1) !== 0x0a) return 0;
  return bytes.at(-2) === 0x0d ? 2 : 1;
}
