/**
 * The portable provider: @noble/post-quantum, -hashes, -ciphers and -curves. It is the second
 * opinion about the native one, and what runs where OpenSSL 3.5 is missing (a browser). JavaScript
 * cannot promise constant time; keys that matter belong to the native provider or a token.
 */
import { gcm } from '@noble/ciphers/aes.js';
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { x25519 } from '@noble/curves/ed25519.js';
import { blake3 } from '@noble/hashes/blake3.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { sha3_256, sha3_384, sha3_512 } from '@noble/hashes/sha3.js';
import { ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { ml_kem1024, ml_kem768 } from '@noble/post-quantum/ml-kem.js';
import { systemEntropy } from './entropy.ts';
import type { EntropyPort } from './entropy.ts';
import { CryptoError } from './errors.ts';
import { KeyVault } from './key-handle.ts';
import type { KemPublicKey, SigningKey, VerifyKey } from './key-handle.ts';
import { nobleSlhDsa } from './noble/slh-dsa.ts';
import {
  checkAead,
  checkContext,
  checkHkdf,
  checkKemCiphertext,
  importing,
  publicHandle,
  requireKeyLength,
} from './provider-checks.ts';
import type {
  AeadParameters,
  AgreementFunctions,
  CryptoProvider,
  Encapsulated,
  KemFunctions,
  SignatureFunctions,
  SignInput,
  VerifyInput,
} from './provider.ts';
import { kemSizes, sizes } from './provider.ts';

const mlKem = { 'ML-KEM-1024': ml_kem1024, 'ML-KEM-768': ml_kem768 } as const;

/**
 * Makes the portable provider. Its hedged signatures and encapsulations draw 32 bytes each from
 * `entropy`; with a port that gives zeros, signatures are FIPS 204's deterministic ones.
 */
export function createNobleProvider(entropy: EntropyPort = systemEntropy): CryptoProvider {
  return {
    name: 'noble',
    randomBytes: (count) => entropy.randomBytes(count),
    ...signatures(entropy),
    ...nobleSlhDsa(entropy),
    ...kem(entropy),
    ...agreement(),
    aeadSeal: (input) => cipher(input).encrypt(input.plaintext),
    aeadOpen: (input) => {
      const opened = cipher(input);
      try {
        return opened.decrypt(input.ciphertext);
      } catch {
        // The only thing that can fail with checked sizes is the tag: an expected outcome.
        return undefined;
      }
    },
    hkdfSha256: (input) => {
      checkHkdf(input);
      return hkdf(sha256, input.ikm, input.salt, input.info, input.outputBytes);
    },
    hmacSha3_384: (key, message) => hmac(sha3_384, key, message),
    sha256: (message) => sha256(message),
    sha3_256: (message) => sha3_256(message),
    sha3_384: (message) => sha3_384(message),
    sha3_512: (message) => sha3_512(message),
    blake3: (message) => blake3(message),
  };
}

function cipher(input: AeadParameters) {
  checkAead(input);
  const make = input.algorithm === 'AES-256-GCM' ? gcm : chacha20poly1305;
  return make(input.key, input.nonce, input.aad);
}

function signatures(entropy: EntropyPort): SignatureFunctions {
  const vault = new KeyVault<Uint8Array>();
  const sign = (key: SigningKey, input: SignInput): Uint8Array => {
    checkContext(input);
    return ml_dsa87.sign(input.message, vault.take(key), {
      context: input.context,
      extraEntropy: entropy.randomBytes(32),
    });
  };
  const verify = (key: VerifyKey, input: VerifyInput): boolean => {
    checkContext(input);
    if (input.signature.length !== sizes.mlDsa87.signature) return false;
    return ml_dsa87.verify(input.signature, input.message, key.raw, { context: input.context });
  };
  return {
    importSigningSeed: (seed) => {
      requireKeyLength(seed, sizes.mlDsa87.seed, 'an ML-DSA-87 seed');
      const { secretKey, publicKey } = ml_dsa87.keygen(seed);
      return vault.putPrivate(publicHandle('ML-DSA-87', publicKey, sha3_256), secretKey);
    },
    importVerifyKey: (raw) => {
      requireKeyLength(raw, sizes.mlDsa87.publicKey, 'an ML-DSA-87 public key');
      return publicHandle('ML-DSA-87', raw, sha3_256);
    },
    sign,
    verify,
    signAsync: async (key, input) => await Promise.resolve(sign(key, input)),
    verifyAsync: async (key, input) => await Promise.resolve(verify(key, input)),
  };
}

function kem(entropy: EntropyPort): KemFunctions {
  const vault = new KeyVault<Uint8Array>();
  return {
    importKemSeed: (seed, algorithm = 'ML-KEM-1024') => {
      requireKeyLength(seed, kemSizes[algorithm].seed, `an ${algorithm} seed`);
      const { secretKey, publicKey } = mlKem[algorithm].keygen(seed);
      return vault.putPrivate(publicHandle(algorithm, publicKey, sha3_256), secretKey);
    },
    importKemPublicKey: (raw, algorithm = 'ML-KEM-1024') => {
      const what = `an ${algorithm} public key`;
      requireKeyLength(raw, kemSizes[algorithm].publicKey, what);
      importing(what, () => {
        mlKem[algorithm].prepare(raw).clean();
      });
      return publicHandle(algorithm, raw, sha3_256);
    },
    encapsulate: (key: KemPublicKey): Encapsulated => {
      const coins = entropy.randomBytes(32);
      const { cipherText, sharedSecret } = mlKem[key.algorithm].encapsulate(key.raw, coins);
      coins.fill(0);
      return { ciphertext: cipherText, sharedSecret };
    },
    decapsulate: (key, ciphertext) => {
      checkKemCiphertext(key.algorithm, ciphertext);
      return mlKem[key.algorithm].decapsulate(ciphertext, vault.take(key));
    },
  };
}

function agreement(): AgreementFunctions {
  const vault = new KeyVault<Uint8Array>();
  return {
    importX25519Secret: (secret) => {
      requireKeyLength(secret, sizes.x25519.secretKey, 'an X25519 secret');
      const publicKey = publicHandle('X25519', x25519.getPublicKey(secret), sha3_256);
      return vault.putPrivate(publicKey, new Uint8Array(secret));
    },
    importX25519PublicKey: (raw) => {
      requireKeyLength(raw, sizes.x25519.publicKey, 'an X25519 public key');
      return publicHandle('X25519', raw, sha3_256);
    },
    x25519: (key, peer) => {
      const secret = vault.take(key);
      try {
        return x25519.getSharedSecret(secret, peer.raw);
      } catch (cause) {
        throw new CryptoError('KEY_AGREEMENT_FAILED', 'the peer sent a point of low order', {
          cause,
        });
      }
    },
  };
}
