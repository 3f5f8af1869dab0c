/**
 * The keys of columns. Each version comes of two halves: a data key that layer 4 keeps wrapped under its
 * KEK (object `column-key/<version>`), and this layer's own key of the slot `5/column-key`. Neither layer
 * can read a column alone. What comes of them is kept in memory, so that layer 4 may be down; it is
 * asked again every ten minutes, and where it says that its half is destroyed, the key is forgotten.
 *
 * The database keeps a commitment to each key, so that another half in its place is noticed before
 * anything is written under it.
 */

import { Base64Url, StrictObject, Type, Uint, compile } from '#schemas/primitives.ts';
import { equalConstantTime, fromBase64Url, lengthPrefixed, utf8 } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { Secret } from '#shared/crypto/secret.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import type { StoredVersion } from '../embedded/key-store.ts';
import { Refused } from '../service/http-app.ts';
import { ServiceError, type ServiceAnswer, type ServiceClient } from '../service/service-client.ts';
import { bytesOf, type Database } from './database.ts';

export const columnSlot = '5/column-key';

/** 503: its half at layer 4 is gone, which no retry brings back. */
export const columnKeyStatus = { COLUMN_KEY_LOST: 503, SLOT_FROZEN: 423 } as const;
export type ColumnKeyCode = keyof typeof columnKeyStatus;

const askAgainMs = 10 * 60_000;
const keeper = { role: 'gyre_keeper' } as const;
const answerCheck = compile(
  StrictObject({ objectId: Type.String(), key: Base64Url(64), kekVersion: Uint() }),
);

interface OpenKey {
  readonly secret: Secret;
  askedAtMs: number;
}

export interface ColumnKeysOptions {
  readonly keys: EmbeddedAdapter;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Log;
  readonly database: Database;
  /** Layer 4. */
  readonly encryption: () => ServiceClient;
}

export class ColumnKeys {
  readonly #options: ColumnKeysOptions;
  readonly #open = new Map<number, OpenKey>();
  readonly #loading = new Map<number, Promise<OpenKey>>();

  constructor(options: ColumnKeysOptions) {
    this.#options = options;
  }

  /** The version that new cells are sealed under. @throws Refused SLOT_FROZEN */
  primary(): number {
    const { store } = this.#options.keys;
    const primary = store.primary(columnSlot);
    if (primary !== undefined && !store.slot(columnSlot).frozen) return primary.version;
    throw new Refused<ColumnKeyCode>('SLOT_FROZEN', 'nothing is written now', { retryable: true });
  }

  /** Whether there is, or could be, such a key. */
  has(version: number): boolean {
    const stored = this.#options.keys.store.version(columnSlot, version);
    return stored !== undefined && stored.state !== 'destroyed';
  }

  /** The key itself, not a copy. Made where there never was one. @throws Refused, ServiceError, AdapterError */
  async open(version: number): Promise<Secret> {
    const known = this.#open.get(version);
    if (known === undefined) return (await this.#load(version)).secret;
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - known.askedAtMs > askAgainMs) {
      known.askedAtMs = nowMs;
      void this.#askAgain(version);
    }
    return known.secret;
  }

  /** Destroys layer 4's half. @throws AdapterError */
  async destroy(version: number): Promise<void> {
    const { database, encryption } = this.#options;
    const path = `/internal/v1/data-keys/${encodeURIComponent(objectIdOf(version))}`;
    const answer = await asStep(() => encryption().ask({ method: 'DELETE', path }));
    if (answer.status === 'refused') {
      const what = `layer 4 did not destroy its half: ${answer.code}`;
      throw new AdapterError('SYSTEM_UNREACHABLE', what, { retryable: true });
    }
    await database.transact(keeper, (on) =>
      on.rows('DELETE FROM gyre.column_keys WHERE version = $1', [version]),
    );
    this.forget(version);
  }

  forget(version: number): void {
    this.#open.get(version)?.secret.wipe();
    this.#open.delete(version);
  }

  close(): void {
    for (const { secret } of this.#open.values()) secret.wipe();
    this.#open.clear();
  }

  #load(version: number): Promise<OpenKey> {
    const loading = this.#loading.get(version) ?? this.#fetch(version);
    this.#loading.set(version, loading);
    const over = () => this.#loading.delete(version);
    loading.then(over, over);
    return loading;
  }

