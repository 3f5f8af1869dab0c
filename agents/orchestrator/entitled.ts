/** Who may hold the secrets of channels, and the digests by which announcements name them. */

import { isEntitledTo } from '#shared/core/channels.ts';
import { entitledDigest } from '#shared/crypto/epoch-capsule.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Enrolled, TrustView } from '#shared/crypto/trust.ts';

interface EntitledPorts {
  readonly crypto: CryptoProvider;
  readonly trust: Pick<TrustView, 'agents'>;
}

export class Entitled {
  readonly #ports: EntitledPorts;
  /** By channel, as asked last: every event of every channel asks, and who is entitled changes seldom. */
  readonly #known = new Map<string, { agents: readonly Enrolled[]; digest: string }>();

  constructor(ports: EntitledPorts) {
    this.#ports = ports;
  }

  to(channel: string, nowMs: number): Enrolled[] {
    return this.#ports.trust.agents().filter((agent) => isEntitledTo(channel, agent, nowMs));
  }

  digest(channel: string, nowMs: number): string {
    const agents = this.to(channel, nowMs);
    const known = this.#known.get(channel);
    if (known !== undefined && isSame(known.agents, agents)) return known.digest;
    const digest = entitledDigest(this.#ports.crypto, channel, agents);
    this.#known.set(channel, { agents, digest });
    return digest;
  }
}

/** Identity keys never change: the same agents have the same digest. */
function isSame(some: readonly Enrolled[], others: readonly Enrolled[]): boolean {
  return some.length === others.length && some.every((agent, index) => agent === others[index]);
}
