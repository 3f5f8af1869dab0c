/**
 * What the signer checks by itself before it certifies a server's key: who asks, for which names, for
 * how long, and what for a key (invariant 10). A stolen agent of layer 3 gets no certificate but for
 * the names that the signer's own configuration has, and none of any other agent gets one at all.
 */

import type { OrchCode } from '#schemas/errors.ts';
import { slotDefinitions } from '#schemas/layers.ts';
import type { AgentKind } from '#schemas/trust.ts';
import { policyAllows, type PolicyDocuments } from './policy.ts';

/** The slot whose keys are certified, and whose rule of age bounds the certificate. */
export const certifiedSlot = '3/tls-certificate';
const networkLayer = 3;
const dayMs = 24 * 3_600_000;

export interface CertificateCheck extends PolicyDocuments {
  readonly asker: {
    readonly kind: AgentKind;
    readonly layer?: number;
    readonly expiresAtMs: number;
    readonly revokedAtMs?: number;
  };
  readonly isLockedOut: boolean;
  /** Documents that have expired. */
  readonly stale: readonly ('root' | 'registry' | 'policy')[];
  /** The request as it was opened; its proof of possession was checked by the caller. */
  readonly opening:
    | { readonly status: 'ok'; readonly names: readonly string[] }
    | {
        readonly status: 'refused';
        readonly code: 'REQUEST_MALFORMED' | 'ALGORITHM_UNSUPPORTED' | 'PROOF_INVALID';
      };
  /** In the same spelling as those of the request. */
  readonly namesAllowed: ReadonlySet<string>;
  readonly validMs: number;
  readonly nowMs: number;
}

export interface CertificateRefusal {
  readonly code: OrchCode;
  readonly reason: string;
}

const openingRefusals = {
  REQUEST_MALFORMED: { code: 'ORCH-8012', reason: 'the certificate request cannot be read' },
  ALGORITHM_UNSUPPORTED: { code: 'ORCH-8003', reason: 'only ML-DSA-87 keys are certified' },
  PROOF_INVALID: { code: 'ORCH-8015', reason: 'the asker does not hold the key of its request' },
} as const satisfies Readonly<Record<string, CertificateRefusal>>;

/** Why the request is not granted, or undefined. */
export function certificateRefusal(check: CertificateCheck): CertificateRefusal | undefined {
  const { opening, validMs, policy } = check;
  const refusal = askerRefusal(check) ?? staleRefusal(check.stale);
  if (refusal !== undefined) return refusal;
  if (opening.status === 'refused') return openingRefusals[opening.code];
  const use = { algorithm: 'ML-DSA-87', keyKind: 'signature', layer: networkLayer } as const;
  const verdict = policyAllows(use, check);
  if (!verdict.ok) return { code: verdict.code, reason: verdict.reason };
  if (!opening.names.every((name) => check.namesAllowed.has(name))) {
    return denied('a name of the request is not one that may be certified');
  }
  const maxMs = validMsMax(policy);
  return validMs > 0 && validMs <= maxMs
    ? undefined
    : denied(`a certificate is valid for at most ${maxMs} ms`);
}

/** A day, because nothing revokes a certificate; no longer than the policy lets its key grow old. */
export function validMsMax(policy: PolicyDocuments['policy']): number {
  const slot = slotDefinitions.find((each) => each.slot === certifiedSlot);
  const days = policy.policies.key_lifecycle.max_key_age_days;
  return slot === undefined ? 0 : Math.min(dayMs, days[slot.ageRule] * dayMs);
}

function askerRefusal(check: CertificateCheck): CertificateRefusal | undefined {
  const { asker, isLockedOut, nowMs } = check;
  const refuse = (reason: string): CertificateRefusal => ({ code: 'ORCH-8015', reason });
  if (asker.kind !== 'layer' || asker.layer !== networkLayer) {
    return refuse('only an agent of layer 3 is certified');
  }
  if (nowMs > asker.expiresAtMs) return refuse('the enrolment of the asker is over');
  if (nowMs >= (asker.revokedAtMs ?? Infinity)) return refuse('the asker is revoked');
  return isLockedOut ? refuse('the asker is locked out') : undefined;
}

function staleRefusal(stale: CertificateCheck['stale']): CertificateRefusal | undefined {
  if (stale.length === 0) return undefined;
  const code = stale.includes('policy') ? 'ORCH-8011' : 'ORCH-8010';
  return { code, reason: `expired: ${stale.join(', ')}` };
}

function denied(reason: string): CertificateRefusal {
  return { code: 'ORCH-8002', reason };
}
