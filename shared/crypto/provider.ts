/**
 * The algorithms behind one interface. Two providers carry it: `native` (OpenSSL 3.5 through
 * node:crypto) and `noble` (portable JavaScript); each is tested against the other. Every size is
 * fixed by the algorithm; a wrong size of our own making is an assertion, a wrong key from outside
 * is `CryptoError` `KEY_INVALID`, and what does not verify or open is `false` or `undefined`.
 */
import type { EntropyPort } from './entropy.ts';
import type {
  KemPublicKey,
  KemSecretKey,
  SigningKey,
  SlhDsaSigningKey,
  VerifyKey,
  X25519PublicKey,
  X25519SecretKey,
} from './key-handle.ts';

export const sizes = {
  /** FIPS 204 section 4, ML-DSA-87. */
  mlDsa87: { seed: 32, publicKey: 2592, signature: 4627, contextMax: 255 },
  /** FIPS 205 section 11; the seed is SK.seed ‖ SK.prf ‖ PK.seed, the secret adds PK.root. */
  slhDsaShake256s: { seed: 96, secretKey: 128, publicKey: 64, signature: 29_792, extraEntropy: 32 },
  /** FIPS 203 section 8, ML-KEM-1024; the seed is d ‖ z. */
  mlKem1024: { seed: 64, publicKey: 1568, ciphertext: 1568, sharedSecret: 32 },
  /** FIPS 203 section 8, ML-KEM-768. */
  mlKem768: { seed: 64, publicKey: 1184, ciphertext: 1088, sharedSecret: 32 },
  /** RFC 7748 section 5. */
  x25519: { secretKey: 32, publicKey: 32, sharedSecret: 32 },
  /** RFC 8439 section 2.8 and NIST SP 800-38D. */
  aead: { key: 32, nonce: 12, tag: 16 },
  /** RFC 5869 section 2.3: at most 255 blocks; `info` is held to what both providers take. */
  hkdfSha256: { infoMax: 1024, outputMax: 255 * 32 },
} as const;

/** Parameter sets of FIPS 203: the one that gyre uses, and its fallback of category 3. */
export type KemAlgorithm = 'ML-KEM-1024' | 'ML-KEM-768';

/** Bytes of each parameter set. */
export const kemSizes: Readonly<
  Record<
    KemAlgorithm,
    { readonly seed: number; readonly publicKey: number; readonly ciphertext: number }
  >
> = { 'ML-KEM-1024': sizes.mlKem1024, 'ML-KEM-768': sizes.mlKem768 };

export type AeadAlgorithm = 'ChaCha20-Poly1305' | 'AES-256-GCM';

export interface SignInput {
  readonly message: Uint8Array;
  /** Context of FIPS 204 section 5.2 and FIPS 205 section 10.2, 0 to 255 bytes. */
  readonly context: Uint8Array;
}

export interface VerifyInput extends SignInput {
  /** Any length: other than the algorithm's (4,627 or 29,792 bytes) never verifies. */
  readonly signature: Uint8Array;
}

export interface AeadParameters {
  readonly algorithm: AeadAlgorithm;
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** 12 bytes, never used twice with one key. */
  readonly nonce: Uint8Array;
  /** Additional data: authenticated, not encrypted. */
  readonly aad: Uint8Array;
}

export interface AeadSealInput extends AeadParameters {
  readonly plaintext: Uint8Array;
}

export interface AeadOpenInput extends AeadParameters {
  /** Ciphertext with the 16-byte tag behind it. */
  readonly ciphertext: Uint8Array;
}

export interface HkdfInput {
  readonly ikm: Uint8Array;
  readonly salt: Uint8Array;
  /** At most 1,024 bytes. */
  readonly info: Uint8Array;
  /** Length of the output, 1 to 8,160 bytes. */
  readonly outputBytes: number;
}

export interface Encapsulated {
  /** 1,568 bytes; 1,088 of ML-KEM-768, 1,600 of X25519MLKEM1024. */
  readonly ciphertext: Uint8Array;
  /** 32 bytes, to be wiped by the caller. */
  readonly sharedSecret: Uint8Array;
}

