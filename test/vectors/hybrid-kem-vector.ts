/**
 * The published vectors of X25519MLKEM1024: everything that goes into one encapsulation and all that
 * comes out, made by the portable provider from entropy that the vector names.
 * `node test/vectors/hybrid-kem-vector.ts` writes test/vectors/hybrid-kem.json anew.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { concat, toHex, utf8 } from '#shared/crypto/bytes.ts';
import { hybridEncapsulate, hybridPublicKey } from '#shared/crypto/hybrid-kem.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import { sizes } from '#shared/crypto/provider.ts';

export const hybridVectorPath = join(import.meta.dirname, 'hybrid-kem.json');

/** All values in lowercase hexadecimal. */
export interface HybridVector {
  /** ML-KEM-1024 seed d ‖ z (64) ‖ X25519 secret (32). */
  readonly secret: string;
  /** ML-KEM-1024 (1,568) ‖ X25519 (32). */
  readonly public_key: string;
  /** Drawn by the sender: ephemeral X25519 secret (32), then ML-KEM message m (32). */
  readonly ephemeral_secret: string;
  readonly message: string;
  /** ML-KEM-1024 (1,568) ‖ ephemeral X25519 public key (32). */
  readonly ciphertext: string;
  readonly ml_kem_shared_secret: string;
  readonly x25519_shared_secret: string;
  /** SHA3-384 of what is combined; its first 32 bytes are the shared secret. */
  readonly combined: string;
  readonly shared_secret: string;
}

export interface HybridVectors {
  readonly algorithm: 'X25519MLKEM1024';
  readonly label: string;
  readonly combiner: string;
  readonly vectors: readonly HybridVector[];
}

const label = 'gyre/v1/X25519MLKEM1024';

export function makeHybridVectors(): HybridVectors {
  return {
    algorithm: 'X25519MLKEM1024',
    label,
    combiner:
      'SHA3-384(ml_kem_shared_secret || x25519_shared_secret || ciphertext || public_key || label)[0..32]',
    vectors: [0, 1, 2].map(makeVector),
  };
}

function makeVector(index: number): HybridVector {
  const secret = bytesNamed(`secret ${index}`, sizes.mlKem1024.seed + sizes.x25519.secretKey);
  const drawn = [bytesNamed(`ephemeral ${index}`, 32), bytesNamed(`message ${index}`, 32)];
  const [ephemeralSecret, message] = [drawn[0]?.slice(), drawn[1]?.slice()];
  const crypto = createNobleProvider({ randomBytes: () => drawn.shift() ?? new Uint8Array(0) });
  if (ephemeralSecret === undefined || message === undefined) throw new Error('two draws');
  const publicKey = hybridPublicKey(crypto, secret);
  const { ciphertext, sharedSecret } = hybridEncapsulate(crypto, publicKey);
  // The parts once more, each by itself and from the receiver's side.
  const mlKem = crypto.importKemSeed(secret.subarray(0, sizes.mlKem1024.seed));
  const first = crypto.decapsulate(mlKem, ciphertext.subarray(0, sizes.mlKem1024.ciphertext));
  const x25519 = crypto.importX25519Secret(secret.subarray(sizes.mlKem1024.seed));
  const peer = crypto.importX25519PublicKey(ciphertext.subarray(sizes.mlKem1024.ciphertext));
  const second = crypto.x25519(x25519, peer);
  const combined = crypto.sha3_384(concat(first, second, ciphertext, publicKey, utf8(label)));
  return {
    secret: toHex(secret),
    public_key: toHex(publicKey),
    ephemeral_secret: toHex(ephemeralSecret),
    message: toHex(message),
    ciphertext: toHex(ciphertext),
    ml_kem_shared_secret: toHex(first),
    x25519_shared_secret: toHex(second),
    combined: toHex(combined),
    shared_secret: toHex(sharedSecret),
  };
}

/** Bytes that anyone can make again: SHA3-512 of the name, as often as needed. */
function bytesNamed(name: string, count: number): Uint8Array {
  const { sha3_512 } = createNobleProvider();
  const blocks = Array.from({ length: Math.ceil(count / 64) }, (_, block) =>
    sha3_512(utf8(`gyre hybrid-kem vector, ${name}, block ${block}`)),
  );
  return concat(...blocks).slice(0, count);
}

if (import.meta.main) {
  writeFileSync(hybridVectorPath, `${JSON.stringify(makeHybridVectors(), null, 2)}\n`);
}
