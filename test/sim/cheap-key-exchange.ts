/**
 * SIMULATION, NO CRYPTOGRAPHY: for test/sim only. ML-KEM and X25519 of the simulated provider, in sizes and
 * refusals the real ones: a public key of ML-KEM has its coefficients below 3,329, a changed ciphertext
 * leads to another secret, a point of zeros to none. Whoever knows this file can compute a shared secret
 * from what is public; through the provider only the holder of the key can.
 */

import { CryptoError } from '#shared/crypto/errors.ts';
import { KeyVault } from '#shared/crypto/key-handle.ts';
import {
  checkKemCiphertext,
  publicHandle,
  requireKeyLength,
} from '#shared/crypto/provider-checks.ts';
import type { AgreementFunctions, KemAlgorithm, KemFunctions } from '#shared/crypto/provider.ts';
import { kemSizes, sizes } from '#shared/crypto/provider.ts';
import { digestOf, domains, fillWith, hashing, isFilledWith, isSame } from './cheap-hash.ts';
import type { Draws } from './model.ts';

const sha3_256 = hashing(domains.sha3_256, 32);
/** FIPS 203 section 2.4. */
const modulus = 3329;
/** Of the public key's end that is no coefficients. */
const rhoBytes = 32;
const coinBytes = 32;
/** Of all instances: a key that one of them imported is good in every other. */
const kemKeys = new KeyVault<Uint8Array>();
const x25519Keys = new KeyVault<Uint8Array>();

export function cheapKem(draws: Draws): KemFunctions {
  return {
    importKemSeed: (seed, algorithm = 'ML-KEM-1024') => {
      requireKeyLength(seed, kemSizes[algorithm].seed, `an ${algorithm} seed`);
      const material = seed.slice();
      const handle = publicHandle(algorithm, kemPublicKey(algorithm, material), sha3_256);
      return kemKeys.putPrivate(handle, material);
    },
    importKemPublicKey: (raw, algorithm = 'ML-KEM-1024') => {
      const what = `an ${algorithm} public key`;
      requireKeyLength(raw, kemSizes[algorithm].publicKey, what);
      if (!isKemPublicKey(raw)) throw new CryptoError('KEY_INVALID', `${what} is not valid`);
      return publicHandle(algorithm, raw, sha3_256);
    },
    encapsulate: ({ algorithm, keyId }) => {
      const coins = draws.bytes(coinBytes);
      const ciphertext = new Uint8Array(kemSizes[algorithm].ciphertext);
      ciphertext.set(coins);
      fillWith(ciphertext, digestOf(domains.kemCiphertext, keyId, coins), coinBytes);
      return { ciphertext, sharedSecret: digestOf(domains.kemSecret, keyId, coins) };
    },
    decapsulate: (key, ciphertext) => {
      checkKemCiphertext(key.algorithm, ciphertext);
      const seed = kemKeys.take(key);
      const { keyId } = key.publicKey;
      const coins = ciphertext.subarray(0, coinBytes);
      const proof = digestOf(domains.kemCiphertext, keyId, coins);
      return isFilledWith(ciphertext, proof, coinBytes)
        ? digestOf(domains.kemSecret, keyId, coins)
        : digestOf(domains.kemRejection, seed, ciphertext);
    },
  };
}

export function cheapAgreement(): AgreementFunctions {
  return {
    importX25519Secret: (secret) => {
      requireKeyLength(secret, sizes.x25519.secretKey, 'an X25519 secret');
      const material = secret.slice();
      const raw = digestOf(domains.x25519PublicKey, material);
      return x25519Keys.putPrivate(publicHandle('X25519', raw, sha3_256), material);
    },
    importX25519PublicKey: (raw) => {
      requireKeyLength(raw, sizes.x25519.publicKey, 'an X25519 public key');
      return publicHandle('X25519', raw, sha3_256);
    },
    x25519: (key, peer) => {
      x25519Keys.take(key);
      if (isSame(peer.raw, new Uint8Array(sizes.x25519.publicKey))) {
        throw new CryptoError('KEY_AGREEMENT_FAILED', 'the peer sent a point of low order');
      }
      const ends = [key.publicKey.raw, peer.raw].toSorted((left, right) =>
        Buffer.compare(left, right),
      );
      return digestOf(domains.x25519Secret, ...ends);
    },
  };
}

/** Coefficients of 12 bits, two in three bytes, all below 2,048; every byte of the hash is whole in one. */
function kemPublicKey(algorithm: KemAlgorithm, seed: Uint8Array): Uint8Array {
  const digest = digestOf(domains.kemPublicKey, seed);
  const pattern = fillWith(new Uint8Array(96), digest).map((byte, at) => {
    if (at % 3 === 0) return byte;
    return at % 3 === 1 ? byte & 0xf7 : byte & 0x7f;
  });
  const raw = fillWith(new Uint8Array(kemSizes[algorithm].publicKey), pattern);
  raw.set(digest, raw.length - rhoBytes);
  return raw;
}

/** FIPS 203 section 7.2. */
function isKemPublicKey(raw: Uint8Array): boolean {
  for (let at = 0; at < raw.length - rhoBytes; at += 3) {
    const [low = 0, middle = 0, high = 0] = [raw[at], raw[at + 1], raw[at + 2]];
    if ((low | ((middle & 0x0f) << 8)) >= modulus) return false;
    if (((middle >> 4) | (high << 4)) >= modulus) return false;
  }
  return true;
}
