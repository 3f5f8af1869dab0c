/**
 * Challenges to log in, which cost the service nothing to give out: a challenge's id says when it ends
 * and for whom it is, under a MAC, and the nonce to be signed is the hash of the id. Nothing is kept
 * until somebody proves a key, so that nobody can fill a store, or push out the challenges of others, by
 * asking. That one is used once is for whoever takes it (identity-store.ts).
 *
 * Id: format (1 byte) ‖ generation (8; used-once.ts) ‖ end in milliseconds (8) ‖ random (16) ‖ subject ‖
 * HMAC-SHA3-384 (48). Challenges of the first format had no generation: they are none any more.
 */

import type { Challenge } from '#schemas/identity.ts';
import { subjectNameCheck } from '#schemas/identity.ts';
import {
  concat,
  equalConstantTime,
  fromBase64Url,
  toBase64Url,
  uint64,
  utf8,
} from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Secret } from '#shared/crypto/secret.ts';
import type { GoodOnce } from '../service/used-once.ts';

export const challengeLifetimeMs = 60_000;

const format = 2;
const macBytes = 48;
const endAt = 9;
const subjectAt = 33;
const macLabel = utf8('gyre/v1/login-challenge');
const nonceLabel = utf8('gyre/v1/login-nonce');

export interface TakenChallenge extends GoodOnce {
  readonly subject: string;
  /** What is signed: 32 bytes. */
  readonly nonce: Uint8Array;
}

/** When a challenge is given. */
export interface GivenNow {
  readonly nowMs: number;
  readonly generation: number;
}

export class Challenges {
  readonly #crypto: CryptoProvider;
  readonly #key: Secret;

  /** The key outlives the process, so that a challenge does too. */
  constructor(crypto: CryptoProvider, key: Secret) {
    this.#crypto = crypto;
    this.#key = key;
  }

  give(subject: string, { nowMs, generation }: GivenNow): Challenge {
    const expiresAtMs = nowMs + challengeLifetimeMs;
    const random = this.#crypto.randomBytes(16);
    const numbers = [Uint8Array.of(format), uint64(generation), uint64(expiresAtMs)];
    const said = concat(...numbers, random, utf8(subject));
    const id = concat(said, this.#macOf(said));
    return {
      challengeId: toBase64Url(id),
      nonce: toBase64Url(this.#nonceOf(id)),
      expiresAtMs,
    };
  }

  /** What a challenge of ours says, or undefined for anything else. Whether it is over is not looked at. */
  take(challengeId: string): TakenChallenge | undefined {
    const id = fromBase64Url(challengeId);
    if (id === undefined || id.length <= subjectAt + macBytes || id[0] !== format) return undefined;
    const said = id.subarray(0, -macBytes);
    if (!equalConstantTime(this.#macOf(said), id.subarray(-macBytes))) return undefined;
    const subject = Buffer.from(said.subarray(subjectAt)).toString('utf8');
    if (!subjectNameCheck.check(subject)) return undefined;
    const numbers = new DataView(said.buffer, said.byteOffset);
    const generation = Number(numbers.getBigUint64(1));
    const expiresAtMs = Number(numbers.getBigUint64(endAt));
    return { subject, generation, expiresAtMs, nonce: this.#nonceOf(id) };
  }

  wipe(): void {
    this.#key.wipe();
  }

  #macOf(said: Uint8Array): Uint8Array {
    return this.#crypto.hmacSha3_384(this.#key.reveal(), concat(macLabel, said));
  }

  #nonceOf(id: Uint8Array): Uint8Array {
    return this.#crypto.sha3_256(concat(nonceLabel, id));
  }
}
