/**
 * One wrapped seed on disk: a file of exactly 72 bytes, mode 0600, written once and never changed.
 * Layout: "gyre-seed" ‖ NUL ‖ version 1 ‖ IV length 12 ‖ IV (12) ‖ AES-256-GCM of the 32-byte seed
 * (32) ‖ tag (16). The additional data bind algorithm, token label and key name, so that a blob put
 * under another name does not open.
 */
import { join } from 'node:path';

import { createDurably, readAtMost, systemCode } from '../durable-file.ts';
import { TokenError, isKeyName, seedBytes } from './token.ts';

export interface WrappedSeed {
  /** 12 bytes. */
  iv: Uint8Array;
  /** 48 bytes: the encrypted seed and its 16-byte tag. */
  sealed: Uint8Array;
}

export const ivBytes = 12;
export const tagBytes = 16;
export const sealedSeedBytes = seedBytes + tagBytes;
export const seedFileSuffix = '.seed';

const formatVersion = 1;
const header = Buffer.concat([Buffer.from('gyre-seed\0'), Uint8Array.of(formatVersion, ivBytes)]);
const fileBytes = header.length + ivBytes + sealedSeedBytes;

/** The additional data of a seed: a label and length-prefixed fields, so that no two inputs meet. */
export function seedAad(tokenLabel: string, keyName: string): Uint8Array {
  const fields = ['ML-DSA-87', tokenLabel, keyName].map((text) => Buffer.from(text, 'utf8'));
  const parts = fields.flatMap((field) => [Uint8Array.of(field.length), field]);
  return new Uint8Array(Buffer.concat([Buffer.from('gyre/v1/token-seed\0'), ...parts]));
}

/** KEY_UNKNOWN if there is none; TOKEN_FAILED if it cannot be read or is not a seed file. */
export async function readSeedFile(directory: string, keyName: string): Promise<WrappedSeed> {
  // A name that cannot be a key's names no key; it must not become a path either.
  if (!isKeyName(keyName)) throw new TokenError('KEY_UNKNOWN', 'not a key name');
  let bytes: Uint8Array;
  try {
    bytes = readAtMost(seedPath(directory, keyName), fileBytes + 1);
  } catch (error) {
    const code = systemCode(error) === 'ENOENT' ? 'KEY_UNKNOWN' : 'TOKEN_FAILED';
    throw new TokenError(code, `cannot read key ${keyName}`, { cause: error });
  }
  if (bytes.length !== fileBytes || header.compare(bytes, 0, header.length) !== 0) {
    throw new TokenError('TOKEN_FAILED', `the file of key ${keyName} is not a wrapped seed`);
  }
  const ivEnd = header.length + ivBytes;
  return { iv: bytes.slice(header.length, ivEnd), sealed: bytes.slice(ivEnd) };
}

/** KEY_EXISTS if the name is taken, decided by the file system; TOKEN_FAILED if it cannot be written. */
export async function writeSeedFile(
  directory: string,
  keyName: string,
  seed: WrappedSeed,
): Promise<void> {
  try {
    const bytes = Buffer.concat([header, seed.iv, seed.sealed]);
    await createDurably(seedPath(directory, keyName), bytes);
  } catch (error) {
    const code = systemCode(error) === 'EEXIST' ? 'KEY_EXISTS' : 'TOKEN_FAILED';
    throw new TokenError(code, `cannot store key ${keyName}`, { cause: error });
  }
}

function seedPath(directory: string, keyName: string): string {
  return join(directory, `${keyName}${seedFileSuffix}`);
}
