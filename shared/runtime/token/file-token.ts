/**
 * The file token, for machines without PKCS#11: it must be asked for by name and says everywhere
 * that it is not an HSM. Seeds are AES-256-GCM blobs (seed-file.ts) under a key that scrypt (RFC
 * 7914) derives from the PIN; scrypt and not HKDF, because a PIN is something that a person may have
 * chosen. N = 2^15, r = 8, p = 3: 32 MiB and a few hundred milliseconds, once at opening. The file
 * `token.key` holds magic ‖ version ‖ salt (32) ‖ check value (32), so that a wrong PIN is told apart
 * from a damaged key. The derived key stays in memory until `close` wipes it.
 */
import assert from 'node:assert/strict';
import {
  createCipheriv,
  createDecipheriv,
  randomBytes,
  scrypt,
  timingSafeEqual,
} from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { createDurably, readAtMost, systemCode } from '../durable-file.ts';
import { requireCanary, runCanary } from './canary.ts';
import { readPin } from './pin.ts';
import type { PinSource } from './pin.ts';
import { ivBytes, seedFileSuffix, tagBytes } from './seed-file.ts';
import type { WrappedSeed } from './seed-file.ts';
import { SeedKeys } from './seed-keys.ts';
import type { SeedWrapper } from './seed-keys.ts';
import { TokenError, assertSignArguments, isKeyName, isTokenLabel } from './token.ts';
import type { CanaryResult, Token, TokenDescription } from './token.ts';
import { assertPurpose, assertWrapArguments, unwrapBytes, wrapBytes } from './wrapping.ts';

export interface FileTokenOptions {
  label: string;
  /** Folder of the wrapped seeds; made if missing, mode 0700. */
  directory: string;
  pin: PinSource;
}

const scryptCost = { N: 32_768, r: 8, p: 3, maxmem: 67_108_864 };
const magic = Buffer.from('gyre-file-token\0\x01', 'latin1');
const saltBytes = 32;
const checkBytes = 32;
const headerBytes = magic.length + saltBytes + checkBytes;

/**
 * Opens the token, making it at first use: the first PIN becomes its PIN. TOKEN_PIN_WRONG if the PIN
 * is another than at first use, TOKEN_FAILED if the folder cannot be used.
 */
export async function openFileToken(options: FileTokenOptions): Promise<Token> {
  assert(isTokenLabel(options.label), 'token label is 1 to 32 printable ASCII characters');
  const pin = await readPin(options.pin);
  try {
    const key = await unlockKey(options.directory, pin);
    const token = new FileToken(options.label, options.directory, key);
    try {
      await requireCanary(token);
    } catch (error) {
      await token.close();
      throw error;
    }
    return token;
  } finally {
    pin.fill(0);
  }
}

class FileToken implements Token {
  readonly #label: string;
  readonly #wrapper: AesWrapper;
  readonly #keys: SeedKeys;

  constructor(label: string, directory: string, key: Uint8Array) {
    this.#label = label;
    this.#wrapper = new AesWrapper(key);
    this.#keys = new SeedKeys({ directory, label, wrapper: this.#wrapper });
  }

  describe(): TokenDescription {
    return {
      kind: 'file',
      label: this.#label,
      mode: 'file',
      isHsm: false,
      notice: 'file token: not an HSM',
    };
  }

