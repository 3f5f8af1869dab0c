/**
 * What of the keys stands at the listener: the primary certificate's key with its certificate, the ticket
 * keys derived from the primary ticket key, the parameters of the policy. Every turn ends in `renew`, which
 * may be called at any time and puts there what is primary by then.
 */

import type { KeptSettings } from '../service/kept-settings.ts';
import { tlsParameters } from '#shared/core/tls-parameters.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { certificatePem, privateKeyPem } from '#shared/crypto/x509.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Clock, Log, Timer } from '#shared/runtime/ports.ts';
import { AdapterError, type VerificationResult } from '../adapter.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import type { RefusalCounts } from '../service/http-app.ts';
import type { CertifiedKeys, IssuedCertificate } from '../service/certificate-authority.ts';
import type { CertificateShelf } from '../service/certificate-shelf.ts';
import {
  resumes,
  showsCertificate,
  verificationOf,
  type ProbeTarget,
} from '../service/handshake-probe.ts';
import type { LocalAuthority } from './local-authority.ts';
import { ticketKeyBytes, type HandshakeSeen, type TlsListener } from './tls-listener.ts';

export const certificateSlot = '3/tls-certificate';
export const ticketSlot = '3/session-ticket';

/** Where it listens, and whom clients have to know, for those on the same machine. */
export const listeningFile = 'listening';
export const rootsFile = 'roots.pem';

export interface FrontPorts {
  readonly disk: Disk;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Log;
  readonly keys: EmbeddedAdapter;
  readonly settings: KeptSettings;
  readonly shelf: CertificateShelf;
  readonly own: LocalAuthority;
  readonly listener: TlsListener;
  readonly names: readonly string[];
  readonly refusals: RefusalCounts;
}

const ownValidMs = 30 * 24 * 3_600_000;
const ownLookMs = 3_600_000;
/** Connections under an old certificate begin to end when the overlap does, and by then at the latest. */
const closeOthersMsMax = 30_000;

export class Front implements CertifiedKeys {
  readonly #ports: FrontPorts;
  #handshakes = 0;
  #resumptions = 0;
  #look: Timer | undefined;

  constructor(ports: FrontPorts) {
    this.#ports = ports;
  }

  async start(): Promise<void> {
    const { keys, listener, disk, shelf, own } = this.#ports;
    // Where the last start ended between the two.
    if (shelf.isAttached) own.retire();
    for (const { version, state } of keys.store.versions(certificateSlot)) {
      if (state !== 'destroyed') await this.certified(version);
    }
    this.renew();
    await listener.start();
    disk.replaceFile(listeningFile, Buffer.from(JSON.stringify(listener.address)));
    this.#lookAgain();
  }

  async stop(): Promise<void> {
    this.#look?.cancel();
    await this.#ports.listener.stop();
  }

  /** Puts at the listener what is primary. @throws AdapterError */
  renew(): void {
    const { keys, shelf, listener, settings, log } = this.#ports;
    const primary = keys.store.primary(certificateSlot);
    const issued = primary === undefined ? undefined : shelf.of(primary.version);
    if (primary === undefined || issued === undefined) {
      log.error({ code: 'CERTIFICATE_MISSING' }, 'the key in use has no certificate');
      return;
    }
    const key = keys.store.withKey(primary, ({ secret }) => privateKeyPem(secret));
    const ticketKey = this.#ticketKey();
    try {
      const chain = issued.chain.map(certificatePem).join('\n');
      listener.use({ version: primary.version, key, chain }, tlsParameters(settings.current), {
        ticketKey,
        closeOthersInMs: Math.min(settings.current.overlapMs, closeOthersMsMax),
      });
    } finally {
      key.fill(0);
      ticketKey.fill(0);
    }
    this.#publish(issued);
  }

  /** Without an authority, the service certifies its key itself. */
  async certified(version: number): Promise<void> {
    const { shelf, own } = this.#ports;
    if (shelf.isAttached || !shelf.isOld(version)) return;
    const request = await shelf.request(version);
    shelf.install(version, await own.issue({ request, validMs: ownValidMs }), 'own');
  }

