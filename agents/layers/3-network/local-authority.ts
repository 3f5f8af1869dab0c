/**
 * An authority of the service's own, for as long as there is no other: at the first start, and where a
 * service runs without a mesh. Its key lies under the key store's store key, and is dropped as soon as an
 * agent hands over a certificate of somebody else's: from then on nobody can make it speak again.
 */

import { Type, type Static } from 'typebox';
import { Base64Url, compile, DigestHex, StrictObject } from '#schemas/primitives.ts';
import { fromBase64Url, toBase64Url, toHex } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { Secret } from '#shared/crypto/secret.ts';
import { makeCertificate, openCertificateRequest } from '#shared/crypto/x509.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import { openStoreKey, StoreKey } from '../embedded/store-key.ts';
import type {
  CertificateAuthority,
  CertificateOrder,
  IssuedCertificate,
} from '../service/certificate-authority.ts';
import { keepDocument, keptDocument } from '../service/kept-document.ts';

export interface LocalAuthorityPorts {
  readonly disk: Disk;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
}

const file = 'local-authority.json';
const place = { slot: '3/local-authority', version: 1 };
const subject = 'CN=gyre network service, its own authority';
const dayMs = 24 * 3_600_000;
/** Far longer than anybody should do without an authority. */
const rootValidMs = 365 * dayMs;
const leafValidMsMax = 30 * dayMs;
const skewMs = 60_000;
const seedBytes = 32;
const serialBytes = 16;
const noContext = new Uint8Array(0);

const Kept = StrictObject({
  keyId: DigestHex(),
  /** Absent once the key was dropped. */
  sealed: Type.Optional(Base64Url(200)),
  root: Base64Url(15_000),
});
type Kept = Static<typeof Kept>;
const keptCheck = compile(Kept);

export class LocalAuthority implements CertificateAuthority {
  readonly #ports: LocalAuthorityPorts;
  readonly #storeKey: StoreKey;
  #kept: Kept;

  private constructor(ports: LocalAuthorityPorts, storeKey: StoreKey, kept: Kept) {
    this.#ports = ports;
    this.#storeKey = storeKey;
    this.#kept = kept;
  }

  /** Makes it where there was none. The key store is there already. @throws AdapterError */
  static async open(ports: LocalAuthorityPorts): Promise<LocalAuthority> {
    const { disk, crypto } = ports;
    const parent = openStoreKey(crypto, disk, { mayCreate: false });
    const storeKey = new StoreKey(crypto, new Secret(parent.derive('local-authority')));
    parent.wipe();
    const kept = keptDocument(disk, file, keptCheck) ?? (await begin(ports, storeKey));
    return new LocalAuthority(ports, storeKey, kept);
  }

  async issue({ request, validMs }: CertificateOrder): Promise<IssuedCertificate> {
    const { crypto, clock } = this.#ports;
    const opened = openCertificateRequest(crypto, request);
    if (opened.status !== 'ok') throw refused(`the request is refused: ${opened.code}`);
    const root = bytesOf(this.#kept.root);
    const seed = this.#seed();
    try {
      const key = crypto.importSigningSeed(seed);
      const nowMs = clock.nowMs();
      const order = {
        serial: serialOf(crypto),
        subject: 'CN=gyre network',
        issuer: subject,
        publicKey: opened.publicKey,
        issuerKey: key.publicKey.raw,
        notBeforeMs: nowMs - skewMs,
        notAfterMs: nowMs + Math.min(validMs, leafValidMsMax),
        names: opened.names,
      };
      const certificate = await makeCertificate(crypto, order, async (message) =>
        crypto.sign(key, { message, context: noContext }),
      );
      key.wipe();
      return { chain: [certificate], roots: [root] };
    } finally {
      seed.fill(0);
    }
  }

  /** Its key is gone for good; its certificate stays, for what it says of the past. @throws AdapterError */
  retire(): void {
    if (this.#kept.sealed === undefined) return;
    const { keyId, root } = this.#kept;
    const kept = { keyId, root };
    // The disk first: a key that is gone here and not there could speak again after a restart.
    keepDocument(this.#ports.disk, file, kept);
    this.#kept = kept;
  }

  close(): void {
    this.#storeKey.wipe();
  }

  #seed(): Uint8Array {
    const { keyId, sealed } = this.#kept;
    if (sealed === undefined) throw refused('another authority took the place of this one');
    return this.#storeKey.open({ ...place, keyId }, bytesOf(sealed));
  }
}

async function begin(
  { crypto, clock, disk }: LocalAuthorityPorts,
  storeKey: StoreKey,
): Promise<Kept> {
  const seed = crypto.randomBytes(seedBytes);
  try {
    const key = crypto.importSigningSeed(seed);
    const nowMs = clock.nowMs();
    const order = {
      serial: serialOf(crypto),
      subject,
      issuer: subject,
      publicKey: key.publicKey.raw,
      issuerKey: key.publicKey.raw,
      notBeforeMs: nowMs - skewMs,
      notAfterMs: nowMs + rootValidMs,
    };
    const root = await makeCertificate(crypto, order, async (message) =>
      crypto.sign(key, { message, context: noContext }),
    );
    key.wipe();
    const keyId = toHex(crypto.sha3_256(key.publicKey.raw));
    const sealed = toBase64Url(storeKey.seal({ ...place, keyId }, seed));
    const kept = { keyId, sealed, root: toBase64Url(root) };
    keepDocument(disk, file, kept);
    return kept;
  } finally {
    seed.fill(0);
  }
}

function bytesOf(text: string): Uint8Array {
  const bytes = fromBase64Url(text);
  if (bytes !== undefined) return bytes;
  throw new AdapterError('STORE_FAILED', `${file} is damaged`);
}

/** A positive number of 16 bytes, without leading zeros (RFC 5280 section 4.1.2.2). */
function serialOf(crypto: CryptoProvider): string {
  const bytes = crypto.randomBytes(serialBytes);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return toHex(bytes);
}

function refused(reason: string): AdapterError {
  return new AdapterError('STATE_CONFLICT', reason);
}
