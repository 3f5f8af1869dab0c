/**
 * Challenges to log in, which cost the service nothing to give out: a challenge's id says when it ends
 * and for whom it is, under a MAC, and the nonce to be signed is the hash of the id. Nothing is kept
 * until somebody proves a key, so that nobody can fill a store, or push out the challenges of others, by
 * asking. That one is used once is for whoever takes it (identity-store.ts).
 *
 * Id: format (1 byte) ‖ end in milliseconds (8) ‖ random (16) ‖ subject ‖ HMAC-SHA3-384 (48).
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

export const challengeLifetimeMs = 60_000;

const format = 1;
const macBytes = 48;
const subjectAt = 25;
const macLabel = utf8('gyre/v1/login-challenge');
const nonceLabel = utf8('gyre/v1/login-nonce');

export interface TakenChallenge {
  readonly subject: string;
  readonly expiresAtMs: number;
  /** What is signed: 32 bytes. */
  readonly nonce: Uint8Array;
}

export class Challenges {
  readonly #crypto: CryptoProvider;
  readonly #key: Secret;

  /** The key outlives the process, so that a challenge does too. */
  constructor(crypto: CryptoProvider, key: Secret) {
    this.#crypto = crypto;
    this.#key = key;
  }

  give(subject: string, nowMs: number): Challenge {
    const expiresAtMs = nowMs + challengeLifetimeMs;
    const random = this.#crypto.randomBytes(16);
    const said = concat(Uint8Array.of(format), uint64(expiresAtMs), random, utf8(subject));
    const id = concat(said, this.#macOf(said));
    return {
      challengeId: toBase64Url(id),
      nonce: toBase64Url(this.#nonceOf(id)),
      expiresAtMs,
    };
  }

  /** What a challenge of ours says, or undefined for anything else. The time is not looked at. */
  take(challengeId: string): TakenChallenge | undefined {
    const id = fromBase64Url(challengeId);
    if (id === undefined || id.length <= subjectAt + macBytes || id[0] !== format) return undefined;
    const said = id.subarray(0, -macBytes);
    if (!equalConstantTime(this.#macOf(said), id.subarray(-macBytes))) return undefined;
    const subject = Buffer.from(said.subarray(subjectAt)).toString('utf8');
    if (!subjectNameCheck.check(subject)) return undefined;
    const expiresAtMs = Number(new DataView(said.buffer, said.byteOffset).getBigUint64(1));
    return { subject, expiresAtMs, nonce: this.#nonceOf(id) };
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
