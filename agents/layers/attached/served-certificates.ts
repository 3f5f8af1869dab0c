/**
 * A TLS server of somebody else's that reads key and certificate from files: what is in use is written
 * beside what was, put in place in one step, reloaded, and then looked at from outside. Where the server
 * does not show it, what was before is put back in its place.
 */

import { certificatePem, privateKeyPem, readCertificate } from '#shared/crypto/x509.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { Turns } from '#shared/runtime/turns.ts';
import { AdapterError, type VerificationResult } from '../adapter.ts';
import type { KeyStore, StoredVersion } from '../embedded/key-store.ts';
import type { IssuedCertificate } from '../service/certificate-authority.ts';
import type { CertificateShelf } from '../service/certificate-shelf.ts';
import {
  showsCertificate,
  shownCertificate,
  verificationOf,
  type Probed,
  type ServerAddress,
} from '../service/handshake-probe.ts';
import type { CertificateFolder } from './certificate-folder.ts';
import type { ProgramSpec } from './program.ts';
import { reload } from './reload.ts';

export interface ServedCertificatesPorts {
  readonly slot: string;
  readonly keys: KeyStore;
  readonly shelf: CertificateShelf;
  readonly folder: CertificateFolder;
  readonly reload: ProgramSpec;
  /** Where the server listens, and the name it is called by. */
  readonly address: ServerAddress;
  readonly crypto: Pick<CryptoProvider, 'sha3_256'>;
  readonly log: Log;
  /** After a reload, until the new certificate has to be there; 10,000 unless told. */
  readonly shownWithinMs?: number;
}

const shownWithinMsDefault = 10_000;
const lookPauseMs = 100;
/** Hexadecimal digits of a certificate's digest in the name of its folder. */
const digestChars = 16;

export class ServedCertificates {
  readonly #ports: ServedCertificatesPorts;
  /** Files and server are changed by one at a time. */
  readonly #turns = new Turns();
  /** What the server was seen to show after a reload, since the start. */
  #seen: string | undefined;

  constructor(ports: ServedCertificatesPorts) {
    this.#ports = ports;
  }

  /** Whether the server was seen with what is in use. */
  get isCurrent(): boolean {
    const { keys, slot } = this.#ports;
    const primary = keys.primary(slot);
    return primary !== undefined && this.#seen !== undefined && this.#seen === this.#name(primary);
  }

  /** Writes the files of a version, for use later. @throws AdapterError STATE_CONFLICT without a certificate */
  write(version: number): void {
    this.#write(version);
  }

  /** Has the server show what is in use. May be repeated. @throws AdapterError */
  async show(): Promise<void> {
    await this.#turns.take('server', () => this.#show());
  }

