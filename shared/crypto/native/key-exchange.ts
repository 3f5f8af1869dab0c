/**
 * ML-KEM (FIPS 203) and X25519 (RFC 7748) through OpenSSL, which draws its own randomness for
 * encapsulations.
 */
import { decapsulate, diffieHellman, encapsulate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { CryptoError } from '../errors.ts';
import { KeyVault } from '../key-handle.ts';
import { checkKemCiphertext } from '../provider-checks.ts';
import type { AgreementFunctions, KemAlgorithm, KemFunctions } from '../provider.ts';
import { importPrivate, importPublic, mlKem1024, mlKem768, plain, x25519 } from './key-forms.ts';
import type { RawForm } from './key-forms.ts';

const forms: Readonly<Record<KemAlgorithm, RawForm<KemAlgorithm>>> = {
  'ML-KEM-1024': mlKem1024,
  'ML-KEM-768': mlKem768,
};

export function nativeKem(): KemFunctions {
  const vault = new KeyVault<KeyObject>();
  return {
    importKemSeed: (seed, algorithm = 'ML-KEM-1024') =>
      importPrivate(vault, forms[algorithm], seed),
    importKemPublicKey: (raw, algorithm = 'ML-KEM-1024') =>
      importPublic(vault, forms[algorithm], raw),
    encapsulate: (key) => {
      const { ciphertext, sharedKey } = encapsulate(vault.take(key));
      return { ciphertext: plain(ciphertext), sharedSecret: plain(sharedKey) };
    },
    decapsulate: (key, ciphertext) => {
      checkKemCiphertext(key.algorithm, ciphertext);
      return plain(decapsulate(vault.take(key), ciphertext));
    },
  };
}

export function nativeAgreement(): AgreementFunctions {
  const vault = new KeyVault<KeyObject>();
  return {
    importX25519Secret: (secret) => importPrivate(vault, x25519, secret),
    importX25519PublicKey: (raw) => importPublic(vault, x25519, raw),
    x25519: (key, peer) => {
      const [privateKey, publicKey] = [vault.take(key), vault.take(peer)];
      try {
        return plain(diffieHellman({ privateKey, publicKey }));
      } catch (cause) {
        throw new CryptoError('KEY_AGREEMENT_FAILED', 'the peer sent a point of low order', {
          cause,
        });
      }
    },
  };
}
