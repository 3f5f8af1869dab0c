/** An orchestrator's part in epochs, put together: its driver, its answers, its own membership. */

import type { Query } from '#schemas/queries.ts';
import type { Enrolled } from '#shared/crypto/trust.ts';
import type { AnyReceivedEvent, Answer } from '#shared/runtime/exchange.ts';
import { EpochDesk } from './epoch-desk.ts';
import { EpochDriver, type EpochPorts, type LiveSaga } from './epoch-driver.ts';

export class Epochs {
  readonly #ports: EpochPorts;
  readonly #driver: EpochDriver;
  readonly #desk: EpochDesk;

  constructor(ports: EpochPorts) {
    this.#ports = ports;
    this.#driver = new EpochDriver(ports);
    this.#desk = new EpochDesk(ports, this.#driver);
  }

  /** Once questions are answered. Resolves when every channel has an epoch in use. */
  async start(): Promise<void> {
    await this.#driver.start();
    await this.#ports.epochs.start();
    await this.#ports.epochs.ready();
  }

  /** The sagas are read, and secrets may be given up that no saga needs. */
  goLive(sagas: () => readonly LiveSaga[]): void {
    this.#driver.sagasAreRead(sagas);
  }

  /** Everything that this orchestrator hears counts for its epoch. */
  heard(event: AnyReceivedEvent): void {
    this.count(event.header);
    if (event.type === 'epoch-rotation-requested') this.#driver.request(event);
  }

  count(header: { readonly channel: string; readonly epoch: number }): void {
    this.#driver.count(header);
  }

  /** Undefined for what is asked about something else. */
  answer(query: Query, asker: Enrolled): Answer | undefined {
    return this.#desk.answer(query, asker);
  }

  async stop(): Promise<void> {
    await this.#driver.stop();
    await this.#ports.epochs.stop();
  }
}
