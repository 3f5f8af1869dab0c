/** Documents that have expired permit nothing new; what runs goes on, and everything can be read. */

import type { TrustView } from '#shared/crypto/trust.ts';

/** Why nothing new is begun, or undefined. An expired policy speaks before the rest. */
export function staleRefusal(
  trust: TrustView,
  nowMs: number,
): { readonly code: 'ORCH-8010' | 'ORCH-8011'; readonly reason: string } | undefined {
  const stale = trust.staleness(nowMs);
  if (stale.length === 0) return undefined;
  const reason = `expired: ${stale.join(', ')}; nothing new is begun until newer ones are signed`;
  return { code: stale.includes('policy') ? 'ORCH-8011' : 'ORCH-8010', reason };
}