  async generateKey(keyName: string): Promise<{ publicKey: Uint8Array }> {
    assert(isKeyName(keyName), 'not a key name');
    return { publicKey: await this.#keys.generate(keyName) };
  }

  publicKey(keyName: string): Promise<Uint8Array> {
    return this.#keys.publicKey(keyName);
  }

  async sign(keyName: string, message: Uint8Array, context: Uint8Array): Promise<Uint8Array> {
    assertSignArguments(message, context);
    return this.#keys.sign(keyName, message, context);
  }

  async wrap(bytes: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    assertWrapArguments(bytes, purpose);
    return wrapBytes(this.#wrapper, this.#label, { bytes, purpose });
  }

  async unwrap(wrapped: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    assertPurpose(purpose);
    return unwrapBytes(this.#wrapper, this.#label, { wrapped, purpose });
  }

  canary(): Promise<CanaryResult> {
    return runCanary(this);
  }

  async close(): Promise<void> {
    this.#wrapper.wipe();
  }
}

class AesWrapper implements SeedWrapper {
  #key: Uint8Array | null;

  constructor(key: Uint8Array) {
    this.#key = key;
  }

  async wrap(seed: Uint8Array, aad: Uint8Array): Promise<WrappedSeed> {
    const iv = new Uint8Array(randomBytes(ivBytes));
    const cipher = createCipheriv('aes-256-gcm', this.#requireKey(), iv).setAAD(aad);
    const sealed = Buffer.concat([cipher.update(seed), cipher.final(), cipher.getAuthTag()]);
    return { iv, sealed: new Uint8Array(sealed) };
  }

  async unwrap(seed: WrappedSeed, aad: Uint8Array): Promise<Uint8Array> {
    const tagStart = seed.sealed.length - tagBytes;
    const decipher = createDecipheriv('aes-256-gcm', this.#requireKey(), seed.iv)
      .setAAD(aad)
      .setAuthTag(seed.sealed.subarray(tagStart));
    const plain = decipher.update(seed.sealed.subarray(0, tagStart));
    try {
      // GCM gives everything in update(); final() only checks the tag.
      assert(decipher.final().length === 0, 'AES-GCM has no final block');
      return new Uint8Array(plain.buffer, plain.byteOffset, plain.length);
    } catch (error) {
      plain.fill(0);
      throw new TokenError('TOKEN_FAILED', 'what was wrapped does not open', { cause: error });
    }
  }

  wipe(): void {
    this.#key?.fill(0);
    this.#key = null;
  }

  #requireKey(): Uint8Array {
    if (this.#key === null) throw new TokenError('TOKEN_UNREACHABLE', 'the token is closed');
    return this.#key;
  }
}

/** The 32-byte wrapping key, from the PIN and the salt on disk; the salt is made at first use. */
async function unlockKey(directory: string, pin: Uint8Array): Promise<Uint8Array> {
  const path = join(directory, 'token.key');
  const header = readHeader(path);
  if (header !== null) return deriveKey(pin, header);
  const made = await createKey(directory, path, pin);
  if (made !== null) return made;
  // Another process was first: its salt counts.
  const theirs = readHeader(path);
  if (theirs !== null) return deriveKey(pin, theirs);
  throw new TokenError('TOKEN_FAILED', `${path} came and went`);
}

/** TOKEN_PIN_WRONG if the PIN is not the one that the header was made with. */
async function deriveKey(pin: Uint8Array, header: Uint8Array): Promise<Uint8Array> {
  const saltEnd = magic.length + saltBytes;
  const derived = await derive(pin, header.subarray(magic.length, saltEnd));
  if (timingSafeEqual(derived.check, header.subarray(saltEnd))) return derived.key;
  derived.key.fill(0);
  throw new TokenError('TOKEN_PIN_WRONG', 'the file token was made with another PIN');
}

function readHeader(path: string): Uint8Array | null {
  let bytes: Uint8Array;
  try {
    bytes = readAtMost(path, headerBytes + 1);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw new TokenError('TOKEN_FAILED', `cannot read ${path}`, { cause: error });
  }
  if (bytes.length !== headerBytes || magic.compare(bytes, 0, magic.length) !== 0) {
    throw new TokenError('TOKEN_FAILED', `${path} is not a file token of this version`);
  }
  return bytes;
}

/** The key of a new token, null if another process made the token meanwhile. */
async function createKey(
  directory: string,
  path: string,
  pin: Uint8Array,
): Promise<Uint8Array | null> {
  const salt = randomBytes(saltBytes);
  const derived = await derive(pin, salt);
  try {
    await refuseOrphanedSeeds(directory, path);
    await createDurably(path, Buffer.concat([magic, salt, derived.check]));
    return derived.key;
  } catch (error) {
    derived.key.fill(0);
    if (error instanceof TokenError) throw error;
    if (systemCode(error) === 'EEXIST') return null;
    const detail = `cannot make the file token in ${directory}`;
    throw new TokenError('TOKEN_FAILED', detail, { cause: error });
  }
}

/** Seeds without `token.key` are a loss to be looked at, not a reason to start afresh beside them. */
async function refuseOrphanedSeeds(directory: string, path: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const names = await readdir(directory);
  if (!names.some((name) => name.endsWith(seedFileSuffix))) return;
  // The header comes before any seed: if it is here now, another process has just made both.
  if (readHeader(path) !== null) return;
  throw new TokenError('TOKEN_FAILED', `${directory} holds keys but its token.key is missing`);
}

async function derive(
  pin: Uint8Array,
  salt: Uint8Array,
): Promise<{ key: Uint8Array; check: Uint8Array }> {
  const bytes = await new Promise<Uint8Array>((resolve, reject) => {
    scrypt(pin, salt, 32 + checkBytes, scryptCost, (error, derived) => {
      if (error === null) resolve(derived);
      else reject(new TokenError('TOKEN_FAILED', 'scrypt failed', { cause: error }));
    });
  });
  return { key: bytes.subarray(0, 32), check: bytes.slice(32) };
}
