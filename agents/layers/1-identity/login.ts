/**
 * Logging in: a challenge, its signature by the user's key, and a second factor where the policy asks
 * for one; then a session token. Whoever does not exist and whoever signs wrongly get the same answer
 * after the same work. Only proved attempts use a challenge up, count against a user or reach the disk.
 *
 * The same request a moment later, because the answer was lost, gets the same session: the same id and
 * the same end. Anything else on a used challenge is refused.
 */

import { loginContext, sessionToken, type Challenge, type Session } from '#schemas/identity.ts';
import type { SessionRequest } from '#schemas/identity.ts';
import type { ServiceSettings } from '#schemas/service.ts';
import { judgeFactor, type FactorState } from '#shared/core/second-factor.ts';
import { concat, fromBase64Url, samePublicBytes, toBase64Url, utf8 } from '#shared/crypto/bytes.ts';
import type { VerifyKey } from '#shared/crypto/key-handle.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { Refused } from '../service/http-app.ts';
import type { SigningCode, TokenSigner } from '../service/token-signer.ts';
import type { Challenges, TakenChallenge } from './challenges.ts';
import type { IdentityStore, UsedFor, User } from './identity-store.ts';
import { totpMac, totpStepOf } from './totp.ts';

/** What a login is refused with, and the HTTP status. */
export const loginStatus = {
  CHALLENGE_INVALID: 401,
  CHALLENGE_EXPIRED: 401,
  CHALLENGE_USED: 401,
  LOGIN_REFUSED: 401,
  SECOND_FACTOR_REQUIRED: 401,
  SECOND_FACTOR_INVALID: 401,
  SECOND_FACTOR_LOCKED: 429,
  /** The policy in force does not allow what the codes are made by. */
  SECOND_FACTOR_FORBIDDEN: 403,
} as const;
export type LoginCode = keyof typeof loginStatus | SigningCode;

export const sessionMs = { min: 60_000, max: 900_000 } as const;
/** An answer is lost and asked for again within that time, also when the service was started anew. */
const repeatedWithinMs = 20_000;

const context = utf8(loginContext);

export interface LoginPorts {
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly store: IdentityStore;
  readonly challenges: Challenges;
  readonly signer: TokenSigner;
  readonly settings: () => ServiceSettings;
}

interface Granted extends UsedFor {
  readonly atMs: number;
}

export class Login {
  /** Sessions since the start. */
  sessions = 0;
  readonly #ports: LoginPorts;
  /** Verifies nothing; stands in for the key of whoever does not exist. */
  readonly #nobody: Uint8Array;

  constructor(ports: LoginPorts) {
    this.#ports = ports;
    const { crypto } = ports;
    const key = crypto.importSigningSeed(crypto.randomBytes(32));
    this.#nobody = key.publicKey.raw;
    key.wipe();
  }

  /** @throws AdapterError */
  challenge(subject: string): Challenge {
    const { challenges, clock, store } = this.#ports;
    const nowMs = clock.nowMs();
    return challenges.give(subject, { nowMs, generation: store.generation(nowMs) });
  }

  /** @throws Refused with a `LoginCode`, OVERLOADED; AdapterError */
  async session(request: SessionRequest): Promise<Session> {
    const { challenges, clock, signer } = this.#ports;
    const challenge = challenges.take(request.challengeId);
    if (challenge === undefined) throw refused('CHALLENGE_INVALID', 'no challenge of this service');
    this.#requireInTime(challenge, clock.nowMs());
    await this.#requireSignature(challenge, request.signature);
    // Nothing is used up where no session can be given.
    signer.primary();
    const granted = this.#grant(challenge, request);
    return await this.#sessionOf(challenge.subject, granted);
  }

  #requireInTime(challenge: TakenChallenge, nowMs: number): void {
    if (!this.#ports.store.isOver(challenge, nowMs)) return;
    throw refused('CHALLENGE_EXPIRED', 'the challenge is over: ask for another');
  }

  async #requireSignature(challenge: TakenChallenge, text: string): Promise<void> {
    const { crypto, store } = this.#ports;
    const user = store.user(challenge.subject);
    const signature = fromBase64Url(text) ?? new Uint8Array();
    const key: VerifyKey = crypto.importVerifyKey(user?.publicKey ?? this.#nobody);
    const holds = await crypto.verifyAsync(key, { message: challenge.nonce, context, signature });
    // The user may have gone, or got another key, while the signature was looked at.
    const now = store.user(challenge.subject);
    const isStill = now !== undefined && samePublicBytes(now.publicKey, key.raw);
    if (!holds || !isStill) throw refused('LOGIN_REFUSED', 'no such user, or not by the user');
  }

