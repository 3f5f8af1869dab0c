/**
 * The native provider: OpenSSL 3.5 or newer through node:crypto, constant-time code and several
 * times faster than JavaScript. BLAKE3 is not in OpenSSL and comes from @noble/hashes.
 *
 * OpenSSL draws its own randomness for signatures and encapsulations; the entropy port supplies
 * `randomBytes` only.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  decapsulate,
  diffieHellman,
  encapsulate,
  hkdfSync,
  sign as cryptoSign,
  verify as cryptoVerify,
} from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { blake3 } from '@noble/hashes/blake3.js';
import { BoundedCache } from './bounded-cache.ts';
import { concat } from './bytes.ts';
import { systemEntropy } from './entropy.ts';
import type { EntropyPort } from './entropy.ts';
import { CryptoError } from './errors.ts';
import { KeyVault } from './key-handle.ts';
import type { VerifyKey } from './key-handle.ts';
import {
  importPrivate,
  importPublic,
  mlDsa87,
  mlKem1024,
  plain,
  x25519,
} from './native/key-forms.ts';
import { signInPool, verifyInPool } from './native/pool.ts';
import { nativeSlhDsa } from './native/slh-dsa.ts';
import { checkAead, checkContext, checkHkdf, checkKemCiphertext } from './provider-checks.ts';
import type { AeadOpenInput, AeadSealInput, CryptoProvider } from './provider.ts';
import { sizes } from './provider.ts';

/** Public keys of senders that are kept parsed, the least recently used first to go. */
const verifyKeysMax = 256;

/** Makes the native provider. */
export function createNativeProvider(entropy: EntropyPort = systemEntropy): CryptoProvider {
  const vault = new KeyVault<KeyObject>();
  return {
    name: 'native',
    randomBytes: (count) => entropy.randomBytes(count),
    ...signatures(vault),
    ...nativeSlhDsa(),
    ...keyExchange(vault),
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
    blake3: (message) => blake3(message),
  };
}

function signatures(
  vault: KeyVault<KeyObject>,
): Pick<
  CryptoProvider,
  'importSigningSeed' | 'importVerifyKey' | 'sign' | 'verify' | 'signAsync' | 'verifyAsync'
> {
  const cache = new BoundedCache<VerifyKey>(verifyKeysMax);
  return {
    importSigningSeed: (seed) => importPrivate(vault, mlDsa87, seed),
    importVerifyKey: (raw) =>
      cache.get(Buffer.from(raw.buffer, raw.byteOffset, raw.length).toString('latin1'), () =>
        importPublic(vault, mlDsa87, raw),
      ),
    sign: (key, input) => {
      checkContext(input);
      return plain(
        cryptoSign(null, input.message, { key: vault.take(key), context: input.context }),
      );
    },
    verify: (key, input) => {
      checkContext(input);
      const { message, context, signature } = input;
      return cryptoVerify(null, message, { key: vault.take(key), context }, signature);
    },
    signAsync: async (key, input) => {
      checkContext(input);
      return await signInPool(vault.take(key), input);
    },
    verifyAsync: async (key, input) => {
      checkContext(input);
      return await verifyInPool(vault.take(key), input);
    },
  };
}

function keyExchange(
  vault: KeyVault<KeyObject>,
): Pick<
  CryptoProvider,
  | 'importKemSeed'
  | 'importKemPublicKey'
  | 'encapsulate'
  | 'decapsulate'
  | 'importX25519Secret'
  | 'importX25519PublicKey'
  | 'x25519'
> {
  return {
    importKemSeed: (seed) => importPrivate(vault, mlKem1024, seed),
    importKemPublicKey: (raw) => importPublic(vault, mlKem1024, raw),
    encapsulate: (key) => {
      const { ciphertext, sharedKey } = encapsulate(vault.take(key));
      return { ciphertext: plain(ciphertext), sharedSecret: plain(sharedKey) };
    },
    decapsulate: (key, ciphertext) => {
      checkKemCiphertext(ciphertext);
      return plain(decapsulate(vault.take(key), ciphertext));
    },
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

function aeadSeal(input: AeadSealInput): Uint8Array {
  checkAead(input);
  const { key, nonce, aad, plaintext } = input;
  const cipher =
    input.algorithm === 'AES-256-GCM'
      ? createCipheriv('aes-256-gcm', key, nonce)
      : createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: sizes.aead.tag });
  cipher.setAAD(aad, { plaintextLength: plaintext.length });
  const body = cipher.update(plaintext);
  return concat(body, cipher.final(), cipher.getAuthTag());
}

function aeadOpen(input: AeadOpenInput): Uint8Array | undefined {
  checkAead(input);
  const { key, nonce, aad, ciphertext } = input;
  const bodyLength = ciphertext.length - sizes.aead.tag;
  if (bodyLength < 0) return undefined;
  const options = { authTagLength: sizes.aead.tag };
  const decipher =
    input.algorithm === 'AES-256-GCM'
      ? createDecipheriv('aes-256-gcm', key, nonce, options)
      : createDecipheriv('chacha20-poly1305', key, nonce, options);
  decipher.setAAD(aad, { plaintextLength: bodyLength });
  decipher.setAuthTag(ciphertext.subarray(bodyLength));
  const body = decipher.update(ciphertext.subarray(0, bodyLength));
  try {
    return concat(body, decipher.final());
  } catch {
    // `final` fails for one reason only, the tag: an expected outcome.
    return undefined;
  } finally {
    body.fill(0);
  }
}

function hashing(name: string): (message: Uint8Array) => Uint8Array {
  return (message) => plain(createHash(name).update(message).digest());
}
