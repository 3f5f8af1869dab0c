/**
 * The certificates of layer 2's capability keys. Every key has one before it is reported as prepared;
 * it is renewed when half of its time is over, and when layer 1 has another primary identity key, so
 * that nothing here keeps the old one in use. Layer 1 is told which certificates are still used: only
 * then are the others superseded. It is told before it is asked for others, whatever it answers then: what
 * somebody else had made over this layer's socket goes with the next turn. Each pass may end anywhere and
 * is taken up by the next.
 */

import { keyCertificateCheck, type KeyCertificate } from '#schemas/identity.ts';
import type { DatabaseSync } from 'node:sqlite';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import { Turns } from '#shared/runtime/turns.ts';
import { AdapterError } from '../adapter.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import type { StoredVersion } from '../embedded/key-store.ts';
import { isInTime, isSignedByIdentity, provePossession } from '../service/key-certificate.ts';
import { ServiceError, type ServiceClient } from '../service/service-client.ts';
import { storedJson } from '../service/stored-json.ts';
import { transact, translated } from '../sqlite.ts';
import type { IdentityView } from './identity-view.ts';

export const capabilitySlot = '2/capability-signature';

const passEveryMs = 2_000;
/** While layer 1 does not answer, or has not yet. */
const passAgainMs = 500;

const schema = `CREATE TABLE IF NOT EXISTS certificates (
  key_id TEXT PRIMARY KEY,
  certificate TEXT NOT NULL
) STRICT;`;

export interface CertificationPorts {
  readonly database: DatabaseSync;
  readonly keys: EmbeddedAdapter;
  readonly view: IdentityView;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Log;
  /** Layer 1. */
  readonly peer: () => ServiceClient;
}

export class Certification {
  readonly #ports: CertificationPorts;
  readonly #turns = new Turns();
  readonly #held = new Map<string, KeyCertificate>();
  /** Signatures of certificates that were checked and hold. */
  #checked = new Set<string>();
  /** What layer 1 was last told, and heard. */
  #told: string | undefined;
  #timer: Timer | undefined;
  #isDown = false;
  #isStopped = false;

  private constructor(ports: CertificationPorts) {
    this.#ports = ports;
  }

  /** @throws AdapterError */
  static restore(ports: CertificationPorts): Certification {
    const { database } = ports;
    const certification = new Certification(ports);
    transact(database, 'the certificates cannot be used', () => database.exec(schema));
    const rows = translated('the certificates cannot be read', () =>
      database.prepare('SELECT key_id, certificate FROM certificates').all(),
    );
    for (const { key_id: keyId, certificate } of rows) {
      const value = storedJson(String(certificate));
      if (keyCertificateCheck.check(value)) certification.#held.set(String(keyId), value);
    }
    return certification;
  }

