/**
 * An agent's link to its layer's service: waits for the service at the start, tells it what the policy
 * asks, at the start and whenever another policy comes into force, and goes on telling until it was
 * heard. A service that starts anew has kept what it was told.
 */

import type { TrustView } from '#shared/crypto/trust.ts';
import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import { settingsOf } from './policy-settings.ts';
import { RemoteAdapter } from './remote-adapter.ts';
import { ServiceClient } from './service-client.ts';

const retryMs = 500;
/** Every so many tries somebody is told. */
const triesPerWarning = 20;

export interface ServiceLinkPorts {
  readonly controlSocket: string;
  readonly trust: TrustView;
  readonly clock: Clock;
  readonly log: Log;
}

export class ServiceLink {
  readonly adapter: RemoteAdapter;
  readonly #ports: ServiceLinkPorts;
  readonly #forget: () => void;
  #retry: Timer | undefined;
  #telling: Promise<void> = Promise.resolve();
  #stopped = false;

  private constructor(ports: ServiceLinkPorts, adapter: RemoteAdapter) {
    this.#ports = ports;
    this.adapter = adapter;
    this.#forget = ports.trust.onAdopted(() => this.#tell());
    this.#tell();
  }

  /** Resolves when the service has answered, however long that takes. */
  static async open(ports: ServiceLinkPorts): Promise<ServiceLink> {
    const client = new ServiceClient({ socketPath: ports.controlSocket, timeoutMs: 30_000 });
    for (let tries = 0; ; tries += 1) {
      try {
        return new ServiceLink(ports, await RemoteAdapter.connect(client));
      } catch (error) {
        if (!(error instanceof AdapterError)) throw error;
        if (tries % triesPerWarning === 0) {
          ports.log.warn({ code: error.code }, "waiting for the layer's service");
        }
      }
      await new Promise<void>((resolve) => {
        ports.clock.after(retryMs, resolve);
      });
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#forget();
    this.#retry?.cancel();
    await this.#telling;
    this.adapter.close();
  }

  #tell(): void {
    this.#retry?.cancel();
    this.#telling = this.#telling.then(() => this.#tellOnce());
  }

  async #tellOnce(): Promise<void> {
    const { trust, clock, log } = this.#ports;
    if (this.#stopped) return;
    try {
      await this.adapter.configure(settingsOf(trust.policy, trust.policyDigest));
    } catch (error) {
      if (!(error instanceof AdapterError)) throw error;
      log.warn({ code: error.code }, 'the service was not told of the policy: once more');
      this.#retry = clock.after(retryMs, () => this.#tell());
    }
  }
}
