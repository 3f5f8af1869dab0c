/**
 * ML-DSA-87 keys whose 32-byte seeds lie on disk, wrapped under an AES-256 key that is elsewhere: in
 * a PKCS#11 token, or derived from a PIN. A seed is unwrapped for one signature and wiped after it.
 * Both back ends use this class; they differ in the `SeedWrapper`.
 */
import assert from 'node:assert/strict';
import { randomBytes, timingSafeEqual } from 'node:crypto';

import { publicKeyOfSeed, signWithSeed } from './ml-dsa.ts';
import { ivBytes, readSeedFile, sealedSeedBytes, seedAad, writeSeedFile } from './seed-file.ts';
import type { WrappedSeed } from './seed-file.ts';
import { TokenError, seedBytes } from './token.ts';

export interface SeedWrapper {
  /** AES-256-GCM under a fresh random 12-byte IV. */
  wrap(seed: Uint8Array, aad: Uint8Array): Promise<WrappedSeed>;
  /** Rejects if the tag does not fit. The caller wipes what it gets. */
  unwrap(seed: WrappedSeed, aad: Uint8Array): Promise<Uint8Array>;
}

export class SeedKeys {
  readonly #directory: string;
  readonly #label: string;
  readonly #wrapper: SeedWrapper;

  constructor(options: { directory: string; label: string; wrapper: SeedWrapper }) {
    this.#directory = options.directory;
    this.#label = options.label;
    this.#wrapper = options.wrapper;
  }

  /** The public key, once the seed is on the disk and has been read back from there. */
  async generate(keyName: string): Promise<Uint8Array> {
    await this.#requireFree(keyName);
    const seed = new Uint8Array(randomBytes(seedBytes));
    try {
      const wrapped = await this.#wrapper.wrap(seed, seedAad(this.#label, keyName));
      assert(wrapped.iv.length === ivBytes, 'a wrapped seed must have a 12-byte IV');
      assert(wrapped.sealed.length === sealedSeedBytes, 'a wrapped seed has a wrong size');
      await writeSeedFile(this.#directory, keyName, wrapped);
      return await this.#withSeed(keyName, (stored) => {
        assert(timingSafeEqual(stored, seed), 'a stored seed differs from what was made');
        return publicKeyOfSeed(stored);
      });
    } finally {
      seed.fill(0);
    }
  }

  async publicKey(keyName: string): Promise<Uint8Array> {
    return this.#withSeed(keyName, publicKeyOfSeed);
  }

  async sign(keyName: string, message: Uint8Array, context: Uint8Array): Promise<Uint8Array> {
    return this.#withSeed(keyName, (seed) => signWithSeed(seed, message, context));
  }

  async #withSeed<Result>(keyName: string, use: (seed: Uint8Array) => Result): Promise<Result> {
    const wrapped = await readSeedFile(this.#directory, keyName);
    const seed = await this.#wrapper.unwrap(wrapped, seedAad(this.#label, keyName));
    try {
      if (seed.length !== seedBytes) {
        throw new TokenError('TOKEN_FAILED', `key ${keyName} unwraps to a wrong size`);
      }
      return use(seed);
    } finally {
      seed.fill(0);
    }
  }

  /** Spares the token the work; the exclusive link in `writeSeedFile` is what decides. */
  async #requireFree(keyName: string): Promise<void> {
    try {
      await readSeedFile(this.#directory, keyName);
    } catch (error) {
      if (error instanceof TokenError && error.code === 'KEY_UNKNOWN') return;
      throw error;
    }
    throw new TokenError('KEY_EXISTS', `key ${keyName} exists`);
  }
}
