/**
 * Layer 3's system as its agent turns it: a new TLS key is reported as prepared once an authority has
 * certified it and the system has installed the certificate. The agent has the bus, the system has the
 * keys; what goes between them is a request and a chain. From its start on, and every while, the agent
 * sees to the keys that are there: the first one, and those whose certificates grow old.
 */

import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import {
  AdapterError,
  type ActivationProof,
  type KeyVersion,
  type LayerAdapter,
  type VerificationResult,
} from '../adapter.ts';
import type { CertificateAuthority, CertifiedSystem } from './certificate-authority.ts';
import { certifiedSlot } from '#shared/core/certificate-evidence.ts';

export interface CertifiedAdapterPorts {
  readonly remote: CertifiedSystem;
  readonly authority: CertificateAuthority;
  /** How long a certificate shall be valid, by the policy in force. */
  readonly validMs: () => number;
  readonly clock: Clock;
  readonly log: Log;
}

const lookAgainMs = 600_000;
/** After a failure: the signer may be starting, or be away for long. */
const tryAgainMs = 1_000;
const tryAgainMsMax = 30_000;

export class CertifiedAdapter implements LayerAdapter {
  readonly name: string;
  readonly #ports: CertifiedAdapterPorts;
  #timer: Timer | undefined;
  #looking: Promise<void> = Promise.resolve();
  #failures = 0;
  #isStopped = false;

  constructor(ports: CertifiedAdapterPorts) {
    this.#ports = ports;
    this.name = ports.remote.name;
  }

  /** Looks after the certificates of the keys that are there, from now on. */
  start(): void {
    this.#looking = this.#look();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  fingerprint(): string {
    return this.#ports.remote.fingerprint();
  }

  inspect(): ReturnType<LayerAdapter['inspect']> {
    return this.#ports.remote.inspect();
  }

  async prepare(slot: string, version: number): Promise<KeyVersion> {
    const prepared = await this.#ports.remote.prepare(slot, version);
    await this.#certify(slot, version);
    return prepared;
  }

  activate(slot: string, version: number, challenge: Uint8Array): Promise<ActivationProof> {
    return this.#ports.remote.activate(slot, version, challenge);
  }

  verify(slot: string, version: number): Promise<VerificationResult> {
    return this.#ports.remote.verify(slot, version);
  }

  rollback(slot: string, version: number): Promise<void> {
    return this.#ports.remote.rollback(slot, version);
  }

  retire(slot: string, version: number): Promise<void> {
    return this.#ports.remote.retire(slot, version);
  }

  usesLately(slot: string, version: number): Promise<number> {
    return this.#ports.remote.usesLately(slot, version);
  }

  samples(slot: string): ReturnType<LayerAdapter['samples']> {
    return this.#ports.remote.samples(slot);
  }

  freeze(slot: string, frozen: boolean): Promise<void> {
    return this.#ports.remote.freeze(slot, frozen);
  }

  /** Certifies what needs it now. @throws AdapterError */
  async certifyAll(): Promise<void> {
    const slots = await this.#ports.remote.inspect();
    const versions = slots.find(({ slot }) => slot === certifiedSlot)?.versions ?? [];
    // The one in use first: connections wait for nothing else.
    const order = versions.toSorted(
      (left, right) => Number(right.state === 'primary') - Number(left.state === 'primary'),
    );
    for (const { version } of order) await this.#certify(certifiedSlot, version);
    await this.#ports.remote.settle?.();
  }

  async #certify(slot: string, version: number): Promise<void> {
    if (slot !== certifiedSlot) return;
    const { remote, authority, validMs } = this.#ports;
    const request = await remote.certificateRequest(slot, version);
    if (request === undefined) return;
    const issued = await authority.issue({ request, validMs: validMs() });
    await remote.installCertificate(slot, version, issued);
  }

  async #look(): Promise<void> {
    const { clock, log } = this.#ports;
    let pauseMs = lookAgainMs;
    try {
      await this.certifyAll();
      this.#failures = 0;
    } catch (error) {
      if (!(error instanceof AdapterError)) throw error;
      log.warn({ code: error.code }, `what is certified, or shown, is behind: ${error.message}`);
      pauseMs = Math.min(tryAgainMsMax, tryAgainMs * 2 ** this.#failures);
      this.#failures = Math.min(this.#failures + 1, 10);
    }
    if (this.#isStopped) return;
    this.#timer = clock.after(pauseMs, () => this.start());
  }
}
