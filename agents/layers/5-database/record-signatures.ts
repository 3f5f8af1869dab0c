/** Signatures of entries (ML-DSA-87, FIPS 204), by the keys of the slot `5/record-signature`. */

import type { VerifyKey } from '#shared/crypto/key-handle.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { signWith, slotContext } from '../embedded/key-kinds.ts';
import { Refused } from '../service/http-app.ts';
import type { ColumnKeyCode } from './column-keys.ts';
import { isWhole, type Entry } from './record-entry.ts';

export const signatureSlot = '5/record-signature';

export class RecordSignatures {
  readonly #keys: EmbeddedAdapter;
  readonly #crypto: CryptoProvider;
  readonly #clock: Clock;
  readonly #imported = new Map<string, VerifyKey>();

  constructor(keys: EmbeddedAdapter, crypto: CryptoProvider, clock: Clock) {
    this.#keys = keys;
    this.#crypto = crypto;
    this.#clock = clock;
  }

  /** The version that signs. @throws Refused SLOT_FROZEN */
  primary(): number {
    const primary = this.#keys.store.primary(signatureSlot);
    if (primary !== undefined && !this.#keys.store.slot(signatureSlot).frozen) {
      return primary.version;
    }
    throw new Refused<ColumnKeyCode>('SLOT_FROZEN', 'nothing is signed now', { retryable: true });
  }

  /** 4,627 bytes over the hash of an entry, by a version that is there. @throws AdapterError */
  sign(version: number, hash: Uint8Array): Uint8Array {
    const stored = this.#keys.store.version(signatureSlot, version);
    const beganMs = this.#clock.monotonicMs();
    if (stored === undefined) throw new Refused<ColumnKeyCode>('SLOT_FROZEN', 'the key is gone');
    const signature = this.#keys.store.withKey(stored, (key) =>
      signWith(this.#crypto, key, { message: hash, context: slotContext(signatureSlot) }),
    );
    this.#record(version, 'sign', beganMs, false);
    return signature;
  }

  /** Whether hash and signature are those of the entry's content. */
  async isGenuine(entry: Entry): Promise<boolean> {
    const stored = this.#keys.store.version(signatureSlot, entry.signatureVersion);
    if (stored?.publicKey === undefined || stored.state === 'destroyed') return false;
    if (!isWhole(this.#crypto, entry)) return false;
    const beganMs = this.#clock.monotonicMs();
    const isValid = await this.#crypto.verifyAsync(this.#import(stored.keyId, stored.publicKey), {
      message: entry.hash,
      context: slotContext(signatureSlot),
      signature: entry.signature,
    });
    // What somebody changed says nothing about the key.
    if (isValid) this.#record(stored.version, 'verify', beganMs, false);
    return isValid;
  }

  #import(keyId: string, raw: Uint8Array): VerifyKey {
    const known = this.#imported.get(keyId) ?? this.#crypto.importVerifyKey(raw);
    this.#imported.set(keyId, known);
    return known;
  }

  #record(version: number, operation: string, beganMs: number, failed: boolean): void {
    const durationMs = this.#clock.monotonicMs() - beganMs;
    this.#keys.usage.record({ slot: signatureSlot, version, operation, durationMs, failed });
  }
}
