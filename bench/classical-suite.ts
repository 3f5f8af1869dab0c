/**
 * The same pipeline with a classical suite, for comparison and for nothing else: Ed25519 signatures in
 * place of ML-DSA-87, X25519 in place of the hybrid KEM. Frames have a fixed place for the signature, so
 * the 64 bytes are padded to it: structure, encryption, hashing and tree cost the same on both sides.
 */
import { createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { concat } from '#shared/crypto/bytes.ts';
import {
  hybridDecapsulate,
  hybridEncapsulate,
  hybridPublicKey,
} from '#shared/crypto/hybrid-kem.ts';
import type { SignInput, CryptoProvider } from '#shared/crypto/provider.ts';
import { sizes } from '#shared/crypto/provider.ts';
import type { SigningKey, VerifyKey } from '#shared/crypto/key-handle.ts';

export interface Suite {
  readonly name: string;
  readonly crypto: CryptoProvider;
  /** One key exchange between two fresh keys: 32 bytes that both sides came to. */
  exchange(): Uint8Array;
}

const signatureBytes = 64;
/** PKCS#8 of an Ed25519 seed (RFC 8410 section 7), up to the seed. */
const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex');

export function postQuantumSuite(crypto: CryptoProvider): Suite {
  return {
    name: 'post-quantum',
    crypto,
    exchange: () => {
      const secret = crypto.randomBytes(96);
      const { ciphertext } = hybridEncapsulate(crypto, hybridPublicKey(crypto, secret));
      return hybridDecapsulate(crypto, secret, ciphertext);
    },
  };
}

/** Takes everything but signatures from `native`. Keys of its own have the shapes of the protocol. */
export function classicalSuite(native: CryptoProvider): Suite {
  const privateKeys = new WeakMap<object, KeyObject>();
  const publicKeys = new Map<string, KeyObject>();
  const crypto: CryptoProvider = {
    ...native,
    importSigningSeed: (seed) => {
      const key = createPrivateKey({
        key: Buffer.concat([pkcs8Prefix, seed]),
        format: 'der',
        type: 'pkcs8',
      });
      const handle: SigningKey = native.importSigningSeed(seed);
      privateKeys.set(handle, key);
      publicKeys.set(handle.publicKey.keyIdHex, createPublicKey(key));
      return handle;
    },
    sign: (key, input) => padded(sign(null, contextual(input), keyOf(privateKeys.get(key)))),
    signAsync: (key, input) =>
      new Promise((resolve, reject) => {
        sign(null, contextual(input), keyOf(privateKeys.get(key)), (fault, made) => {
          if (fault === null) resolve(padded(made));
          else reject(fault);
        });
      }),
    verify: (key, input) =>
      verify(null, contextual(input), publicOf(key), input.signature.subarray(0, signatureBytes)),
    verifyAsync: (key, input) =>
      new Promise((resolve, reject) => {
        const signature = input.signature.subarray(0, signatureBytes);
        verify(null, contextual(input), publicOf(key), signature, (fault, holds) => {
          if (fault === null) resolve(holds);
          else reject(fault);
        });
      }),
  };
  const publicOf = (key: VerifyKey): KeyObject => keyOf(publicKeys.get(key.keyIdHex));
  return {
    name: 'classical',
    crypto,
    exchange: () => {
      const one = native.importX25519Secret(native.randomBytes(32));
      const other = native.importX25519Secret(native.randomBytes(32));
      native.x25519(one, other.publicKey);
      return native.x25519(other, one.publicKey);
    },
  };
}

/** Ed25519 has no context string: it goes before the message. */
function contextual({ context, message }: SignInput): Uint8Array {
  return concat(Uint8Array.of(context.length), context, message);
}

function padded(signature: Uint8Array): Uint8Array {
  const place = new Uint8Array(sizes.mlDsa87.signature);
  place.set(signature);
  return place;
}

function keyOf(key: KeyObject | undefined): KeyObject {
  if (key === undefined) throw new Error('assertion: a key of this suite');
  return key;
}
