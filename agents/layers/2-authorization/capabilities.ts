/**
 * Capabilities: given for a session, to what its subject's roles allow, for one service, for a minute;
 * looked at once. Everything that can be told without the disk comes before the disk: form, MAC of the
 * nonce, signature, certificate of the key, audience, scope; only then is the nonce used up.
 */

import {
  capabilityClaimsCheck,
  capabilityToken,
  scopes as allScopes,
  type Audience,
  type Capabilities as Given,
  type CapabilityClaims,
  type IntrospectionRequest,
  type Scope,
} from '#schemas/authorization.ts';
import { sessionClaimsCheck, sessionToken } from '#schemas/identity.ts';
import { lengthPrefixed, utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import type { Bearer, CapabilityCode } from '../service/capability-check.ts';
import type { ExpiryLedger } from '../service/expiry-ledger.ts';
import { Refused } from '../service/http-app.ts';
import { checkToken, decodedToken, type TokenFault } from '../service/token-check.ts';
import { akpKeyOf, type SigningCode, type TokenSigner } from '../service/token-signer.ts';
import type { KeptSettings } from '../service/kept-settings.ts';
import { capabilitySlot, type Certification } from './certification.ts';
import type { Entitlements } from './entitlements.ts';
import type { IdentityView } from './identity-view.ts';
import { nonceSlot, type Nonces, type NonceVerdict } from './nonces.ts';
import { capabilityLifetimeMs, type ReplayStore } from './replay-store.ts';

/** What a session is refused with, and the HTTP status. */
export const sessionStatus = {
  SESSION_INVALID: 401,
  SESSION_EXPIRED: 401,
  /** From somebody else, or for somebody else. */
  SESSION_FOREIGN: 401,
  /** Signed by a key that layer 1 does not name. */
  SESSION_KEY_UNKNOWN: 401,
  /** The policy asks for one, and the session was opened without. */
  SECOND_FACTOR_REQUIRED: 401,
} as const;
export type SessionCode = keyof typeof sessionStatus;

const questionLabel = utf8('gyre/v1/introspection');

const sessionCodes: Readonly<Record<TokenFault, SessionCode>> = {
  invalid: 'SESSION_INVALID',
  expired: 'SESSION_EXPIRED',
  foreign: 'SESSION_FOREIGN',
  audience: 'SESSION_FOREIGN',
  'key-unknown': 'SESSION_KEY_UNKNOWN',
};
const capabilityCodes: Readonly<Record<TokenFault, CapabilityCode>> = {
  invalid: 'CAPABILITY_INVALID',
  expired: 'CAPABILITY_EXPIRED',
  foreign: 'CAPABILITY_INVALID',
  audience: 'AUDIENCE_WRONG',
  'key-unknown': 'CAPABILITY_KEY_UNKNOWN',
};

export interface CapabilityPorts {
  readonly keys: EmbeddedAdapter;
  readonly settings: Pick<KeptSettings, 'current'>;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly view: IdentityView;
  readonly certification: Certification;
  readonly entitlements: Entitlements;
  readonly nonces: Nonces;
  readonly replays: ReplayStore;
  readonly signer: TokenSigner;
  readonly ledger: ExpiryLedger;
}

type OurNonce = Extract<NonceVerdict, { readonly status: 'ours' }>;

interface Used {
  readonly slot: string;
  readonly version: number;
}

interface Wanted {
  readonly session: string;
  readonly scope: readonly Scope[];
  readonly audience: Audience;
  readonly count?: number;
}

export class Capabilities {
  /** Given since the start, and accepted. */
  given = 0;
  accepted = 0;
  readonly #ports: CapabilityPorts;

  constructor(ports: CapabilityPorts) {
    this.#ports = ports;
  }

  /** @throws Refused with a `SessionCode`, SCOPE_EXCEEDED, SIGNING_FROZEN, CAPABILITY_KEY_UNCERTIFIED */
  async give({ session, scope, audience, count = 1 }: Wanted): Promise<Given> {
    const subject = await this.#subjectOf(session);
    const { entitlements, signer, certification, clock, ledger, nonces, replays } = this.#ports;
    if (entitlements.missing(subject, scope) !== undefined) {
      throw refused('SCOPE_EXCEEDED', 'the roles of the subject do not give that');
    }
    const { keyId } = signer.primary();
    if (!certification.isCertified(keyId)) throw uncertified();
    const nonceKey = this.#nonceKey();
    const generation = replays.generation();
    const nowMs = clock.nowMs();
    const iat = Math.floor(nowMs / 1_000);
    const exp = Math.floor((nowMs + capabilityLifetimeMs) / 1_000);
    const said = { sub: subject, aud: audience, scope: [...new Set(scope)].join(' '), exp };
    ledger.note(nonceSlot, nonceKey.version, { expiresAtMs: exp * 1_000, count });
    const claims = Array.from({ length: count }, () => ({
      iss: capabilityToken.issuer,
      ...said,
      iat,
      nbf: iat,
      jti: nonces.make(nonceKey, generation, said),
    }));
    this.#use(nonceKey, 'mac', clock.monotonicMs());
    const tokens = await signer.sign(claims, exp * 1_000);
    this.given += tokens.length;
    return { tokens, expiresAtMs: exp * 1_000 };
  }

  /** Who shows it to `audience` and what for. It is used up. @throws Refused with a `CapabilityCode`, OVERLOADED */
  async take(request: IntrospectionRequest, audience: Audience): Promise<Bearer> {
    const { entitlements } = this.#ports;
    const { claims, nonce } = await this.#checked(request.token, audience);
    const scope = claims.scope
      .split(' ')
      .flatMap((name) => allScopes.find((one) => one === name) ?? []);
    const wanted = scope.find((name) => name === request.scope);
    if (wanted === undefined) throw refused('SCOPE_EXCEEDED', 'the capability is not for that');
    if (entitlements.missing(claims.sub, [wanted]) !== undefined) {
      throw refused('SCOPE_EXCEEDED', 'the roles of the subject do not give that any more');
    }
    await this.#spend(nonce, claims, request);
    return { subject: claims.sub, roles: [...entitlements.rolesOf(claims.sub)], scope };
  }

  async #subjectOf(session: string): Promise<string> {
    const { clock, view, settings } = this.#ports;
    const verdict = await checkToken(session, {
      ...sessionToken,
      clock,
      keyOf: (keyId) => view.sessionKey(keyId),
    });
    if (verdict.status === 'invalid') {
      throw refusedSession(sessionCodes[verdict.fault]);
    }
    if (!sessionClaimsCheck.check(verdict.claims)) throw refusedSession('SESSION_INVALID');
    const { amr, sub } = verdict.claims;
    if (settings.current.mfaRequired && !amr.includes('mfa')) {
      throw refusedSession('SECOND_FACTOR_REQUIRED');
    }
    return sub;
  }

  #nonceKey() {
    const { store } = this.#ports.keys;
    const stored = store.primary(nonceSlot);
    if (stored !== undefined && !store.slot(nonceSlot).frozen) return stored;
    throw new Refused<SigningCode>('SIGNING_FROZEN', 'no nonces are made at the moment', {
      retryable: true,
    });
  }

  /** What the token says, once all of it is known to be so. */
  async #checked(
    token: string,
    audience: Audience,
  ): Promise<{ readonly claims: CapabilityClaims; readonly nonce: OurNonce }> {
    const { certification, clock, keys, nonces } = this.#ports;
    const beganMs = clock.monotonicMs();
    const decoded = decodedToken(token);
    if (decoded === undefined || !capabilityClaimsCheck.check(decoded.claims)) {
      throw refused('CAPABILITY_INVALID', 'this is no capability');
    }
    const { claims, keyId } = decoded;
    const nonce = nonces.check(claims.jti, claims);
    if (nonce.status === 'refused') throw refused(nonce.code, 'this is no capability of ours');
    const stored = keys.store.byKeyId(capabilitySlot, keyId);
    const isTaken =
      stored !== undefined && stored.state !== 'prepared' && stored.state !== 'destroyed';
    const verdict = await checkToken(token, {
      type: capabilityToken.type,
      issuer: capabilityToken.issuer,
      audience,
      clock,
      keyOf: async () => (isTaken ? akpKeyOf(stored) : undefined),
    });
    if (verdict.status === 'invalid') {
      throw refused(
        capabilityCodes[verdict.fault],
        `the capability is not taken: ${verdict.fault}`,
      );
    }
    if (!certification.isCertified(keyId)) throw uncertified();
    this.#use({ slot: nonceSlot, version: nonce.version }, 'verify-mac', beganMs);
    this.#use({ slot: capabilitySlot, version: stored?.version ?? 0 }, 'verify', beganMs);
    return { claims, nonce };
  }

  /** Counted for what is genuine and in time alone: others cannot keep an old key in use. */
  #use({ slot, version }: Used, operation: string, beganMs: number): void {
    const { clock, keys } = this.#ports;
    const durationMs = clock.monotonicMs() - beganMs;
    keys.usage.record({ slot, version, operation, durationMs, failed: false });
  }

  async #spend(
    { id, generation }: OurNonce,
    { aud, exp }: CapabilityClaims,
    request: IntrospectionRequest,
  ): Promise<void> {
    const question = this.#questionOf(request, aud);
    const outcome = await this.#ports.replays.spend({
      id,
      generation,
      expiresAtMs: exp * 1_000,
      ...(question === undefined ? {} : { question }),
    });
    switch (outcome) {
      case 'fresh':
        this.accepted += 1;
        return;
      case 'repeated':
        return;
      case 'replayed':
        throw refused('NONCE_REPLAYED', 'the capability was used already');
      case 'expired':
        throw refused('CAPABILITY_EXPIRED', 'the capability is over');
      case 'full':
        throw new Refused('OVERLOADED', 'too many capabilities in a minute', { retryable: true });
    }
  }

  /** Who asks is the capability's audience by now; a question without an id is like no other. */
  #questionOf({ token, scope, requestId }: IntrospectionRequest, audience: Audience) {
    if (requestId === undefined) return undefined;
    const parts = [audience, requestId, scope, token].map(utf8);
    return this.#ports.crypto.sha3_256(lengthPrefixed(questionLabel, ...parts));
  }
}

function uncertified(): Refused {
  return new Refused<CapabilityCode>(
    'CAPABILITY_KEY_UNCERTIFIED',
    'layer 1 does not vouch for the key at the moment',
    { retryable: true },
  );
}

function refused(code: CapabilityCode, reason: string): Refused {
  return new Refused<CapabilityCode>(code, reason);
}

function refusedSession(code: SessionCode): Refused {
  return new Refused<SessionCode>(code, 'the session is not taken: log in again');
}
