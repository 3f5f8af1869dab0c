/** How a layer's slots are shown to others: numbers, key ids and states, never a key. */

import type { SlotStatus } from '#schemas/steps.ts';
import type { SlotInspection } from './adapter.ts';

/** As many accepted versions as an advertisement can name. */
const acceptedMax = 64;

/** A slot without a primary key, which no rotation leaves behind, is not shown. */
export function slotStatuses(
  inspections: readonly SlotInspection[],
  holderOf: (slot: string) => string | undefined,
): SlotStatus[] {
  return inspections.flatMap(({ slot, keyKind, algorithm, frozen, versions }) => {
    const primary = versions.find(({ state }) => state === 'primary');
    if (primary === undefined) return [];
    const { version, keyId, publicDigest, activatedAtMs, createdAtMs } = primary;
    const status = {
      slot,
      keyKind,
      algorithm,
      version,
      keyId,
      publicDigest,
      activatedAtMs: activatedAtMs ?? createdAtMs,
      frozen,
      accepted: versions
        .filter(({ state }) => state !== 'prepared')
        .slice(0, acceptedMax)
        .map((each) => each.version),
    };
    const reservedBy = holderOf(slot);
    return [reservedBy === undefined ? status : { ...status, reservedBy }];
  });
}
