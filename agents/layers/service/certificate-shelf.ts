/**
 * The certificates of the TLS keys, one for each version, kept before they are used. Once an authority
 * has been heard of, no key comes into use without a certificate by it; before, those of the service's
 * own authority do.
 *
 * The first authority that is heard of is pinned by the keys of its roots. Whoever steals the agent can
 * hand over what the authority gave, and never a root of his own for clients to believe.
 */

import { Type, type Static } from 'typebox';
import {
  Base64Url,
  compile,
  DigestHex,
  List,
  OneOf,
  StrictObject,
  Uint,
} from '#schemas/primitives.ts';
import { fromBase64Url, toBase64Url, toHex } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { chainFault, makeCertificateRequest, readCertificate } from '#shared/crypto/x509.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import type { KeyStore, StoredVersion } from '../embedded/key-store.ts';
import type { IssuedCertificate } from './certificate-authority.ts';
import { keepDocument, keptDocument } from './kept-document.ts';

export interface ShelfPorts {
  readonly disk: Disk;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly keys: KeyStore;
  readonly slot: string;
  /** That a certificate has to have. */
  readonly names: readonly string[];
}

const file = 'certificates.json';
/** X.509 signs without a context string (RFC 9881 section 3). */
const noContext = new Uint8Array(0);
const keptMax = 64;
const rootsMax = 4;
const issuers = ['own', 'authority'] as const;
export type Issuer = (typeof issuers)[number];

const Kept = StrictObject({
  /** An authority was heard of: its own certificates count no more. */
  isAttached: Type.Boolean(),
  /** SHA3-256 of the keys of its roots. */
  rootKeyIds: Type.Optional(List(DigestHex(), { itemsMin: 1, itemsMax: rootsMax })),
  certificates: List(
    StrictObject({
      version: Uint(),
      keyId: DigestHex(),
      issuer: OneOf(issuers),
      chain: List(Base64Url(15_000), { itemsMin: 1, itemsMax: 4 }),
      roots: List(Base64Url(15_000), { itemsMin: 1, itemsMax: rootsMax }),
    }),
    { itemsMax: keptMax },
  ),
});
type Kept = Static<typeof Kept>;
type KeptCertificate = Kept['certificates'][number];
const keptCheck = compile(Kept);

export class CertificateShelf {
  readonly #ports: ShelfPorts;
  #kept: Kept;

  private constructor(ports: ShelfPorts, kept: Kept) {
    this.#ports = ports;
    this.#kept = kept;
  }

  /** @throws AdapterError STORE_FAILED where what was kept is damaged */
  static open(ports: ShelfPorts): CertificateShelf {
    const none = { isAttached: false, certificates: [] };
    return new CertificateShelf(ports, keptDocument(ports.disk, file, keptCheck) ?? none);
  }

  get isAttached(): boolean {
    return this.#kept.isAttached;
  }

  /** The certificate that a version is used with, or undefined. */
  of(version: number): IssuedCertificate | undefined {
    const kept = this.#find(version);
    if (kept === undefined) return undefined;
    return { chain: kept.chain.map(bytesOf), roots: kept.roots.map(bytesOf) };
  }

  /** Whether an authority should certify the version: none did, or two thirds of its time are over. */
  isWanted(version: number): boolean {
    return this.#find(version)?.issuer !== 'authority' || this.isOld(version);
  }

  /** Whether the version has no certificate, or one with less than a third of its time left. */
  isOld(version: number): boolean {
    const content = this.#content(version);
    if (content === undefined) return true;
    const { notBeforeMs, notAfterMs } = content;
    return notAfterMs - this.#ports.clock.nowMs() < (notAfterMs - notBeforeMs) / 3;
  }