  /** A key comes into use with its certificate, or not at all. @throws AdapterError */
  requireCertificate(version: number): void {
    if (this.#ports.shelf.isReady(version)) return;
    const what = `version ${version} of ${certificateSlot} has no certificate yet`;
    throw new AdapterError('STATE_CONFLICT', what);
  }

  async request(slot: string, version: number): Promise<Uint8Array | undefined> {
    requireCertified(slot);
    const { shelf } = this.#ports;
    return shelf.isWanted(version) ? await shelf.request(version) : undefined;
  }

  async install(slot: string, version: number, issued: IssuedCertificate): Promise<void> {
    requireCertified(slot);
    const { shelf, own, keys, refusals, log } = this.#ports;
    if (shelf.rootFault(issued.roots) !== undefined) {
      refusals.add('ROOT_REFUSED');
      log.warn({ code: 'ROOT_REFUSED' }, 'a certificate under another root is refused');
    }
    shelf.install(version, issued, 'authority');
    own.retire();
    if (keys.store.primary(certificateSlot)?.version === version) this.renew();
  }

  /**
   * A handshake with the listener as any stranger's, verified by the roots alone, over a connection that
   * strangers cannot keep from being made. @throws AdapterError SYSTEM_UNREACHABLE
   */
  async verify(version: number): Promise<VerificationResult> {
    const issued = this.#ports.shelf.of(version);
    const [leaf] = issued?.chain ?? [];
    if (issued === undefined || leaf === undefined) {
      return { ok: false, reason: `version ${version} has no certificate` };
    }
    return verificationOf(await showsCertificate(this.#target(issued), leaf));
  }

  /** @throws AdapterError SYSTEM_UNREACHABLE */
  async verifyTickets(): Promise<VerificationResult> {
    const { keys, shelf } = this.#ports;
    const version = keys.store.primary(certificateSlot)?.version ?? 0;
    const issued = shelf.of(version);
    return issued === undefined
      ? { ok: false, reason: 'the key in use has no certificate' }
      : verificationOf(await resumes(this.#target(issued)));
  }

  /** A handshake uses the certificate's key, unless it resumes a session: that uses the ticket key. */
  note({ version, isResumed, durationMs }: HandshakeSeen): void {
    const { usage, store } = this.#ports.keys;
    this.#handshakes += 1;
    if (isResumed) this.#resumptions += 1;
    else {
      const use = { slot: certificateSlot, version, durationMs, failed: false };
      usage.record({ ...use, operation: 'handshake' });
    }
    const ticket = store.primary(ticketSlot)?.version;
    if (ticket === undefined) return;
    const operation = isResumed ? 'resume' : 'issue';
    usage.record({ slot: ticketSlot, version: ticket, operation, durationMs, failed: false });
  }

  counts(): Readonly<Record<string, number>> {
    return {
      connections: this.#ports.listener.connections,
      handshakes: this.#handshakes,
      resumptions: this.#resumptions,
      'certificate-overdue-s': this.#overdueSeconds(),
    };
  }

  /** Above zero: who certifies is away for long, and what is shown holds until its end. */
  #overdueSeconds(): number {
    const { keys, shelf } = this.#ports;
    const version = keys.store.primary(certificateSlot)?.version ?? 0;
    return Math.floor(shelf.overdueMs(version) / 1_000);
  }

  users(version: number): number {
    return this.#ports.listener.connectionsOf(version);
  }

  drop(version: number): void {
    this.#ports.shelf.drop(version);
  }

  /** 48 bytes that belong to the primary ticket key, the same after every restart. */
  #ticketKey(): Uint8Array {
    const { crypto, keys } = this.#ports;
    const primary = keys.store.primary(ticketSlot);
    if (primary === undefined) return crypto.randomBytes(ticketKeyBytes);
    return keys.store.withKey(primary, ({ secret, keyId }) =>
      crypto.hkdfSha256({
        ikm: secret,
        salt: utf8('gyre/v1/tls-tickets'),
        info: utf8(keyId),
        outputBytes: ticketKeyBytes,
      }),
    );
  }

  #target({ roots }: IssuedCertificate): ProbeTarget {
    const { listener, names } = this.#ports;
    const [name = listener.address.host] = names;
    return { connect: () => listener.connect(), name, roots: roots.map(certificatePem) };
  }

  #publish({ roots }: IssuedCertificate): void {
    const { disk } = this.#ports;
    const content = Buffer.from(roots.map(certificatePem).join('\n'));
    const before = disk.readFile(rootsFile);
    if (before !== undefined && content.equals(before)) return;
    try {
      disk.replaceFile(rootsFile, content);
    } catch (cause) {
      const options = { cause, retryable: true };
      throw new AdapterError('STORE_FAILED', 'the roots were not written', options);
    }
  }

  #lookAgain(): void {
    const { clock, keys, log } = this.#ports;
    this.#look = clock.after(ownLookMs, () => {
      const version = keys.store.primary(certificateSlot)?.version ?? 0;
      this.certified(version).then(
        () => this.renew(),
        (error: unknown) => {
          const code = error instanceof AdapterError ? error.code : 'INTERNAL';
          log.error({ code }, "the service's own certificate was not renewed");
        },
      );
      this.#lookAgain();
    });
  }
}

function requireCertified(slot: string): void {
  if (slot === certificateSlot) return;
  throw new AdapterError('STATE_CONFLICT', `the keys of ${slot} have no certificates`);
}
