/**
 * JSON web tokens (RFC 7519) signed by the primary key of a slot, ML-DSA-87 (RFC 9964), `kid` the id of
 * the key. The seed leaves the key store once for each key, to become a key of WebCrypto that cannot be
 * exported; that one is dropped as soon as another key is primary. Until when a token lasts is in the
 * ledger before the token exists, so that its key is not retired under it.
 */

import { webcrypto } from 'node:crypto';
import { SignJWT, type JWTPayload } from 'jose';
import { invariant } from '#shared/crypto/errors.ts';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import type { AkpKey } from '#schemas/identity.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import type { VerificationResult } from '../adapter.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import type { StoredVersion } from '../embedded/key-store.ts';
import type { ExpiryLedger } from './expiry-ledger.ts';
import { Refused } from './http-app.ts';
import { checkToken, tokenAlgorithm } from './token-check.ts';

/** For nobody: long enough for a machine that is slow. */
const trialSeconds = 60;

/** What a frozen slot answers with. */
export const signingStatus = { SIGNING_FROZEN: 503 } as const;
export type SigningCode = keyof typeof signingStatus;

export interface TokenSignerOptions {
  readonly keys: EmbeddedAdapter;
  readonly slot: string;
  /** `typ` and `iss` of the tokens. */
  readonly token: { readonly type: string; readonly issuer: string };
  readonly clock: Clock;
  readonly ledger: ExpiryLedger;
}

export class TokenSigner {
  readonly #options: TokenSignerOptions;
  /** By version; in practice the primary one alone. */
  readonly #imported = new Map<number, Promise<webcrypto.CryptoKey>>();

  constructor(options: TokenSignerOptions) {
    this.#options = options;
  }

  /** The key of the moment. @throws Refused SIGNING_FROZEN, AdapterError */
  primary(): StoredVersion {
    const { keys, slot } = this.#options;
    const stored = keys.store.primary(slot);
    if (stored !== undefined && !keys.store.slot(slot).frozen) return stored;
    throw new Refused<SigningCode>('SIGNING_FROZEN', 'no tokens are signed at the moment', {
      retryable: true,
    });
  }

  /** Tokens of these claims, all by one key. @throws Refused SIGNING_FROZEN, AdapterError */
  async sign(claims: readonly JWTPayload[], expiresAtMs: number): Promise<string[]> {
    const { slot, ledger } = this.#options;
    const stored = this.primary();
    ledger.note(slot, stored.version, { expiresAtMs, count: claims.length });
    return await Promise.all(claims.map((each) => this.#signWith(stored, each)));
  }

  /** A token by the key of a version, for nobody, and its verification as others verify. */
  async tried(version: number): Promise<VerificationResult> {
    const { keys, slot, clock, token } = this.#options;
    const stored = keys.store.version(slot, version);
    if (stored === undefined) return { ok: false, reason: `there is no version ${version}` };
    const second = Math.floor(clock.nowMs() / 1_000);
    const claims = { iss: token.issuer, aud: 'nobody', sub: 'nobody', jti: 'trial' };
    const times = { iat: second, nbf: second, exp: second + trialSeconds };
    const verdict = await checkToken(await this.#signWith(stored, { ...claims, ...times }), {
      ...token,
      audience: 'nobody',
      clock,
      keyOf: async () => akpKeyOf(stored),
    });
    return verdict.status === 'valid'
      ? { ok: true }
      : { ok: false, reason: `a token of ${slot} is ${verdict.fault}` };
  }

  async #signWith(stored: StoredVersion, claims: JWTPayload): Promise<string> {
    const { slot, token, clock, keys } = this.#options;
    const { version, keyId } = stored;
    const beganMs = clock.monotonicMs();
    const header = { alg: tokenAlgorithm, kid: keyId, typ: token.type };
    const record = (failed: boolean): void => {
      const durationMs = clock.monotonicMs() - beganMs;
      keys.usage.record({ slot, version, operation: 'sign', durationMs, failed });
    };
    try {
      const key = await this.#keyOf(stored);
      const signed = await new SignJWT(claims).setProtectedHeader(header).sign(key);
      record(false);
      return signed;
    } catch (error) {
      record(true);
      throw error;
    }
  }

  /** Drops every key that is not primary any more, or not yet. */
  prune(): void {
    const { keys, slot } = this.#options;
    const primary = keys.store.primary(slot)?.version;
    for (const version of this.#imported.keys()) {
      if (version !== primary) this.#imported.delete(version);
    }
  }

  #keyOf(stored: StoredVersion): Promise<webcrypto.CryptoKey> {
    const known = this.#imported.get(stored.version);
    if (known !== undefined) return known;
    const importing = this.#import(stored);
    this.#imported.set(stored.version, importing);
    importing.catch(() => this.#imported.delete(stored.version));
    return importing;
  }

  async #import(stored: StoredVersion): Promise<webcrypto.CryptoKey> {
    const seed = this.#options.keys.store.withKey(stored, ({ secret }) => Uint8Array.from(secret));
    try {
      return await webcrypto.subtle.importKey('raw-seed', seed, tokenAlgorithm, false, ['sign']);
    } finally {
      seed.fill(0);
    }
  }
}

/** The public half of a key as tokens' verifiers take it (RFC 9964 section 3). */
export function akpKeyOf({ keyId, publicKey }: StoredVersion): AkpKey {
  invariant(publicKey !== undefined, 'a signature key has a public half');
  return { kty: 'AKP', alg: tokenAlgorithm, use: 'sig', kid: keyId, pub: toBase64Url(publicKey) };
}
