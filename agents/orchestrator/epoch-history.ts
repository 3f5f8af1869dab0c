/**
 * What stands in an epoch log is read for as long as the log is: an entry that is history by now (expired,
 * or sealed under documents that were amended since) counts all the same, and so does what was sealed
 * under newer documents than are known here yet. Prekeys that have expired do not.
 */

import type { RefusalCode } from '#schemas/errors.ts';
import type { BusMessage } from '#shared/bus/bus.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { AnyReceivedEvent, Exchange } from '#shared/runtime/exchange.ts';

interface HistoryPorts {
  readonly exchange: Exchange;
  readonly trust: TrustView;
}

/** Refusals that say nothing against an entry of a log: it came at another time. */
const historical: ReadonlySet<RefusalCode> = new Set<RefusalCode>([
  'EVENT_EXPIRED',
  'POLICY_NOT_IN_FORCE',
  'REGISTRY_NOT_IN_FORCE',
  'TRUST_BEHIND',
]);

export function openedOrHistory(
  ports: HistoryPorts,
  message: BusMessage,
): AnyReceivedEvent | undefined {
  const { exchange, trust } = ports;
  const opening = exchange.open(message);
  if (opening.status !== 'refused') return opening.event;
  if (!historical.has(opening.code)) return undefined;
  const event = exchange.openRecord(message.data);
  const isOld = event?.type === 'prekeys-published' && opening.code === 'EVENT_EXPIRED';
  if (event === undefined || isOld || !knowsDocuments(trust, event)) return undefined;
  return { ...event, sequence: message.sequence };
}

/** Whether the documents that the event names were in force once, or are to be learned of. */
function knowsDocuments(trust: TrustView, { header }: AnyReceivedEvent): boolean {
  const { policyVersion, registryVersion } = header;
  const [policy, registry] = [toHex(header.policyDigest), toHex(header.registryDigest)];
  return [
    trust.standingOf('policy', { version: policyVersion, digest: policy }),
    trust.standingOf('registry', { version: registryVersion, digest: registry }),
  ].every((standing) => standing !== 'unknown');
}
