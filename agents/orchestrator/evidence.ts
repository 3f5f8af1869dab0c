/**
 * Events that steps and statements rest on, as disclosures that anyone can check. They are kept while
 * they pass by; what is not at hand any more (another instance saw it) is asked of the auditor.
 */

import type { Disclosure } from '#schemas/frame.ts';
import { disclosureValidator } from '#schemas/frame.ts';
import { BusError } from '#shared/bus/bus.ts';
import { askTimeoutMs, type OrchestratorPorts } from './ports.ts';

/** Disclosures kept at most; a rotation of seven layers needs about fifty. */
const keptMax = 4096;
const askedMax = 16;

export class EvidenceShelf {
  readonly #ports: OrchestratorPorts;
  readonly #kept = new Map<string, Disclosure>();

  constructor(ports: OrchestratorPorts) {
    this.#ports = ports;
  }

  keep(hash: string, disclosure: Disclosure): void {
    this.#kept.delete(hash);
    this.#kept.set(hash, disclosure);
    if (this.#kept.size <= keptMax) return;
    const oldest = this.#kept.keys().next().value;
    if (oldest !== undefined) this.#kept.delete(oldest);
  }

  /** In the order asked for. @throws BusError BUS_REJECTED when the auditor does not have one */
  async fetch(hashes: readonly string[]): Promise<Disclosure[]> {
    const missing = hashes.filter((hash) => !this.#kept.has(hash));
    for (let at = 0; at < missing.length; at += askedMax) {
      await this.#ask(missing.slice(at, at + askedMax));
    }
    return hashes.map((hash) => {
      const disclosure = this.#kept.get(hash);
      if (disclosure === undefined) {
        throw new BusError('BUS_REJECTED', `no auditor has the event ${hash}`);
      }
      return disclosure;
    });
  }

  async #ask(hashes: readonly string[]): Promise<void> {
    const auditor = this.#ports.trust.agents().find(({ kind }) => kind === 'auditor');
    if (auditor === undefined) return;
    const answer = await this.#ports.exchange.ask(
      { agentId: auditor.agentId, channel: 'saga' },
      { ask: 'audit-disclosures', events: [...hashes] },
      askTimeoutMs,
    );
    if (!answer.ok || !Array.isArray(answer.result)) return;
    for (const disclosure of answer.result as unknown[]) {
      if (!disclosureValidator.check(disclosure)) continue;
      const opened = this.#ports.trust.verifyEvidence(disclosure);
      if (opened.status === 'ok') this.keep(opened.event.hash, disclosure);
    }
  }
}
