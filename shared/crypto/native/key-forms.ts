/**
 * Raw keys enter and leave OpenSSL as the DER forms of RFC 9881 (ML-DSA), RFC 9935 (ML-KEM),
 * RFC 9909 (SLH-DSA) and RFC 8410 (X25519), whose only variable part is the raw key at the end;
 * every Node version with OpenSSL 3.5 reads them.
 */
import { createPrivateKey, createPublicKey, hash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { concat } from '../bytes.ts';
import type { KeyVault, PrivateKeyHandle, PublicKeyHandle } from '../key-handle.ts';
import { importing, publicHandle, requireKeyLength } from '../provider-checks.ts';
import { sizes } from '../provider.ts';

export interface RawForm<Algorithm extends string> {
  readonly algorithm: Algorithm;
  readonly secretBytes: number;
  readonly rawBytes: number;
  /** DER of PKCS #8 up to the secret. */
  readonly pkcs8: Uint8Array;
  /** DER of SubjectPublicKeyInfo up to the raw key. */
  readonly spki: Uint8Array;
}

export const mlDsa87: RawForm<'ML-DSA-87'> = {
  algorithm: 'ML-DSA-87',
  secretBytes: sizes.mlDsa87.seed,
  rawBytes: sizes.mlDsa87.publicKey,
  pkcs8: bytesOf('3034020100300b060960864801650304031304228020'),
  spki: bytesOf('30820a32300b060960864801650304031303820a2100'),
};
export const slhDsaShake256s: RawForm<'SLH-DSA-SHAKE-256s'> = {
  algorithm: 'SLH-DSA-SHAKE-256s',
  secretBytes: sizes.slhDsaShake256s.secretKey,
  rawBytes: sizes.slhDsaShake256s.publicKey,
  pkcs8: bytesOf('308193020100300b060960864801650304031e048180'),
  spki: bytesOf('3050300b060960864801650304031e034100'),
};
export const mlKem1024: RawForm<'ML-KEM-1024'> = {
  algorithm: 'ML-KEM-1024',
  secretBytes: sizes.mlKem1024.seed,
  rawBytes: sizes.mlKem1024.publicKey,
  pkcs8: bytesOf('3054020100300b060960864801650304040304428040'),
  spki: bytesOf('30820632300b06096086480165030404030382062100'),
};
export const mlKem768: RawForm<'ML-KEM-768'> = {
  algorithm: 'ML-KEM-768',
  secretBytes: sizes.mlKem768.seed,
  rawBytes: sizes.mlKem768.publicKey,
  pkcs8: bytesOf('3054020100300b060960864801650304040204428040'),
  spki: bytesOf('308204b2300b0609608648016503040402038204a100'),
};
export const x25519: RawForm<'X25519'> = {
  algorithm: 'X25519',
  secretBytes: sizes.x25519.secretKey,
  rawBytes: sizes.x25519.publicKey,
  pkcs8: bytesOf('302e020100300506032b656e04220420'),
  spki: bytesOf('302a300506032b656e032100'),
};

/** Parses a raw secret. @throws CryptoError KEY_INVALID */
export function importPrivate<Algorithm extends string>(
  vault: KeyVault<KeyObject>,
  form: RawForm<Algorithm>,
  secret: Uint8Array,
): PrivateKeyHandle<Algorithm> {
  requireKeyLength(secret, form.secretBytes, `an ${form.algorithm} secret`);
  const der = concat(form.pkcs8, secret);
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

/** Parses a raw public key. @throws CryptoError KEY_INVALID */
export function importPublic<Algorithm extends string>(
  vault: KeyVault<KeyObject>,
  form: RawForm<Algorithm>,
  raw: Uint8Array,
): PublicKeyHandle<Algorithm> {
  const key = parsePublic(form, raw);
  return vault.putPublic(publicHandle(form.algorithm, raw, sha3_256), key);
}

/** OpenSSL's form of a raw public key. @throws CryptoError KEY_INVALID */
export function parsePublic(form: RawForm<string>, raw: Uint8Array): KeyObject {
  const what = `an ${form.algorithm} public key`;
  requireKeyLength(raw, form.rawBytes, what);
  const der = concat(form.spki, raw);
  return importing(what, () =>
    createPublicKey({ key: Buffer.from(der.buffer), format: 'der', type: 'spki' }),
  );
}

/** The same memory as a plain `Uint8Array`, without the surprises of `Buffer`. */
export function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}

function sha3_256(message: Uint8Array): Uint8Array {
  return plain(hash('sha3-256', message, 'buffer'));
}

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}