  /** @throws AdapterError SYSTEM_UNREACHABLE where there was no handshake to judge by */
  async verify(version: number): Promise<VerificationResult> {
    const issued = this.#ports.shelf.of(version);
    return issued === undefined
      ? { ok: false, reason: `version ${version} has no certificate` }
      : verificationOf(await this.#shows(issued));
  }

  /** 1 while the server shows the version's key to new connections. @throws AdapterError SYSTEM_UNREACHABLE */
  async users(version: number): Promise<number> {
    const { keys, slot, address } = this.#ports;
    const stored = keys.version(slot, version);
    if (stored === undefined || stored.state === 'destroyed') return 0;
    const shown = await shownCertificate({ ...address, roots: [] });
    if (shown.status === 'unreachable') {
      const what = `what the server shows is not known: ${shown.reason}`;
      throw new AdapterError('SYSTEM_UNREACHABLE', what, { retryable: true });
    }
    const publicKey = readCertificate(shown.certificate)?.publicKey;
    return publicKey !== undefined && this.#keyId(publicKey) === stored.keyId ? 1 : 0;
  }

  /** Takes the files of a version away. @throws AdapterError STATE_CONFLICT while the server shows it */
  async drop(version: number): Promise<void> {
    const { folder, shelf, slot } = this.#ports;
    if ((await this.users(version)) > 0) {
      const what = `version ${version} of ${slot} is shown by the server`;
      throw new AdapterError('STATE_CONFLICT', what);
    }
    await this.#turns.take('server', async () => {
      for (const name of folder.names()) if (versionIn(name) === version) folder.remove(name);
      shelf.drop(version);
    });
  }

  async #show(): Promise<void> {
    const { keys, slot, folder } = this.#ports;
    const primary = keys.primary(slot);
    if (primary === undefined) throw new Error('assertion: a slot has a primary key');
    const { name, issued } = this.#write(primary.version);
    folder.publish(issued.roots.map(certificatePem).join('\n'));
    const before = folder.current;
    if (before === name && this.#seen === name && (await this.#shows(issued)).status === 'holds') {
      return;
    }
    folder.point(name);
    try {
      await reload(this.#ports.reload, slot, primary.keyId);
      await this.#mustShow(issued);
    } catch (error) {
      if (before !== undefined && before !== name) await this.#putBack(before);
      throw error;
    }
    this.#seen = name;
    this.#clear(primary.version, name);
  }

  async #putBack(before: string): Promise<void> {
    const { folder, log, slot, reload: spec } = this.#ports;
    this.#seen = undefined;
    folder.point(before);
    try {
      await reload(spec, slot);
    } catch (error) {
      if (!(error instanceof AdapterError)) throw error;
      log.warn({ code: error.code }, 'the server was not reloaded with what it showed before');
    }
  }

  #write(version: number): { readonly name: string; readonly issued: IssuedCertificate } {
    const { keys, slot, shelf, folder } = this.#ports;
    const stored = keys.version(slot, version);
    const issued = shelf.of(version);
    const name = stored === undefined ? undefined : this.#name(stored);
    if (stored === undefined || issued === undefined || name === undefined) {
      const what = `version ${version} of ${slot} has no certificate yet`;
      throw new AdapterError('STATE_CONFLICT', what);
    }
    const key = keys.withKey(stored, ({ secret }) => privateKeyPem(secret));
    try {
      folder.write(name, { key, chain: issued.chain.map(certificatePem).join('\n') });
    } finally {
      key.fill(0);
    }
    return { name, issued };
  }

  /** Earlier certificates of the version in use, and versions that are gone. */
  #clear(version: number, name: string): void {
    const { keys, slot, folder } = this.#ports;
    for (const other of folder.names()) {
      const of = versionIn(other);
      const state = keys.version(slot, of)?.state ?? 'destroyed';
      const isOld = (of === version && other !== name) || state === 'destroyed';
      if (isOld) folder.remove(other);
    }
  }

  async #mustShow(issued: IssuedCertificate): Promise<void> {
    const beganMs = performance.now();
    for (;;) {
      const probed = await this.#shows(issued);
      if (probed.status === 'holds') return;
      const withinMs = this.#ports.shownWithinMs ?? shownWithinMsDefault;
      if (performance.now() - beganMs > withinMs) {
        const what = `the server was reloaded and does not show its certificate: ${probed.reason}`;
        throw new AdapterError('SYSTEM_UNREACHABLE', what, { retryable: true });
      }
      await new Promise((resolve) => setTimeout(resolve, lookPauseMs));
    }
  }

  async #shows({ chain: [leaf], roots }: IssuedCertificate): Promise<Probed> {
    if (leaf === undefined) return { status: 'fails', reason: 'there is no certificate' };
    const target = { ...this.#ports.address, roots: roots.map(certificatePem) };
    return await showsCertificate(target, leaf);
  }

  #name({ version }: StoredVersion): string | undefined {
    const [leaf] = this.#ports.shelf.of(version)?.chain ?? [];
    return leaf === undefined ? undefined : `${version}-${this.#keyId(leaf).slice(0, digestChars)}`;
  }

  #keyId(bytes: Uint8Array): string {
    return toHex(this.#ports.crypto.sha3_256(bytes));
  }
}

function versionIn(name: string): number {
  return Number(name.slice(0, name.indexOf('-')));
}
