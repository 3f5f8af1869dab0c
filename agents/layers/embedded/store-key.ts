/**
 * The key under which the embedded key store keeps its secrets: 32 bytes in `keystore.key`, which only its
 * owner can read (0600), apart from the database, so that neither alone opens anything. Secrets are
 * sealed with ChaCha20-Poly1305 (RFC 8439) under a random nonce each, bound to slot, version and key
 * id: a sealed secret moved to another row does not open.
 */

import { concat, lengthPrefixed, toHex, utf8 } from '#shared/crypto/bytes.ts';
import { sizes, type CryptoProvider } from '#shared/crypto/provider.ts';
import { Secret, secretOfLength } from '#shared/crypto/secret.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import { AdapterError } from '../adapter.ts';

export interface SealedPlace {
  readonly slot: string;
  readonly version: number;
  readonly keyId: string;
}

const name = 'keystore.key';
const algorithm = 'ChaCha20-Poly1305';
const { key: keyBytes, nonce: nonceBytes, tag: tagBytes } = sizes.aead;

export class StoreKey {
  readonly #crypto: CryptoProvider;
  readonly #key: Secret;

  constructor(crypto: CryptoProvider, key: Secret) {
    this.#crypto = crypto;
    this.#key = key;
  }

  /** Names the key without giving it away: 64 hexadecimal characters. */
  id(): string {
    const mac = this.#crypto.hmacSha3_384(this.#key.reveal(), utf8('gyre/v1/store-key'));
    return toHex(this.#crypto.sha3_256(mac));
  }

  /** Nonce (12) ‖ ciphertext with tag. */
  seal(place: SealedPlace, secret: Uint8Array): Uint8Array {
    const nonce = this.#crypto.randomBytes(nonceBytes);
    const parameters = { algorithm, key: this.#key.reveal(), nonce, aad: aadOf(place) } as const;
    return concat(nonce, this.#crypto.aeadSeal({ ...parameters, plaintext: secret }));
  }

  /** The secret, to be wiped by the caller. @throws AdapterError STORE_FAILED if it was changed */
  open(place: SealedPlace, sealed: Uint8Array): Uint8Array {
    const secret = this.#opened(place, sealed);
    if (secret !== undefined) return secret;
    throw new AdapterError('STORE_FAILED', `the stored key of ${place.slot} does not open`);
  }

  #opened(place: SealedPlace, sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length <= nonceBytes + tagBytes) return undefined;
    return this.#crypto.aeadOpen({
      algorithm,
      key: this.#key.reveal(),
      nonce: sealed.subarray(0, nonceBytes),
      aad: aadOf(place),
      ciphertext: sealed.subarray(nonceBytes),
    });
  }

  /** 32 bytes for another purpose, to be wiped by the caller; they do not lead back to this key. */
  derive(purpose: string): Uint8Array {
    return this.#crypto.hkdfSha256({
      ikm: this.#key.reveal(),
      salt: utf8('gyre/v1/store-derived'),
      info: utf8(purpose),
      outputBytes: keyBytes,
    });
  }

  wipe(): void {
    this.#key.wipe();
  }
}

/**
 * Reads the store key; makes it if `mayCreate`. A file that others can read, or of another length
 * than 32 bytes, is refused. @throws AdapterError STORE_FAILED, DISK_FULL
 */
export function openStoreKey(
  crypto: CryptoProvider,
  disk: Disk,
  options: { readonly mayCreate: boolean },
): StoreKey {
  try {
    const bytes = readStoreKey(disk) ?? createStoreKey(crypto, disk, options);
    if (bytes.length !== keyBytes) {
      throw new AdapterError('STORE_FAILED', `the store key has ${bytes.length} bytes, not 32`);
    }
    return new StoreKey(crypto, secretOfLength(bytes, keyBytes));
  } catch (error) {
    if (error instanceof AdapterError) throw error;
    const full = error instanceof Error && 'code' in error && error.code === 'ENOSPC';
    const code = full ? 'DISK_FULL' : 'STORE_FAILED';
    throw new AdapterError(code, 'the store key cannot be used', { cause: error });
  }
}

/** Undefined where there is none. */
function readStoreKey(disk: Disk): Uint8Array | undefined {
  if (!disk.has(name)) return undefined;
  if (!disk.isPrivate(name)) {
    throw new AdapterError('STORE_FAILED', 'the store key is readable by others: chmod 600');
  }
  const content = disk.readFile(name);
  return content === undefined ? undefined : new Uint8Array(content);
}

/** The name appears only once the whole key is on the disk; a name taken meanwhile stays. */
function createStoreKey(
  crypto: CryptoProvider,
  disk: Disk,
  { mayCreate }: { readonly mayCreate: boolean },
): Uint8Array {
  if (!mayCreate) {
    throw new AdapterError('STORE_FAILED', 'the key store is there, but its store key is not');
  }
  const key = crypto.randomBytes(keyBytes);
  try {
    disk.createFile(name, key);
    return key;
  } catch (error) {
    key.fill(0);
    throw error;
  }
}

function aadOf(place: SealedPlace): Uint8Array {
  const { slot, version, keyId } = place;
  return lengthPrefixed(utf8('gyre/v1/store'), utf8(slot), utf8(String(version)), utf8(keyId));
}
