/**
 * The bus as a member sees it while documents are amended: an authentic event under a registry or policy
 * that this member has yet to learn of is handed on once it was learned, or after a bounded wait. Who
 * follows a stream is given each message once, so that without this a receipt or a report would be lost
 * for good (TRUST_BEHIND is held and fetched, not dropped). Work from a durable consumer is given again.
 */

import type { Header } from '#schemas/frame.ts';
import type { Bus, BusMessage } from '#shared/bus/bus.ts';
import { forwardingTo } from '#shared/bus/forwarding-bus.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { parseFrame, verifyFrame } from '#shared/crypto/envelope.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { Clock } from './ports.ts';

export interface DocumentGatePorts {
  readonly crypto: CryptoProvider;
  readonly trust: TrustView;
  readonly clock: Clock;
  /** Learns what the mesh knows and this member does not. */
  readonly catchUp: () => Promise<void>;
}

/** How long an event waits for documents. */
const behindMs = 2_000;
const lookAgainMs = 100;
/** How long a sender is not waited for again whose documents nobody had: it may invent versions. */
const hopelessMs = 30_000;

/** `bus`, with what is followed held until its documents are known, or cannot be had. */
export function heldForDocuments(bus: Bus, ports: DocumentGatePorts): Bus {
  /** By sender, until when; no more than are enrolled. */
  const hopelessUntilMs = new Map<string, number>();
  return {
    ...forwardingTo(bus),
    follow: (options, handler) =>
      bus.follow(options, (message: BusMessage) => {
        const header = aheadIn(message.data, ports);
        return header === undefined
          ? handler(message)
          : learned(header, ports, hopelessUntilMs).then(() => handler(message));
      }),
  };
}

/** The header of an authentic event under newer documents than are known. Offers are how one learns. */
function aheadIn(data: Uint8Array, ports: DocumentGatePorts): Header | undefined {
  const { crypto, trust } = ports;
  const parsed = parseFrame(data);
  if (!parsed.ok) return undefined;
  const { header } = parsed.frame;
  if (header.type === 'document-offered' || !isAhead(header, trust)) return undefined;
  const sender = trust.agent(header.sender);
  if (sender === undefined || sender.revokedAtMs !== undefined) return undefined;
  return verifyFrame(crypto, parsed.frame, sender.verifyKey).ok ? header : undefined;
}

function isAhead(header: Header, trust: TrustView): boolean {
  const { policyVersion, registryVersion } = header;
  const policy = { version: policyVersion, digest: toHex(header.policyDigest) };
  const registry = { version: registryVersion, digest: toHex(header.registryDigest) };
  return (
    trust.standingOf('policy', policy) === 'ahead' ||
    trust.standingOf('registry', registry) === 'ahead'
  );
}

async function learned(
  header: Header,
  { trust, clock, catchUp }: DocumentGatePorts,
  hopelessUntilMs: Map<string, number>,
): Promise<void> {
  const sinceMs = clock.monotonicMs();
  if ((hopelessUntilMs.get(header.sender) ?? 0) > sinceMs) return;
  while (isAhead(header, trust)) {
    await catchUp();
    if (!isAhead(header, trust)) break;
    if (clock.monotonicMs() - sinceMs >= behindMs) {
      hopelessUntilMs.set(header.sender, clock.monotonicMs() + hopelessMs);
      return;
    }
    await new Promise<void>((resolve) => clock.after(lookAgainMs, resolve));
  }
}