  certificates(): KeyCertificate[] {
    return [...this.#held.values()];
  }

  /** Whether an identity key vouches for a capability key now. */
  isCertified(keyId: string): boolean {
    const { view, crypto, clock } = this.#ports;
    const certificate = this.#held.get(keyId);
    if (certificate === undefined || !isInTime(certificate, clock.nowMs())) return false;
    const { subject_key_id: subject, issuer_key_id: issuer, subject_slot: slot } = certificate.body;
    if (subject !== keyId || slot !== capabilitySlot) return false;
    if (!view.identityKeys.some((key) => key.keyId === issuer)) return false;
    if (this.#checked.has(certificate.signature)) return true;
    if (!isSignedByIdentity(crypto, certificate, view.identityKeys)) return false;
    this.#checked.add(certificate.signature);
    return true;
  }

  /** Begins to look after the certificates, beside the requests. */
  start(): void {
    void this.#again();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#turns.ended('pass');
  }

  /** Resolves once a version is certified. @throws AdapterError SYSTEM_UNREACHABLE */
  async require(version: number): Promise<void> {
    const stored = this.#ports.keys.store.version(capabilitySlot, version);
    if (stored === undefined) throw new AdapterError('VERSION_UNKNOWN', `no version ${version}`);
    if (this.isCertified(stored.keyId)) {
      // Perhaps by an earlier identity key: that is renewed beside the step, and does not hold it up.
      void this.pass();
      return;
    }
    await this.pass();
    if (this.isCertified(stored.keyId)) return;
    const what = `layer 1 does not certify version ${version} of ${capabilitySlot}`;
    throw new AdapterError('SYSTEM_UNREACHABLE', what, { retryable: true });
  }

  /** Renews what has to be renewed, and tells layer 1. What fails is left to the next pass. */
  async pass(): Promise<void> {
    const { log } = this.#ports;
    try {
      await this.#turns.take('pass', () => this.#pass());
      if (this.#isDown) log.info({}, 'layer 1 answers again');
      this.#isDown = false;
    } catch (error) {
      if (!(error instanceof ServiceError) && !(error instanceof AdapterError)) throw error;
      if (!this.#isDown) log.warn({ code: error.code }, 'layer 1 was not asked for certificates');
      this.#isDown = true;
    }
  }

  async #again(): Promise<void> {
    await this.pass();
    if (this.#isStopped) return;
    this.#timer = this.#ports.clock.after(this.#isDown ? passAgainMs : passEveryMs, () => {
      void this.#again();
    });
  }

  async #pass(): Promise<void> {
    if (this.#isStopped) return;
    const { keys, view } = this.#ports;
    await view.refresh();
    await this.#tell();
    const there = keys.store.versions(capabilitySlot).filter(({ state }) => state !== 'destroyed');
    for (const stored of there) {
      if (!this.#isCurrent(stored.keyId)) await this.#renew(stored);
    }
    this.#forgetBut(new Set(there.map(({ keyId }) => keyId)));
    await this.#tell();
  }

  /** Certified by the primary identity key, for more than half of the time that it was given. */
  #isCurrent(keyId: string): boolean {
    const { view, clock } = this.#ports;
    const body = this.#held.get(keyId)?.body;
    if (body === undefined || !this.isCertified(keyId)) return false;
    const leftMs = body.expires_at_ms - clock.nowMs();
    const isYoung = leftMs > (body.expires_at_ms - body.issued_at_ms) / 2;
    return isYoung && body.issuer_key_id === view.primaryIdentityKeyId;
  }

  async #renew(stored: StoredVersion): Promise<void> {
    const { peer, view, crypto, keys } = this.#ports;
    const { keyId, publicKey = new Uint8Array() } = stored;
    const certified = { slot: capabilitySlot, keyId, publicKey };
    const proof = keys.store.withKey(stored, (key) => provePossession(crypto, key, certified));
    const answer = await peer().ask({
      method: 'POST',
      path: '/internal/v1/certificates',
      body: { ...certified, publicKey: toBase64Url(publicKey), proof: toBase64Url(proof) },
    });
    if (answer.status === 'refused' || !keyCertificateCheck.check(answer.body)) {
      throw new ServiceError('ANSWER_MALFORMED', 'layer 1 gave no certificate');
    }
    const certificate = answer.body;
    const issuer = certificate.body.issuer_key_id;
    // Layer 1 may have got another key between the two questions.
    if (!view.identityKeys.some((key) => key.keyId === issuer)) await view.refresh();
    const { subject_key_id: subject, subject_slot: slot } = certificate.body;
    const isOurs = subject === keyId && slot === capabilitySlot;
    if (!isOurs || !isSignedByIdentity(crypto, certificate, view.identityKeys)) {
      throw new ServiceError('ANSWER_MALFORMED', 'the certificate of layer 1 does not hold');
    }
    this.#keep(keyId, certificate);
  }

  #keep(keyId: string, certificate: KeyCertificate): void {
    const { database } = this.#ports;
    translated('the certificate was not kept', () =>
      database
        .prepare('INSERT OR REPLACE INTO certificates VALUES (?, ?)')
        .run(keyId, JSON.stringify(certificate)),
    );
    this.#held.set(keyId, certificate);
  }

  #forgetBut(keyIds: ReadonlySet<string>): void {
    const { database } = this.#ports;
    for (const keyId of this.#held.keys()) {
      if (keyIds.has(keyId)) continue;
      translated('the certificate was not forgotten', () =>
        database.prepare('DELETE FROM certificates WHERE key_id = ?').run(keyId),
      );
      this.#held.delete(keyId);
    }
    const signatures = new Set(this.certificates().map(({ signature }) => signature));
    this.#checked = new Set([...this.#checked].filter((signature) => signatures.has(signature)));
  }

  /** Says which certificates are in use, where layer 1 has not heard it yet under its key of now. */
  async #tell(): Promise<void> {
    const serials = this.certificates()
      .map(({ body }) => body.serial)
      .toSorted();
    const said = [this.#ports.view.primaryIdentityKeyId, ...serials].join();
    if (said === this.#told) return;
    const answer = await this.#ports.peer().ask({
      method: 'PUT',
      path: '/internal/v1/certificates/in-use',
      body: { slot: capabilitySlot, serials },
    });
    if (answer.status === 'refused') {
      throw new ServiceError('ANSWER_MALFORMED', 'layer 1 does not take the certificates in use');
    }
    this.#told = said;
  }
}
