/**
 * The signer as a certificate authority for the mesh's TLS server: its key is one more key of the token,
 * with which nothing else is signed, and X.509 signs without a context string, so that no certificate
 * ever passes for a statement nor a statement for a certificate. What it issues is written from its own
 * order; of a request it takes the public key and the names alone.
 */

import type { DatabaseSync } from 'node:sqlite';
import type { IssueCertificate } from '#schemas/queries.ts';
import { certificateRefusal, type CertificateRefusal } from '#shared/core/certificate-evidence.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Enrolled, TrustView } from '#shared/crypto/trust.ts';
import {
  makeCertificate,
  openCertificateRequest,
  readCertificate,
  spelled,
  type RequestOpening,
} from '#shared/crypto/x509.ts';
import { translated } from '#shared/runtime/outbox-store.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { TokenError, type Token } from '#shared/runtime/token/token.ts';

/** Beside the roles' keys. */
export const authorityKeyName = 'certificate-authority';

export interface CertificateOfficePorts {
  readonly token: Token;
  readonly database: DatabaseSync;
  readonly trust: TrustView;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly isLockedOut: (agentId: string) => boolean;
  /** Names and addresses of servers that may be certified. */
  readonly names: readonly string[];
}

/** What is recorded of a certificate (`schemas/events.ts`). */
export interface CertificateNote {
  readonly serial: string;
  readonly keyId: string;
  readonly names: string[];
  readonly notAfterMs: number;
}

export interface Certified {
  readonly certificate: Uint8Array;
  readonly note: CertificateNote;
}

type Opened = Extract<RequestOpening, { status: 'ok' }>;
export type CertificateVerdict =
  | { readonly status: 'granted'; readonly opened: Opened }
  | ({ readonly status: 'refused' } & CertificateRefusal);

const rootValidMs = 3_650 * 24 * 3_600_000;
const serialBytes = 16;
const noContext = new Uint8Array(0);
/** Certificates of one agent in an hour: far above what rotations and renewals need. */
const issuedMax = 600;
const issuedSpanMs = 3_600_000;

export class CertificateOffice {
  readonly #ports: CertificateOfficePorts;
  readonly #namesAllowed: ReadonlySet<string>;
  readonly #publicKey: Uint8Array;
  /** When each agent was certified lately. */
  readonly #issued = new Map<string, number[]>();

  private constructor(ports: CertificateOfficePorts, publicKey: Uint8Array) {
    this.#ports = ports;
    this.#publicKey = publicKey;
    this.#namesAllowed = new Set(ports.names.map(spelled));
    ports.database.exec(
      `CREATE TABLE IF NOT EXISTS certificate_authority (
         only_one INTEGER PRIMARY KEY CHECK (only_one = 1), certificate BLOB NOT NULL
       ) STRICT`,
    );
  }