  /** In one go, without a pause: two requests with one challenge or one code cannot both pass. */
  #grant(challenge: TakenChallenge, { signature, otp }: SessionRequest): Granted {
    const { crypto, clock, store, settings } = this.#ports;
    const nowMs = clock.nowMs();
    // It may have ended while the signature was looked at, and be forgotten as used.
    this.#requireInTime(challenge, nowMs);
    const proof = crypto.sha3_256(concat(utf8(signature), utf8(`.${otp ?? ''}`)));
    const used = store.usedChallenge(challenge.nonce);
    if (used !== undefined) {
      const isRepeated =
        samePublicBytes(used.proof, proof) && Math.abs(nowMs - used.usedAtMs) <= repeatedWithinMs;
      if (!isRepeated || used.session === null) {
        throw refused('CHALLENGE_USED', 'the challenge is used: ask for another');
      }
      return { ...used.session, atMs: used.usedAtMs };
    }
    if (store.isFull(nowMs)) {
      throw new Refused('OVERLOADED', 'too many logins in a minute', { retryable: true });
    }
    const user = store.user(challenge.subject);
    if (user === undefined) throw refused('LOGIN_REFUSED', 'no such user, or not by the user');
    if (otp === undefined && settings().mfaRequired) {
      throw refused('SECOND_FACTOR_REQUIRED', 'a code of the second factor is asked for');
    }
    if (otp !== undefined && !settings().secondFactorMacs.includes(totpMac)) {
      throw refused('SECOND_FACTOR_FORBIDDEN', `the policy does not allow ${totpMac} for codes`);
    }
    const { outcome, state } =
      otp === undefined
        ? { outcome: 'accepted' as const, state: user.factor }
        : this.#judged(user, otp, nowMs);
    const opened: UsedFor = {
      tokenId: toBase64Url(crypto.randomBytes(16)),
      endsAtMs: Math.floor((nowMs + sessionLifetimeMs(settings())) / 1_000) * 1_000,
      isMultiFactor: otp !== undefined,
    };
    const session = outcome === 'accepted' ? opened : null;
    const { nonce, expiresAtMs } = challenge;
    store.use({ nonce, expiresAtMs, proof, usedAtMs: nowMs, session }, user.subject, state);
    if (session !== null) return { ...session, atMs: nowMs };
    throw outcome === 'locked'
      ? refused('SECOND_FACTOR_LOCKED', 'too many wrong codes: wait')
      : refused('SECOND_FACTOR_INVALID', 'not the code of now, or used already');
  }

  /** Without an enrolled secret every code is wrong. */
  #judged(user: User, otp: string, nowMs: number): ReturnType<typeof judgeFactor> {
    const secret = this.#ports.store.totpSecret(user.subject);
    try {
      const step = secret === undefined ? undefined : totpStepOf(secret, otp, nowMs);
      return judgeFactor(user.factor satisfies FactorState, { nowMs, step });
    } finally {
      secret?.fill(0);
    }
  }

  async #sessionOf(subject: string, granted: Granted): Promise<Session> {
    const { signer } = this.#ports;
    const iat = Math.floor(granted.atMs / 1_000);
    const exp = granted.endsAtMs / 1_000;
    const claims = {
      iss: sessionToken.issuer,
      sub: subject,
      aud: sessionToken.audience,
      iat,
      nbf: iat,
      exp,
      jti: granted.tokenId,
      amr: granted.isMultiFactor ? ['pop', 'otp', 'mfa'] : ['pop'],
    };
    const [token = ''] = await signer.sign([claims], exp * 1_000);
    this.sessions += 1;
    return { token, expiresAtMs: exp * 1_000 };
  }
}

/**
 * A session lasts as long as the policy lets the old keys live on, so that none holds up a retirement:
 * a quarter of an hour at the most, and a minute at the least.
 */
export function sessionLifetimeMs({ overlapMs }: ServiceSettings): number {
  return Math.min(sessionMs.max, Math.max(sessionMs.min, overlapMs));
}

function refused(code: LoginCode, reason: string): Refused {
  return new Refused<LoginCode>(code, reason);
}
