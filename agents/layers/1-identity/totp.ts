/**
 * Time-based one-time passwords (RFC 6238): HMAC-SHA-512, steps of 30 seconds since 1970, 8 digits, one
 * step of skew either way. SHA-1, the RFC's first choice, is prohibited; HMAC-SHA-512 is a named exception
 * of the policy for this purpose, and without it no code is taken. Which codes are good once more
 * and how often one may guess is decided elsewhere (shared/core/second-factor.ts).
 */

import { hmac } from '@noble/hashes/hmac.js';
import { sha512 } from '@noble/hashes/sha2.js';
import { equalConstantTime, uint64, utf8 } from '#shared/crypto/bytes.ts';

/** As a policy names it. */
export const totpMac = 'HMAC-SHA-512';
export const totpStepMs = 30_000;
export const totpDigits = 8;
/** Secrets as long as the hash, or half of it (RFC 6238 section 5.1 has 64 for SHA-512). */
export const totpSecretBytes = { min: 32, max: 64 } as const;

const skewSteps = 1;

/** The step that a moment lies in. */
export function totpStep(timeMs: number): number {
  return Math.floor(timeMs / totpStepMs);
}

/** The code of a step (RFC 4226 section 5.3). */
export function totpCode(secret: Uint8Array, step: number): string {
  const mac = hmac(sha512, secret, uint64(step));
  const offset = (mac.at(-1) ?? 0) & 0xf;
  const bits = new DataView(mac.buffer, mac.byteOffset).getUint32(offset) & 0x7fff_ffff;
  return String(bits % 10 ** totpDigits).padStart(totpDigits, '0');
}

/** The step near `nowMs` that a code is of, or undefined; in time that tells nothing of the code. */
export function totpStepOf(secret: Uint8Array, code: string, nowMs: number): number | undefined {
  const given = utf8(code);
  let found: number | undefined;
  for (let skew = -skewSteps; skew <= skewSteps; skew += 1) {
    const step = totpStep(nowMs) + skew;
    if (step >= 0 && equalConstantTime(utf8(totpCode(secret, step)), given)) found = step;
  }
  return found;
}