  /** At the first start the token makes the authority's key. @throws TokenError */
  static async open(ports: CertificateOfficePorts): Promise<CertificateOffice> {
    const office = new CertificateOffice(ports, await keyOf(ports.token));
    const root = office.root();
    const known = root === undefined ? undefined : readCertificate(root);
    const isOurs = root === undefined || isSame(known?.publicKey, office.#publicKey);
    if (isOurs) return office;
    throw new TokenError('KEY_UNKNOWN', "the authority's certificate is of another token's key");
  }

  /** The authority's own certificate; undefined until the first time that one is needed. */
  root(): Uint8Array | undefined {
    const row = this.#ports.database.prepare('SELECT certificate FROM certificate_authority').get();
    const certificate = row?.['certificate'];
    return certificate instanceof Uint8Array ? certificate : undefined;
  }

  /** Makes the authority's own certificate, to be recorded and then kept. @throws TokenError */
  async newRoot(): Promise<Certified> {
    const { trust } = this.#ports;
    const name = `CN=gyre ${trust.mesh} certificate authority`;
    return this.#make({ subject: name, issuer: name, publicKey: this.#publicKey }, rootValidMs);
  }

  /** @throws OutboxError */
  keepRoot(certificate: Uint8Array): void {
    const { database } = this.#ports;
    const statement = 'INSERT OR IGNORE INTO certificate_authority VALUES (1, ?)';
    translated(() => database.prepare(statement).run(certificate));
  }

  judge({ request, validMs }: IssueCertificate, asker: Enrolled): CertificateVerdict {
    const { trust, crypto, clock, isLockedOut } = this.#ports;
    const opening = openCertificateRequest(crypto, request);
    const nowMs = clock.nowMs();
    const refusal =
      certificateRefusal({
        asker,
        isLockedOut: isLockedOut(asker.agentId),
        stale: trust.staleness(nowMs),
        opening,
        namesAllowed: this.#namesAllowed,
        validMs,
        policy: trust.policy,
        registry: trust.registry,
        nowMs,
      }) ?? this.#tooOften(asker.agentId);
    if (refusal !== undefined) return { status: 'refused', ...refusal };
    if (opening.status === 'ok') return { status: 'granted', opened: opening };
    throw new Error('assertion: what cannot be opened is refused');
  }

  /** The certificate that was granted. @throws TokenError */
  async certify({ publicKey, names }: Opened, validMs: number): Promise<Certified> {
    const root = this.root();
    const authority = root === undefined ? undefined : readCertificate(root);
    if (authority === undefined) throw new Error('assertion: the authority has its certificate');
    const subject = `CN=gyre ${this.#ports.trust.mesh} network`;
    return this.#make({ subject, issuer: authority.subject, publicKey, names }, validMs);
  }

  async #make(
    order: {
      readonly subject: string;
      readonly issuer: string;
      readonly publicKey: Uint8Array;
      readonly names?: readonly string[];
    },
    validMs: number,
  ): Promise<Certified> {
    const { crypto, clock, token, trust } = this.#ports;
    const nowMs = clock.nowMs();
    const whole = {
      ...order,
      serial: serialOf(crypto),
      issuerKey: this.#publicKey,
      // For clocks that are behind ours.
      notBeforeMs: nowMs - trust.policy.policies.rotation.clock_skew_ms,
      notAfterMs: nowMs + validMs,
    };
    const certificate = await makeCertificate(crypto, whole, (signed) =>
      token.sign(authorityKeyName, signed, noContext),
    );
    const made = readCertificate(certificate);
    const key = crypto.importVerifyKey(this.#publicKey);
    // A token that fails must not make the authority's word worthless: nothing leaves unverified.
    const holds =
      made !== undefined &&
      crypto.verify(key, {
        message: made.signedBytes,
        context: noContext,
        signature: made.signature,
      });
    if (!holds) {
      throw new TokenError('TOKEN_CANARY_FAILED', 'the token made a signature that does not hold');
    }
    const keyId = toHex(crypto.sha3_256(order.publicKey));
    const { serial, notAfterMs } = whole;
    return { certificate, note: { serial, keyId, names: [...(order.names ?? [])], notAfterMs } };
  }

  #tooOften(agentId: string): CertificateRefusal | undefined {
    const nowMs = this.#ports.clock.monotonicMs();
    const lately = (this.#issued.get(agentId) ?? []).filter((atMs) => atMs > nowMs - issuedSpanMs);
    if (lately.length >= issuedMax) {
      return { code: 'ORCH-8015', reason: 'too many certificates in an hour' };
    }
    this.#issued.set(agentId, [...lately, nowMs]);
    return undefined;
  }
}

async function keyOf(token: Token): Promise<Uint8Array> {
  try {
    return await token.publicKey(authorityKeyName);
  } catch (error) {
    if (!(error instanceof TokenError) || error.code !== 'KEY_UNKNOWN') throw error;
  }
  return (await token.generateKey(authorityKeyName)).publicKey;
}

/** A positive number without leading zeros (RFC 5280 section 4.1.2.2), 16 bytes. */
function serialOf(crypto: CryptoProvider): string {
  const bytes = crypto.randomBytes(serialBytes);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return toHex(bytes);
}

function isSame(left: Uint8Array | undefined, right: Uint8Array): boolean {
  return left !== undefined && toHex(left) === toHex(right);
}
