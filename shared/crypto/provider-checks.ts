/** What both providers demand of their inputs, so that they accept and refuse the same things. */
import { assertLength, CryptoError, invariant } from './errors.ts';
import type { PublicKeyHandle } from './key-handle.ts';
import type { AeadParameters, HkdfInput, KemAlgorithm, SignInput } from './provider.ts';
import { kemSizes, sizes } from './provider.ts';
import { toHex } from './bytes.ts';

/** Refuses key material of another length than `length`. */
export function requireKeyLength(bytes: Uint8Array, length: number, what: string): void {
  if (bytes.length !== length) {
    throw new CryptoError('KEY_INVALID', `${what} has ${length} bytes, not ${bytes.length}`);
  }
}

/** Runs `work` and translates whatever it throws into `KEY_INVALID`. */
export function importing<Result>(what: string, work: () => Result): Result {
  try {
    return work();
  } catch (cause) {
    throw new CryptoError('KEY_INVALID', `${what} is not valid`, { cause });
  }
}

/** The handle of a public key; copies `raw`. */
export function publicHandle<Algorithm extends string>(
  algorithm: Algorithm,
  raw: Uint8Array,
  sha3: (message: Uint8Array) => Uint8Array,
): PublicKeyHandle<Algorithm> {
  const copy = new Uint8Array(raw);
  const keyId = sha3(copy);
  return { algorithm, raw: copy, keyId, keyIdHex: toHex(keyId) };
}

export function checkContext({ context }: SignInput): void {
  invariant(context.length <= sizes.mlDsa87.contextMax, 'a context of at most 255 bytes');
}

export function checkAead({ key, nonce }: AeadParameters): void {
  assertLength(key, sizes.aead.key, 'an AEAD key');
  assertLength(nonce, sizes.aead.nonce, 'an AEAD nonce');
}

export function checkHkdf({ info, outputBytes }: HkdfInput): void {
  invariant(info.length <= sizes.hkdfSha256.infoMax, 'HKDF info of at most 1,024 bytes');
  invariant(
    Number.isInteger(outputBytes) && outputBytes >= 1 && outputBytes <= sizes.hkdfSha256.outputMax,
    'HKDF output of 1 to 8,160 bytes',
  );
}

export function checkKemCiphertext(algorithm: KemAlgorithm, ciphertext: Uint8Array): void {
  const { ciphertext: length } = kemSizes[algorithm];
  if (ciphertext.length !== length) {
    throw new CryptoError('CIPHERTEXT_INVALID', `an ${algorithm} ciphertext has ${length} bytes`);
  }
}
