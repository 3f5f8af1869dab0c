/**
 * How all layers are, as their services say: each is asked for its health, at the most once a second
 * however often this one is asked, and one that does not answer is told as such.
 */

import { layerNames, layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { ServiceError, type ServiceClient } from '../service/service-client.ts';

export interface LayerHealth {
  readonly layer: LayerNumber;
  readonly name: string;
  readonly status: 'ok' | 'failing' | 'unreachable';
  /** What the service itself says. */
  readonly health?: unknown;
}

export interface PeerHealthPorts {
  readonly own: LayerNumber;
  readonly peer: (layer: LayerNumber) => ServiceClient;
  readonly clock: Clock;
}

const keptMs = 1_000;

export class PeerHealth {
  readonly #ports: PeerHealthPorts;
  #asked: { readonly atMs: number; readonly answers: Promise<LayerHealth[]> } | undefined;

  constructor(ports: PeerHealthPorts) {
    this.#ports = ports;
  }

  /** Of the other layers, in their order. */
  all(): Promise<LayerHealth[]> {
    const atMs = this.#ports.clock.monotonicMs();
    if (this.#asked === undefined || atMs - this.#asked.atMs >= keptMs) {
      const others = layerNumbers.filter((layer) => layer !== this.#ports.own);
      const answers = Promise.all(others.map((layer) => this.#ask(layer)));
      this.#asked = { atMs, answers };
    }
    return this.#asked.answers;
  }

  async #ask(layer: LayerNumber): Promise<LayerHealth> {
    const about = { layer, name: layerNames[layer] };
    try {
      const answer = await this.#ports.peer(layer).ask({ method: 'GET', path: '/v1/health' });
      return answer.status === 'done'
        ? { ...about, status: 'ok', health: answer.body }
        : { ...about, status: 'failing' };
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      return { ...about, status: 'unreachable' };
    }
  }
}
