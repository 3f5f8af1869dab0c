/**
 * The key under which the embedded key store keeps its secrets: 32 bytes in a file that only its
 * owner can read (0600), apart from the database, so that neither alone opens anything. Secrets are
 * sealed with ChaCha20-Poly1305 (RFC 8439) under a random nonce each, bound to slot, version and key
 * id: a sealed secret moved to another row does not open.
 */

import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { concat, lengthPrefixed, toHex, utf8 } from '#shared/crypto/bytes.ts';
import { sizes, type CryptoProvider } from '#shared/crypto/provider.ts';
import { Secret, secretOfLength } from '#shared/crypto/secret.ts';
import { AdapterError } from '../adapter.ts';

export interface SealedPlace {
  readonly slot: string;
  readonly version: number;
  readonly keyId: string;
}

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
  path: string,
  options: { readonly mayCreate: boolean },
): StoreKey {
  try {
    if (!existsSync(path)) {
      if (!options.mayCreate) {
        throw new AdapterError('STORE_FAILED', 'the key store is there, but its store key is not');
      }
      createStoreKey(crypto, path);
    }
    if ((statSync(path).mode & 0o077) !== 0) {
      throw new AdapterError('STORE_FAILED', 'the store key is readable by others: chmod 600');
    }
    const bytes = new Uint8Array(readFileSync(path));
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

/** The name appears only once the whole key is on the disk; a name taken meanwhile stays. */
function createStoreKey(crypto: CryptoProvider, path: string): void {
  const draft = `${path}.${toHex(crypto.randomBytes(8))}.draft`;
  const key = crypto.randomBytes(keyBytes);
  try {
    const file = openSync(draft, 'wx', 0o600);
    try {
      writeSync(file, key);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    linkSync(draft, path);
  } finally {
    key.fill(0);
    rmSync(draft, { force: true });
  }
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function aadOf(place: SealedPlace): Uint8Array {
  const { slot, version, keyId } = place;
  return lengthPrefixed(utf8('gyre/v1/store'), utf8(slot), utf8(String(version)), utf8(keyId));
}