  async #fetch(version: number): Promise<OpenKey> {
    const { keys, clock, database } = this.#options;
    const stored = keys.store.version(columnSlot, version);
    if (stored === undefined || stored.state === 'destroyed') {
      throw new AdapterError('VERSION_UNKNOWN', `no version ${version} of ${columnSlot}`);
    }
    const kept = await this.#commitment(version);
    const half = await this.#half(stored, kept === undefined ? 'make' : 'open');
    const secret = this.#derive(stored, half);
    half.fill(0);
    const commitment = this.#commit(secret);
    if (kept === undefined) {
      await database.transact(keeper, (on) =>
        on.rows('INSERT INTO gyre.column_keys VALUES ($1, $2) ON CONFLICT DO NOTHING', [
          version,
          commitment,
        ]),
      );
    }
    const agreed = await this.#commitment(version);
    if (agreed === undefined || !equalConstantTime(agreed, commitment)) {
      secret.wipe();
      throw new AdapterError('STORE_FAILED', `version ${version} of ${columnSlot} is another key`);
    }
    const open = { secret, askedAtMs: clock.monotonicMs() };
    this.#open.set(version, open);
    return open;
  }

  /** Layer 4's half of a key that is in use: gone there, it goes here. */
  async #askAgain(version: number): Promise<void> {
    const { keys, log } = this.#options;
    const stored = keys.store.version(columnSlot, version);
    if (stored === undefined || stored.state === 'destroyed') return;
    try {
      (await this.#half(stored, 'open')).fill(0);
    } catch (error) {
      const isLost = error instanceof Refused && error.code === 'COLUMN_KEY_LOST';
      if (isLost) this.forget(version);
      const level = isLost ? 'error' : 'warn';
      log[level]({ version, isLost }, 'layer 4 did not confirm a column key');
    }
  }

  async #half({ version, keyId }: StoredVersion, what: 'make' | 'open'): Promise<Uint8Array> {
    const objectId = objectIdOf(version);
    const answer = await this.#options.encryption().ask({
      method: 'POST',
      path: what === 'make' ? '/internal/v1/data-keys' : '/internal/v1/data-keys/open',
      body: { objectId, context: `gyre/v1/${columnSlot}/${keyId}` },
    });
    if (answer.status === 'refused') throw refusedBy(answer);
    const half = answerCheck.check(answer.body) ? fromBase64Url(answer.body.key) : undefined;
    if (half?.length === 32) return half;
    throw new Refused('PEER_UNAVAILABLE', 'layer 4 gave no data key', { retryable: true });
  }

  #derive(stored: StoredVersion, half: Uint8Array): Secret {
    const { keys, crypto } = this.#options;
    return keys.store.withKey(stored, ({ secret, keyId }) => {
      const ikm = lengthPrefixed(half, secret);
      const info = lengthPrefixed(utf8(keyId), utf8(String(stored.version)));
      const salt = utf8('gyre/v1/column-key');
      const key = crypto.hkdfSha256({ ikm, salt, info, outputBytes: 32 });
      ikm.fill(0);
      return new Secret(key);
    });
  }

  #commit(secret: Secret): Uint8Array {
    return this.#options.crypto.hmacSha3_384(secret.reveal(), utf8('gyre/v1/column-commitment'));
  }

  async #commitment(version: number): Promise<Uint8Array | undefined> {
    const rows = await this.#options.database.transact(keeper, (on) =>
      on.rows('SELECT commitment FROM gyre.column_keys WHERE version = $1', [version]),
    );
    return rows[0] === undefined ? undefined : bytesOf(rows[0], 'commitment');
  }
}

/** Runs what a step of the agent needs of layer 4: its being down is a reason to try again. */
export async function asStep<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof ServiceError) {
      const what = `layer 4 did not answer: ${cause.code}`;
      throw new AdapterError('SYSTEM_UNREACHABLE', what, { cause, retryable: true });
    }
    if (!(cause instanceof Refused)) throw cause;
    const { code, retryable } = cause;
    throw new AdapterError('STORE_FAILED', `layer 4 refused: ${code}`, { cause, retryable });
  }
}

function objectIdOf(version: number): string {
  return `column-key/${version}`;
}

function refusedBy({ code, reason, retryable }: Extract<ServiceAnswer, { status: 'refused' }>) {
  const isLost = ['OBJECT_UNKNOWN', 'CONTEXT_MISMATCH', 'DATA_KEY_DAMAGED'].includes(code);
  return isLost
    ? new Refused<ColumnKeyCode>('COLUMN_KEY_LOST', `layer 4: ${reason}`)
    : new Refused<ColumnKeyCode>('PEER_UNAVAILABLE', `layer 4: ${code}`, { retryable });
}
