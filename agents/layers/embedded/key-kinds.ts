/**
 * The kinds of layer keys as data: how each is generated, named, used and probed, so that one store,
 * one adapter and one rotation serve them all. A probe is a real use: what the key makes, the key
 * must take back, and must not take back when it was changed.
 *
 * Secret halves: signature 32-byte seed (FIPS 204), kem 64-byte seed (FIPS 203), hybrid-kem 96 bytes
 * (hybrid-kem.ts), mac 48 bytes for HMAC-SHA3-384 (FIPS 198-1), aead 32 bytes for AES-256-GCM.
 */

import type { KeyKind } from '#schemas/layers.ts';
import { equalConstantTime, toHex, utf8 } from '#shared/crypto/bytes.ts';
import { invariant } from '#shared/crypto/errors.ts';
import { sizes, type CryptoProvider, type Encapsulated } from '#shared/crypto/provider.ts';
import {
  hybridDecapsulate,
  hybridEncapsulate,
  hybridPublicKey,
  hybridSizes,
} from '#shared/crypto/hybrid-kem.ts';
import { openEnvelope, sealEnvelope } from './dek-envelope.ts';

/** A key in the open, for as long as one use lasts. */
export interface OpenKey {
  readonly kind: KeyKind;
  readonly slot: string;
  readonly keyId: string;
  /** Wiped by whoever took the key out of the store. */
  readonly secret: Uint8Array;
  /** Absent for symmetric keys. */
  readonly publicKey?: Uint8Array;
}

/** Something that a key made, kept so that the key can be tried later. Holds no secret. */
export interface Artefact {
  readonly input: Uint8Array;
  readonly output: Uint8Array;
}

export const secretBytes: Readonly<Record<KeyKind, number>> = {
  signature: sizes.mlDsa87.seed,
  kem: sizes.mlKem1024.seed,
  'hybrid-kem': hybridSizes.secret,
  mac: 48,
  aead: sizes.aead.key,
};

const commitmentLabel = utf8('gyre/v1/key-commitment');
const canaryContext = utf8('gyre/v1/canary');
const probeBytes = 32;

/** A fresh key; the caller wipes `secret`. */
export function generateKey(crypto: CryptoProvider, kind: KeyKind, slot: string): OpenKey {
  const secret = crypto.randomBytes(secretBytes[kind]);
  const publicKey = publicHalf(crypto, kind, secret);
  const named = publicKey ?? crypto.hmacSha3_384(secret, commitmentLabel);
  const keyId = toHex(crypto.sha3_256(named));
  return { kind, slot, keyId, secret, ...(publicKey === undefined ? {} : { publicKey }) };
}

/** Context of ordinary signatures by the key of a slot: never that of a proof or a probe. */
export function slotContext(slot: string): Uint8Array {
  return utf8(`gyre/v1/slot/${slot}`);
}

export function signWith(
  crypto: CryptoProvider,
  key: OpenKey,
  input: { readonly message: Uint8Array; readonly context: Uint8Array },
): Uint8Array {
  const signingKey = crypto.importSigningSeed(key.secret);
  try {
    return crypto.sign(signingKey, input);
  } finally {
    signingKey.wipe();
  }
}

export function verifyWith(
  crypto: CryptoProvider,
  publicKey: Uint8Array,
  input: {
    readonly message: Uint8Array;
    readonly context: Uint8Array;
    readonly signature: Uint8Array;
  },
): boolean {
  return crypto.verify(crypto.importVerifyKey(publicKey), input);
}

/** A shared secret of 32 bytes to the public half of a kem or hybrid-kem key. */
export function encapsulateTo(
  crypto: CryptoProvider,
  kind: 'kem' | 'hybrid-kem',
  publicKey: Uint8Array,
): Encapsulated {
  return kind === 'kem'
    ? crypto.encapsulate(crypto.importKemPublicKey(publicKey))
    : hybridEncapsulate(crypto, publicKey);
}

/** @throws CryptoError CIPHERTEXT_INVALID, KEY_AGREEMENT_FAILED */
export function decapsulateWith(
  crypto: CryptoProvider,
  key: OpenKey,
  ciphertext: Uint8Array,
): Uint8Array {
  if (key.kind === 'hybrid-kem') return hybridDecapsulate(crypto, key.secret, ciphertext);
  const kemKey = crypto.importKemSeed(key.secret);
  try {
    return crypto.decapsulate(kemKey, ciphertext);
  } finally {
    kemKey.wipe();
  }
}

/** Uses the key once; `checkArtefact` takes it back. */
export function makeArtefact(crypto: CryptoProvider, key: OpenKey): Artefact {
  const input = crypto.randomBytes(probeBytes);
  switch (key.kind) {
    case 'signature':
      return { input, output: signWith(crypto, key, { message: input, context: canaryContext }) };
    case 'mac':
      return { input, output: crypto.hmacSha3_384(key.secret, input) };
    case 'aead': {
      const output = sealEnvelope(crypto, key, { plaintext: input, aad: canaryContext });
      return { input: crypto.sha3_256(input), output };
    }
    case 'kem':
    case 'hybrid-kem': {
      const made = encapsulateTo(crypto, key.kind, publicKeyOf(key));
      const digest = crypto.sha3_256(made.sharedSecret);
      made.sharedSecret.fill(0);
      return { input: digest, output: made.ciphertext };
    }
  }
}

/** Whether the key takes back what it made. */
export function checkArtefact(crypto: CryptoProvider, key: OpenKey, artefact: Artefact): boolean {
  const { input, output } = artefact;
  switch (key.kind) {
    case 'signature':
      return verifyWith(crypto, publicKeyOf(key), {
        message: input,
        context: canaryContext,
        signature: output,
      });
    case 'mac':
      return equalConstantTime(crypto.hmacSha3_384(key.secret, input), output);
    case 'aead': {
      const opened = openEnvelope(crypto, key, { ciphertext: output, aad: canaryContext });
      return opened !== undefined && equalConstantTime(crypto.sha3_256(opened), input);
    }
    case 'kem':
    case 'hybrid-kem': {
      const shared = decapsulateWith(crypto, key, output);
      const digest = crypto.sha3_256(shared);
      shared.fill(0);
      return equalConstantTime(digest, input);
    }
  }
}

/** A real use, both ways: takes back what it made, and not what was changed afterwards. */
export function probe(crypto: CryptoProvider, key: OpenKey): boolean {
  const artefact = makeArtefact(crypto, key);
  if (!checkArtefact(crypto, key, artefact)) return false;
  const changed = Uint8Array.from(artefact.output);
  changed[0] = (changed[0] ?? 0) ^ 1;
  return !checkArtefact(crypto, key, { input: artefact.input, output: changed });
}

/** The public half of a key whose kind has one. */
export function publicKeyOf(key: OpenKey): Uint8Array {
  invariant(key.publicKey !== undefined, 'an asymmetric key has a public half');
  return key.publicKey;
}

function publicHalf(
  crypto: CryptoProvider,
  kind: KeyKind,
  secret: Uint8Array,
): Uint8Array | undefined {
  switch (kind) {
    case 'signature': {
      const key = crypto.importSigningSeed(secret);
      key.wipe();
      return key.publicKey.raw;
    }
    case 'kem': {
      const key = crypto.importKemSeed(secret);
      key.wipe();
      return key.publicKey.raw;
    }
    case 'hybrid-kem':
      return hybridPublicKey(crypto, secret);
    case 'mac':
    case 'aead':
      return undefined;
  }
}