  /** For how long the version should have had another certificate: since a quarter of its time is left. */
  overdueMs(version: number): number {
    const content = this.#content(version);
    if (content === undefined) return 0;
    const { notBeforeMs, notAfterMs } = content;
    const dueMs = notAfterMs - (notAfterMs - notBeforeMs) / 4;
    return Math.max(0, this.#ports.clock.nowMs() - dueMs);
  }

  /** Why an authority with these roots is not the one that is known, or undefined. */
  rootFault(roots: readonly Uint8Array[]): string | undefined {
    const keyIds = authorityKeyIds(this.#ports.crypto, roots);
    if (keyIds === undefined) return 'a root is no certificate of an authority by itself';
    const pinned = this.#pinned();
    return pinned === undefined || keyIds.every((keyId) => pinned.includes(keyId))
      ? undefined
      : 'a root is of another key than those of the authority that is known';
  }

  /** Whether the version may become the one in use. */
  isReady(version: number): boolean {
    const { isAttached } = this.#kept;
    if (isAttached && this.#find(version)?.issuer !== 'authority') return false;
    return this.#ports.clock.nowMs() <= (this.#content(version)?.notAfterMs ?? 0);
  }

  /** PKCS#10 by the key of a version. @throws AdapterError VERSION_UNKNOWN */
  async request(version: number): Promise<Uint8Array> {
    const { crypto, keys, names } = this.#ports;
    const seed = keys.withKey(this.#stored(version), ({ secret }) => Uint8Array.from(secret));
    try {
      return await makeCertificateRequest(crypto, { seed, names });
    } finally {
      seed.fill(0);
    }
  }

  /** @throws AdapterError STATE_CONFLICT for what does not certify the key of the version */
  install(version: number, issued: IssuedCertificate, issuer: Issuer): void {
    const { crypto, clock, names } = this.#ports;
    const { keyId, publicKey = new Uint8Array() } = this.#stored(version);
    const nowMs = clock.nowMs();
    const fault =
      (issuer === 'authority' ? this.rootFault(issued.roots) : undefined) ??
      chainFault(crypto, { ...issued, publicKey, names, nowMs });
    if (fault !== undefined) throw new AdapterError('STATE_CONFLICT', fault);
    const { chain, roots } = issued;
    const certificate: KeptCertificate = {
      version,
      keyId,
      issuer,
      chain: chain.map(toBase64Url),
      roots: roots.map(toBase64Url),
    };
    const certificates = [certificate, ...this.#others(version)].slice(0, keptMax);
    if (issuer === 'own') return this.#keep({ ...this.#kept, certificates });
    const rootKeyIds = this.#pinned() ?? authorityKeyIds(crypto, roots);
    if (rootKeyIds === undefined) throw new Error('assertion: the roots were judged');
    this.#keep({ isAttached: true, rootKeyIds, certificates });
  }

  drop(version: number): void {
    if (!this.#kept.certificates.some((each) => each.version === version)) return;
    this.#keep({ ...this.#kept, certificates: this.#others(version) });
  }

  /** Undefined until an authority was heard of. */
  #pinned(): string[] | undefined {
    const { isAttached, rootKeyIds, certificates } = this.#kept;
    if (!isAttached || rootKeyIds !== undefined) return rootKeyIds;
    // What was kept before roots were pinned: those in use are.
    const roots = certificates.find(({ issuer }) => issuer === 'authority')?.roots.map(bytesOf);
    return roots === undefined ? undefined : authorityKeyIds(this.#ports.crypto, roots);
  }

  #content(version: number) {
    const [leaf] = this.of(version)?.chain ?? [];
    return leaf === undefined ? undefined : readCertificate(leaf);
  }

  #others(version: number): KeptCertificate[] {
    const { keys, slot } = this.#ports;
    return this.#kept.certificates.filter((each) => {
      const state = keys.version(slot, each.version)?.state ?? 'destroyed';
      return each.version !== version && state !== 'destroyed';
    });
  }

  #find(version: number): KeptCertificate | undefined {
    const { keys, slot } = this.#ports;
    const keyId = keys.version(slot, version)?.keyId;
    return this.#kept.certificates.find((each) => each.keyId === keyId);
  }

  #stored(version: number): StoredVersion {
    const { keys, slot } = this.#ports;
    const stored = keys.version(slot, version);
    if (stored !== undefined && stored.state !== 'destroyed') return stored;
    throw new AdapterError('VERSION_UNKNOWN', `no version ${version} of ${slot}`);
  }

  #keep(kept: Kept): void {
    keepDocument(this.#ports.disk, file, kept);
    this.#kept = kept;
  }
}

/** Key ids of certificates that authorities signed for themselves, or undefined where one is none. */
function authorityKeyIds(
  crypto: CryptoProvider,
  roots: readonly Uint8Array[],
): string[] | undefined {
  const keyIds = roots.map((der) => {
    const root = readCertificate(der);
    if (root === undefined || !root.isAuthority || root.issuer !== root.subject) return undefined;
    const { publicKey, signature, signedBytes: message } = root;
    const key = crypto.importVerifyKey(publicKey);
    const holds = crypto.verify(key, { message, signature, context: noContext });
    return holds ? toHex(crypto.sha3_256(publicKey)) : undefined;
  });
  const known = keyIds.filter((keyId) => keyId !== undefined);
  return known.length === roots.length && known.length > 0 ? known : undefined;
}

function bytesOf(text: string): Uint8Array {
  const bytes = fromBase64Url(text);
  if (bytes !== undefined) return bytes;
  throw new AdapterError('STORE_FAILED', `${file} is damaged`);
}
