/**
 * Certificates of other layers' keys, in identity.db: what was issued, under which identity key, and
 * what the holder still uses. An identity key has as many users as there are certificates under it that
 * are neither expired nor superseded; a certificate is superseded once its holder no longer names it.
 * There are so many of a slot at the most: who has the holder's socket leaves nothing that outlasts him.
 */

import type { DatabaseSync } from 'node:sqlite';
import { keyCertificateCheck, type KeyCertificate } from '#schemas/identity.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { Refused } from '../service/http-app.ts';
import { signCertificate } from '../service/key-certificate.ts';
import { storedJson } from '../service/stored-json.ts';
import type { SigningCode } from '../service/token-signer.ts';
import { transact, translated } from '../sqlite.ts';

export const identitySlot = '1/identity-signature';
export const certificateLifetimeMs = 7 * 24 * 3_600_000;

/** As many as the holder of a slot can name as in use. */
export const certificatesOfSlotMax = 64;

const schema = `CREATE TABLE IF NOT EXISTS certificates (
  serial TEXT PRIMARY KEY,
  slot TEXT NOT NULL,
  subject_key_id TEXT NOT NULL,
  issuer_version INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL,
  certificate TEXT NOT NULL
) STRICT;`;

interface Superseded {
  readonly keyId: string;
  readonly issuerVersion: number;
}

export interface RegisterPorts {
  readonly database: DatabaseSync;
  readonly keys: EmbeddedAdapter;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
}

export class CertificateRegister {
  readonly #ports: RegisterPorts;

  private constructor(ports: RegisterPorts) {
    this.#ports = ports;
  }

  /** @throws AdapterError */
  static open(ports: RegisterPorts): CertificateRegister {
    transact(ports.database, 'the certificates cannot be used', () => ports.database.exec(schema));
    return new CertificateRegister(ports);
  }

  /**
   * A certificate by the primary identity key: the one that there is while more than half of its time
   * is left, or a new one. @throws Refused SIGNING_FROZEN; AdapterError
   */
  issue(slot: string, keyId: string): KeyCertificate {
    const { keys, clock, database } = this.#ports;
    const nowMs = clock.nowMs();
    const issuer = keys.store.primary(identitySlot);
    if (issuer === undefined || keys.store.slot(identitySlot).frozen) {
      throw new Refused<SigningCode>('SIGNING_FROZEN', 'nothing is certified at the moment', {
        retryable: true,
      });
    }
    return transact(database, 'the certificate was not kept', () => {
      database.prepare('DELETE FROM certificates WHERE expires_at_ms <= ?').run(nowMs);
      const found = database
        .prepare(
          `SELECT certificate FROM certificates
            WHERE slot = ? AND subject_key_id = ? AND issuer_version = ?
              AND expires_at_ms > ? AND expires_at_ms <= ?`,
        )
        .get(
          slot,
          keyId,
          issuer.version,
          nowMs + certificateLifetimeMs / 2,
          nowMs + certificateLifetimeMs,
        );
      const before = storedJson(String(found?.['certificate']));
      if (keyCertificateCheck.check(before)) return before;
      this.#makeRoom(slot, { keyId, issuerVersion: issuer.version });
      const certificate = this.#signed(issuer.version, { slot, keyId, nowMs });
      database
        .prepare('INSERT INTO certificates VALUES (?, ?, ?, ?, ?, ?)')
        .run(
          certificate.body.serial,
          slot,
          keyId,
          issuer.version,
          certificate.body.expires_at_ms,
          JSON.stringify(certificate),
        );
      return certificate;
    });
  }

  /** The holder of a slot uses these and no others. @throws AdapterError */
  keepOnly(slot: string, serials: readonly string[]): void {
    const { database } = this.#ports;
    const kept = new Set(serials);
    transact(database, 'the certificates were not superseded', () => {
      const rows = database.prepare('SELECT serial FROM certificates WHERE slot = ?').all(slot);
      for (const { serial } of rows) {
        if (kept.has(String(serial))) continue;
        database.prepare('DELETE FROM certificates WHERE serial = ?').run(serial ?? null);
      }
    });
  }

  /** Certificates that need a version of the identity key. @throws AdapterError */
  users(version: number): number {
    const { database, clock } = this.#ports;
    const sql = `SELECT count(*) AS count FROM certificates
      WHERE issuer_version = ? AND expires_at_ms > ?`;
    const row = translated('the certificates cannot be read', () =>
      database.prepare(sql).get(version, clock.nowMs()),
    );
    return Number(row?.['count'] ?? 0);
  }

  /**
   * Another certificate of a key by the same issuer supersedes the one before. Beyond the bound the
   * oldest of the slot go, so that nobody who asks for many keeps the next one from being given.
   */
  #makeRoom(slot: string, { keyId, issuerVersion }: Superseded): void {
    const { database } = this.#ports;
    database
      .prepare(
        'DELETE FROM certificates WHERE slot = ? AND subject_key_id = ? AND issuer_version = ?',
      )
      .run(slot, keyId, issuerVersion);
    database
      .prepare(
        `DELETE FROM certificates WHERE serial IN (SELECT serial FROM certificates WHERE slot = ?
          ORDER BY rowid DESC LIMIT -1 OFFSET ${certificatesOfSlotMax - 1})`,
      )
      .run(slot);
  }

  #signed(
    version: number,
    { slot, keyId, nowMs }: { slot: string; keyId: string; nowMs: number },
  ): KeyCertificate {
    const { keys, crypto, clock } = this.#ports;
    const issuer = keys.store.version(identitySlot, version);
    if (issuer === undefined) throw new AdapterError('VERSION_UNKNOWN', 'no such identity key');
    const body = {
      kind: 'key_certificate' as const,
      serial: toHex(crypto.randomBytes(16)),
      subject_slot: slot,
      subject_key_id: keyId,
      issuer_key_id: issuer.keyId,
      issued_at_ms: nowMs,
      expires_at_ms: nowMs + certificateLifetimeMs,
    };
    const beganMs = clock.monotonicMs();
    const certificate = keys.store.withKey(issuer, (key) => signCertificate(crypto, key, body));
    const durationMs = clock.monotonicMs() - beganMs;
    keys.usage.record({
      slot: identitySlot,
      version,
      operation: 'sign',
      durationMs,
      failed: false,
    });
    return certificate;
  }
}