/** SLH-DSA-SHAKE-256s (FIPS 205): slow and conservative, for what must hold for decades. */
export interface SlhDsaFunctions {
  /**
   * A fresh key pair: the secret 128 bytes (to be wiped by the caller), ending in the public key of
   * 64. Takes 0.2 seconds natively and 2 in JavaScript, on the caller's thread.
   */
  generateSlhDsaKey(): { readonly secretKey: Uint8Array; readonly publicKey: Uint8Array };
  /** A key from its raw 128 bytes, which are not kept by reference. @throws KEY_INVALID */
  importSlhDsaSecret(raw: Uint8Array): SlhDsaSigningKey;
  /**
   * Hedged signature with context, 29,792 bytes (FIPS 205 algorithm 22). Never on the event loop:
   * native works in the thread pool (about 1.5 seconds), noble in a thread of its own (about 17).
   */
  signSlhDsaAsync(key: SlhDsaSigningKey, input: SignInput): Promise<Uint8Array>;
  /** FIPS 205 algorithm 24; `publicKey` is raw, 64 bytes (`KEY_INVALID` for another length). */
  verifySlhDsa(publicKey: Uint8Array, input: VerifyInput): boolean;
  /** As `verifySlhDsa`; native works in the thread pool. */
  verifySlhDsaAsync(publicKey: Uint8Array, input: VerifyInput): Promise<boolean>;
}

/** ML-DSA-87 (FIPS 204). */
export interface SignatureFunctions {
  /** ML-DSA-87 key from its 32-byte seed (FIPS 204 algorithm 6); the seed is not kept. */
  importSigningSeed(seed: Uint8Array): SigningKey;
  /** ML-DSA-87 public key, 2,592 bytes; throws `KEY_INVALID` for any other length. */
  importVerifyKey(raw: Uint8Array): VerifyKey;
  /** Hedged ML-DSA-87 signature with context, 4,627 bytes (FIPS 204 algorithm 2). */
  sign(key: SigningKey, input: SignInput): Uint8Array;
  /** FIPS 204 algorithm 3. */
  verify(key: VerifyKey, input: VerifyInput): boolean;
  /** As `sign`; native works in the thread pool. */
  signAsync(key: SigningKey, input: SignInput): Promise<Uint8Array>;
  /** As `verify`; native works in the thread pool. */
  verifyAsync(key: VerifyKey, input: VerifyInput): Promise<boolean>;
}

/** ML-KEM (FIPS 203). */
export interface KemFunctions {
  /**
   * ML-KEM key from its 64-byte seed d ‖ z (FIPS 203 algorithm 16); the seed is not kept. ML-KEM-1024
   * unless `algorithm` says otherwise: nothing else ever changes the parameter set.
   */
  importKemSeed(seed: Uint8Array, algorithm?: KemAlgorithm): KemSecretKey;
  /**
   * ML-KEM public key, 1,568 bytes (ML-KEM-768: 1,184), checked by FIPS 203 section 7.2
   * (`KEY_INVALID`).
   */
  importKemPublicKey(raw: Uint8Array, algorithm?: KemAlgorithm): KemPublicKey;
  /** FIPS 203 algorithm 20, with the parameter set of the key. */
  encapsulate(key: KemPublicKey): Encapsulated;
  /**
   * FIPS 203 algorithm 21: 32 bytes. A tampered ciphertext yields another secret (implicit
   * rejection); one of the wrong length throws `CIPHERTEXT_INVALID`.
   */
  decapsulate(key: KemSecretKey, ciphertext: Uint8Array): Uint8Array;
}

/** X25519 (RFC 7748). */
export interface AgreementFunctions {
  /** X25519 key from 32 random bytes; they are not kept by reference. */
  importX25519Secret(secret: Uint8Array): X25519SecretKey;
  /** X25519 public key, 32 bytes. */
  importX25519PublicKey(raw: Uint8Array): X25519PublicKey;
  /** 32 bytes; throws `KEY_AGREEMENT_FAILED` where the result is zero (RFC 7748 section 6.1). */
  x25519(key: X25519SecretKey, peer: X25519PublicKey): Uint8Array;
}

export interface CryptoProvider
  extends EntropyPort, SignatureFunctions, SlhDsaFunctions, KemFunctions, AgreementFunctions {
  readonly name: 'native' | 'noble';

  /** Ciphertext of the plaintext's length with the 16-byte tag behind it. */
  aeadSeal(input: AeadSealInput): Uint8Array;
  /** The plaintext, or undefined where the tag does not check. */
  aeadOpen(input: AeadOpenInput): Uint8Array | undefined;

  /** RFC 5869. */
  hkdfSha256(input: HkdfInput): Uint8Array;
  /** HMAC (FIPS 198-1) with SHA3-384: 48 bytes. */
  hmacSha3_384(key: Uint8Array, message: Uint8Array): Uint8Array;
  /** FIPS 180-4: 32 bytes. */
  sha256(message: Uint8Array): Uint8Array;
  /** FIPS 202: 32 bytes. */
  sha3_256(message: Uint8Array): Uint8Array;
  /** FIPS 202: 48 bytes. */
  sha3_384(message: Uint8Array): Uint8Array;
  /** FIPS 202: 64 bytes. */
  sha3_512(message: Uint8Array): Uint8Array;
  /** BLAKE3, 32 bytes. */
  blake3(message: Uint8Array): Uint8Array;
}
