/**
 * The native provider: OpenSSL 3.5 or newer through node:crypto, constant-time code and several
 * times faster than JavaScript. BLAKE3 is not in OpenSSL and comes from hash-wasm. Each kind of
 * algorithm has its file in `native/`.
 *
 * OpenSSL draws its own randomness for keys, signatures and encapsulations; the entropy port supplies
 * `randomBytes` only.
 */
import { createHmac, hash, hkdfSync } from 'node:crypto';
import { systemEntropy } from './entropy.ts';
import type { EntropyPort } from './entropy.ts';
import { aeadOpen, aeadSeal } from './native/aead.ts';
import { blake3 } from './native/blake3.ts';
import { nativeAgreement, nativeKem } from './native/key-exchange.ts';
import { plain } from './native/key-forms.ts';
import { nativeSignatures } from './native/signatures.ts';
import { nativeSlhDsa } from './native/slh-dsa.ts';
import { checkHkdf } from './provider-checks.ts';
import type { CryptoProvider } from './provider.ts';

/** Makes the native provider. */
export function createNativeProvider(entropy: EntropyPort = systemEntropy): CryptoProvider {
  return {
    name: 'native',
    randomBytes: (count) => entropy.randomBytes(count),
    ...nativeSignatures(),
    ...nativeSlhDsa(),
    ...nativeKem(),
    ...nativeAgreement(),
    aeadSeal,
    aeadOpen,
    hkdfSha256: (input) => {
      checkHkdf(input);
      const { ikm, salt, info, outputBytes } = input;
      return new Uint8Array(hkdfSync('sha256', ikm, salt, info, outputBytes));
    },
    hmacSha3_384: (key, message) => plain(createHmac('sha3-384', key).update(message).digest()),
    sha256: hashing('sha256'),
    sha3_256: hashing('sha3-256'),
    sha3_384: hashing('sha3-384'),
    sha3_512: hashing('sha3-512'),
    blake3,
  };
}

/** In one call, without an object per hash: trees of batches are made of small ones. */
function hashing(name: string): (message: Uint8Array) => Uint8Array {
  return (message) => plain(hash(name, message, 'buffer'));
}
