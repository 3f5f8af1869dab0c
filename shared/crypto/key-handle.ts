/**
 * Opaque handles for keys. A handle shows the public half and its id; the material behind it lives
 * in the vault of the provider that made it, and only that provider can take it out. So a native
 * key stays a parsed key of OpenSSL, a noble key its expanded bytes, and neither is ever printed.
 */
import { invariant } from './errors.ts';

/** A public key in its raw form. */
export interface PublicKeyHandle<Algorithm extends string> {
  readonly algorithm: Algorithm;
  /** Raw public key. Not to be changed. */
  readonly raw: Uint8Array;
  /** SHA3-256 of `raw`: 32 bytes. */
  readonly keyId: Uint8Array;
  /** `keyId` in lowercase hexadecimal. */
  readonly keyIdHex: string;
}

/** A private key. Prints as `[secret]`. */
export interface PrivateKeyHandle<Algorithm extends string> {
  readonly algorithm: Algorithm;
  readonly publicKey: PublicKeyHandle<Algorithm>;
  /** Forgets the material and overwrites what is bytes; every later use fails. */
  wipe(): void;
  toJSON(): string;
  toString(): string;
}

/** Signs; ML-DSA-87 (FIPS 204), from a seed of 32 bytes. */
export type SigningKey = PrivateKeyHandle<'ML-DSA-87'>;
/** Verifies; raw ML-DSA-87 public key of 2,592 bytes. */
export type VerifyKey = PublicKeyHandle<'ML-DSA-87'>;
/** Signs; SLH-DSA-SHAKE-256s (FIPS 205), from a secret key of 128 bytes. */
export type SlhDsaSigningKey = PrivateKeyHandle<'SLH-DSA-SHAKE-256s'>;
/** Decapsulates; ML-KEM (FIPS 203) of the parameter set that it names, from a seed of 64 bytes. */
export type KemSecretKey = PrivateKeyHandle<'ML-KEM-1024' | 'ML-KEM-768'>;
/** Encapsulates; raw ML-KEM public key: ML-KEM-1024 1,568 bytes, ML-KEM-768 1,184. */
export type KemPublicKey = PublicKeyHandle<'ML-KEM-1024' | 'ML-KEM-768'>;
/** Agrees; X25519 (RFC 7748), 32 bytes. */
export type X25519SecretKey = PrivateKeyHandle<'X25519'>;
/** Raw X25519 public key of 32 bytes. */
export type X25519PublicKey = PublicKeyHandle<'X25519'>;

/** The materials behind the handles of one provider for one kind of key. */
export class KeyVault<Material extends object> {
  readonly #materials = new WeakMap<object, Material>();

  /** Registers the material of a public key. */
  putPublic<Algorithm extends string>(
    handle: PublicKeyHandle<Algorithm>,
    material: Material,
  ): PublicKeyHandle<Algorithm> {
    this.#materials.set(handle, material);
    return handle;
  }

  /** Makes the handle of a private key. */
  putPrivate<Algorithm extends string>(
    publicKey: PublicKeyHandle<Algorithm>,
    material: Material,
  ): PrivateKeyHandle<Algorithm> {
    const materials = this.#materials;
    const printed = (): string => '[secret]';
    const handle = {
      algorithm: publicKey.algorithm,
      publicKey,
      wipe: (): void => {
        if (material instanceof Uint8Array) material.fill(0);
        materials.delete(handle);
      },
      toJSON: printed,
      toString: printed,
      [Symbol.for('nodejs.util.inspect.custom')]: printed,
    };
    materials.set(handle, material);
    return handle;
  }

  /** The material of a handle of this vault; anything else is a mistake of the caller. */
  take(handle: object): Material {
    const material = this.#materials.get(handle);
    invariant(material !== undefined, 'a key of this provider that is not wiped');
    return material;
  }
}
