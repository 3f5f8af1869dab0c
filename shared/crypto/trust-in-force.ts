/**
 * What is in force, as entitlement asks for it: always the documents that the view holds now. Nobody
 * keeps a digest of them.
 */

import type { AddressOf, AmendedKind, AnnouncedEvent, InForce } from '#shared/core/entitlement.ts';
import { isSagaBound, namedVersion } from '#shared/core/entitlement.ts';
import type { TrustView } from './trust.ts';

export function inForceOf(
  trust: TrustView,
  addressOf: AddressOf,
  takesSuperseded: InForce['takesSuperseded'],
): InForce {
  return {
    addressOf,
    standingOf: (kind, named) => trust.standingOf(kind, named),
    takesSuperseded,
    get clockSkewMs() {
      return trust.policy.policies.rotation.clock_skew_ms;
    },
  };
}

/**
 * Of a receiver that hears events as they come: what belongs to a saga is taken under the version that
 * the saga began with, everything else within the grace of `policy.channels.amendment_grace_ms`.
 */
export function inForceLive(
  trust: TrustView,
  addressOf: AddressOf,
  clock: { nowMs(): number },
): InForce {
  const isInGrace = (kind: AmendedKind, event: AnnouncedEvent): boolean => {
    const { digest } = namedVersion(kind, event);
    const supersededAtMs =
      kind === 'policy' ? trust.policySupersededAtMs(digest) : trust.registrySupersededAtMs(digest);
    const graceMs = trust.policy.policies.channels.amendment_grace_ms;
    return clock.nowMs() <= (supersededAtMs ?? -Infinity) + graceMs;
  };
  return inForceOf(
    trust,
    addressOf,
    (kind, event) => isSagaBound(event.type) || isInGrace(kind, event),
  );
}
