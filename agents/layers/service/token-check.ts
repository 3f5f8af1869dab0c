/**
 * Whether a text is a token of one kind: of one algorithm and type, from one issuer, for one audience,
 * within its time, signed by a key that the caller knows (RFC 8725). The algorithm is that of the key
 * and never what the token says. The answer is data: a fault, or the claims as they were signed.
 */

import { decodeJwt, decodeProtectedHeader, errors, importJWK, jwtVerify } from 'jose';
import type { CryptoKey, JWTPayload } from 'jose';
import type { AkpKey } from '#schemas/identity.ts';
import { BoundedCache } from '#shared/crypto/bounded-cache.ts';
import type { Clock } from '#shared/runtime/ports.ts';

/** RFC 9964. */
export const tokenAlgorithm = 'ML-DSA-87';

export type TokenFault =
  /** No token, another algorithm or type, a signature that does not check. */
  | 'invalid'
  | 'expired'
  /** From somebody else. */
  | 'foreign'
  /** For somebody else. */
  | 'audience'
  | 'key-unknown';

export type TokenVerdict =
  | { readonly status: 'valid'; readonly claims: JWTPayload; readonly keyId: string }
  | { readonly status: 'invalid'; readonly fault: TokenFault };

export interface TokenRules {
  readonly type: string;
  readonly issuer: string;
  readonly audience: string;
  /** Looked at when the key is there, and once more when the signature was looked at. */
  readonly clock: Pick<Clock, 'nowMs'>;
  /** The verification key of an id, or undefined where there is none. */
  keyOf(keyId: string): Promise<AkpKey | undefined>;
}

const keysMax = 64;
const imported = new BoundedCache<Promise<CryptoKey | Uint8Array>>(keysMax);

export async function checkToken(token: string, rules: TokenRules): Promise<TokenVerdict> {
  const keyId = decodedToken(token)?.keyId;
  if (keyId === undefined) return fault('invalid');
  const jwk = await rules.keyOf(keyId);
  if (jwk === undefined) return fault('key-unknown');
  try {
    const key = await imported.get(jwk.pub, () => importJWK(jwk, tokenAlgorithm));
    const { payload } = await jwtVerify(token, key, {
      algorithms: [tokenAlgorithm],
      typ: rules.type,
      issuer: rules.issuer,
      audience: rules.audience,
      currentDate: new Date(rules.clock.nowMs()),
      requiredClaims: ['iat', 'nbf', 'exp', 'sub', 'jti'],
    });
    const isOver = (payload.exp ?? 0) * 1_000 <= rules.clock.nowMs();
    return isOver ? fault('expired') : { status: 'valid', claims: payload, keyId };
  } catch (error) {
    if (error instanceof errors.JOSEError) return fault(faultOf(error));
    throw error;
  }
}

/** What a token says, unchecked; undefined for what is no token. */
export function decodedToken(
  token: string,
): { readonly keyId: string; readonly claims: JWTPayload } | undefined {
  try {
    const { kid } = decodeProtectedHeader(token);
    const claims = decodeJwt(token);
    return typeof kid === 'string' ? { keyId: kid, claims } : undefined;
  } catch (error) {
    // jose throws TypeError for a header that is no JSON, and its own errors for claims that are not.
    if (error instanceof TypeError || error instanceof errors.JOSEError) return undefined;
    throw error;
  }
}

function faultOf(error: errors.JOSEError): TokenFault {
  if (error instanceof errors.JWTExpired) return 'expired';
  if (!(error instanceof errors.JWTClaimValidationFailed)) return 'invalid';
  if (error.claim === 'aud') return 'audience';
  return error.claim === 'iss' ? 'foreign' : 'invalid';
}

function fault(which: TokenFault): TokenVerdict {
  return { status: 'invalid', fault: which };
}
