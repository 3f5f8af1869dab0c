/**
 * The native provider: OpenSSL 3.5 or newer through node:crypto, constant-time code and several
 * times faster than JavaScript. Raw keys enter and leave as the DER forms of RFC 9881 (ML-DSA),
 * RFC 9935 (ML-KEM) and RFC 8410 (X25519), whose only variable part is the raw key at the end; every
 * Node version with OpenSSL 3.5 reads them. BLAKE3 is not in OpenSSL and comes from @noble/hashes.
 *
 * OpenSSL draws its own randomness for signatures and encapsulations; the entropy port supplies
 * `randomBytes` only.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
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
import type { PublicKeyHandle, VerifyKey } from './key-handle.ts';
import {
  checkAead,
  checkContext,
  checkHkdf,
  checkKemCiphertext,
  importing,
  publicHandle,
  requireKeyLength,
} from './provider-checks.ts';
import type { AeadOpenInput, AeadSealInput, CryptoProvider } from './provider.ts';
import { sizes } from './provider.ts';

/** Public keys of senders that are kept parsed, the least recently used first to go. */
const verifyKeysMax = 256;

interface RawForm<Algorithm extends string> {
  readonly algorithm: Algorithm;
  readonly seedBytes: number;
  readonly rawBytes: number;
  /** DER of PKCS #8 up to the seed. */
  readonly pkcs8: Uint8Array;
  /** DER of SubjectPublicKeyInfo up to the raw key. */
  readonly spki: Uint8Array;
}

const mlDsa87: RawForm<'ML-DSA-87'> = {
  algorithm: 'ML-DSA-87',
  seedBytes: sizes.mlDsa87.seed,
  rawBytes: sizes.mlDsa87.publicKey,
  pkcs8: fromHexText('3034020100300b060960864801650304031304228020'),
  spki: fromHexText('30820a32300b060960864801650304031303820a2100'),
};
const mlKem1024: RawForm<'ML-KEM-1024'> = {
  algorithm: 'ML-KEM-1024',
  seedBytes: sizes.mlKem1024.seed,
  rawBytes: sizes.mlKem1024.publicKey,
  pkcs8: fromHexText('3054020100300b060960864801650304040304428040'),
  spki: fromHexText('30820632300b06096086480165030404030382062100'),
};
const x25519: RawForm<'X25519'> = {
  algorithm: 'X25519',
  seedBytes: sizes.x25519.secretKey,
  rawBytes: sizes.x25519.publicKey,
  pkcs8: fromHexText('302e020100300506032b656e04220420'),
  spki: fromHexText('302a300506032b656e032100'),
};

/** Makes the native provider. */
export function createNativeProvider(entropy: EntropyPort = systemEntropy): CryptoProvider {
  const vault = new KeyVault<KeyObject>();
  return {
    name: 'native',
    randomBytes: (count) => entropy.randomBytes(count),
    ...signatures(vault),
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
    sha3_256,
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
      const { message, context } = input;
      const options = { key: vault.take(key), context };
      return await new Promise((resolve, reject) => {
        cryptoSign(null, message, options, (error, signature) => {
          if (error === null) resolve(plain(signature));
          else reject(error);
        });
      });
    },
    verifyAsync: async (key, input) => {
      checkContext(input);
      const { message, context, signature } = input;
      const options = { key: vault.take(key), context };
      return await new Promise((resolve, reject) => {
        cryptoVerify(null, message, options, signature, (error, holds) => {
          if (error === null) resolve(holds);
          else reject(error);
        });
      });
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

function importPrivate<Algorithm extends string>(
  vault: KeyVault<KeyObject>,
  form: RawForm<Algorithm>,
  seed: Uint8Array,
) {
  requireKeyLength(seed, form.seedBytes, `an ${form.algorithm} secret`);
  const der = concat(form.pkcs8, seed);
  try {
    return importing(`an ${form.algorithm} secret`, () => {
      const key = createPrivateKey({ key: Buffer.from(der.buffer), format: 'der', type: 'pkcs8' });
      const publicKey = createPublicKey(key);
      const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(form.spki.length);
      const handle = publicHandle(form.algorithm, raw, sha3_256);
      return vault.putPrivate(vault.putPublic(handle, publicKey), key);
    });
  } finally {
    der.fill(0);
  }
}

function importPublic<Algorithm extends string>(
  vault: KeyVault<KeyObject>,
  form: RawForm<Algorithm>,
  raw: Uint8Array,
): PublicKeyHandle<Algorithm> {
  const what = `an ${form.algorithm} public key`;
  requireKeyLength(raw, form.rawBytes, what);
  const der = concat(form.spki, raw);
  const key = importing(what, () =>
    createPublicKey({ key: Buffer.from(der.buffer), format: 'der', type: 'spki' }),
  );
  return vault.putPublic(publicHandle(form.algorithm, raw, sha3_256), key);
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

function sha3_256(message: Uint8Array): Uint8Array {
  return plain(createHash('sha3-256').update(message).digest());
}

/** The same memory as a plain `Uint8Array`, without the surprises of `Buffer`. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}

function fromHexText(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}
