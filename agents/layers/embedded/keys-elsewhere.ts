/**
 * Keys that the embedded key system turns and does not hold: whoever holds them (a token) makes, tries
 * and destroys them, and the key store has their numbers and states alone. In place of a secret it
 * keeps a mark, sealed like a secret, so that nobody without the store key can pass one for the other.
 */

import { equalConstantTime, utf8 } from '#shared/crypto/bytes.ts';
import type { Artefact } from './key-kinds.ts';
import type { KeyStore, StoredVersion } from './key-store.ts';

/** How a key is called where it is held. */
export interface HeldKey {
  /** 1 to 64 lower-case letters, digits, dots and hyphens; no other key of any store is called so. */
  readonly name: string;
  /** 64 hexadecimal characters, given by the holder. */
  readonly keyId: string;
}

/** Every operation may be repeated. All of them fail with AdapterError. */
export interface KeysElsewhere {
  /** What kind of holder it is; part of the adapter's fingerprint. */
  readonly custody: string;
  /** The id of the key of that name; made, unless it is there. */
  make(name: string): Promise<string>;
  /** A real use, both ways: takes back what it made, and not what was changed afterwards. */
  probe(key: HeldKey): Promise<boolean>;
  makeArtefact(key: HeldKey): Promise<Artefact>;
  checkArtefact(key: HeldKey, artefact: Artefact): Promise<boolean>;
  /** Once this resolves there is no key of that name. */
  destroy(name: string): Promise<void>;
}

const mark = utf8('gyre/v1/held-elsewhere');

/** What the store keeps in place of the secret; the store wipes what it was given. */
export function markOfElsewhere(): Uint8Array {
  return Uint8Array.from(mark);
}

/** The name and id of a key that is held elsewhere; undefined for one whose secret is in the store. */
export function heldKeyOf(store: KeyStore, stored: StoredVersion): HeldKey | undefined {
  const isElsewhere = store.withKey(stored, ({ secret }) => equalConstantTime(secret, mark));
  if (!isElsewhere) return undefined;
  return { name: nameElsewhere(store, stored.slot, stored.version), keyId: stored.keyId };
}

/** Of the store too: several may have their keys in one place. */
export function nameElsewhere(store: KeyStore, slot: string, version: number): string {
  return `gyre-${store.id.slice(0, 16)}-${slot.replace('/', '.')}-${version}`;
}
