/**
 * The canary decides whether a token may be used, not its list of mechanisms: it signs a random
 * message with a context under a key of its own, and the signature is judged outside the token. It
 * must verify with the context and must not verify without it; a token that drops the context would
 * let a signature made for one purpose pass for another.
 */
import { randomBytes } from 'node:crypto';

import { verifySignature } from './ml-dsa.ts';
import { TokenError } from './token.ts';
import type { CanaryResult, Token } from './token.ts';

export const canaryKeyName = 'canary';
const canaryContext = new TextEncoder().encode('gyre/v1/canary');
const noContext = new Uint8Array(0);

/** Makes the canary key if there is none. Rejects with what the token rejects with. */
export async function runCanary(
  token: Pick<Token, 'generateKey' | 'publicKey' | 'sign'>,
): Promise<CanaryResult> {
  const startedMs = performance.now();
  const publicKey = await canaryPublicKey(token);
  const message = randomBytes(32);
  const signature = await token.sign(canaryKeyName, message, canaryContext);
  const withContext = verifySignature(publicKey, message, canaryContext, signature);
  const withoutContext = verifySignature(publicKey, message, noContext, signature);
  if (!withContext || withoutContext) {
    const reason = withoutContext ? 'context-ignored' : 'signature-invalid';
    return { ok: false, code: 'TOKEN_CANARY_FAILED', reason };
  }
  return { ok: true, durationMs: performance.now() - startedMs };
}

/** For opening a token: no token is handed out whose canary does not sing. */
export async function requireCanary(
  token: Pick<Token, 'generateKey' | 'publicKey' | 'sign'>,
): Promise<void> {
  const result = await runCanary(token);
  if (!result.ok) throw new TokenError(result.code, `canary: ${result.reason}`);
}

async function canaryPublicKey(
  token: Pick<Token, 'generateKey' | 'publicKey'>,
): Promise<Uint8Array> {
  try {
    return await token.publicKey(canaryKeyName);
  } catch (error) {
    if (!(error instanceof TokenError) || error.code !== 'KEY_UNKNOWN') throw error;
  }
  try {
    return (await token.generateKey(canaryKeyName)).publicKey;
  } catch (error) {
    if (!(error instanceof TokenError) || error.code !== 'KEY_EXISTS') throw error;
    // Another process made it between the two calls.
    return token.publicKey(canaryKeyName);
  }
}
