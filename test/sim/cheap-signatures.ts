/**
 * SIMULATION, NO CRYPTOGRAPHY: for test/sim only. Signatures of the simulated provider, in the sizes of
 * ML-DSA-87 and SLH-DSA-SHAKE-256s: 32 random bytes, and a hash over them, the public key, the context and
 * the message, repeated to the end. A signature holds for this very key, message and context, and with no
 * bit of it changed. Whoever knows this file can forge one from the public key alone; through the provider
 * nobody can.
 */

import { KeyVault, type SigningKey, type VerifyKey } from '#shared/crypto/key-handle.ts';
import { checkContext, publicHandle, requireKeyLength } from '#shared/crypto/provider-checks.ts';
import type {
  SignatureFunctions,
  SignInput,
  SlhDsaFunctions,
  VerifyInput,
} from '#shared/crypto/provider.ts';
import { sizes } from '#shared/crypto/provider.ts';
import { digestOf, domains, fillWith, hashing, isFilledWith, type Domain } from './cheap-hash.ts';
import type { Draws } from './model.ts';

const hedgeBytes = 32;
const sha3_256 = hashing(domains.sha3_256, 32);
/** Of all instances: a key that one of them imported is good in every other. */
const signingKeys = new KeyVault<Uint8Array>();
const slhDsaKeys = new KeyVault<Uint8Array>();

export function cheapSignatures(draws: Draws): SignatureFunctions {
  const { signature: signatureBytes, seed: seedBytes, publicKey: publicBytes } = sizes.mlDsa87;
  const { signature: domain } = domains;
  const sign = (key: SigningKey, input: SignInput): Uint8Array => {
    checkContext(input);
    signingKeys.take(key);
    const signer = key.publicKey.keyId;
    return signatureOf(input, { domain, signer, bytes: signatureBytes, hedge: draws });
  };
  const verify = (key: VerifyKey, input: VerifyInput): boolean => {
    checkContext(input);
    if (input.signature.length !== signatureBytes) return false;
    return holds(input, { domain, signer: key.keyId });
  };
  return {
    importSigningSeed: (seed) => {
      requireKeyLength(seed, seedBytes, 'an ML-DSA-87 seed');
      const material = seed.slice();
      const pattern = digestOf(domains.signingPublicKey, material);
      const raw = fillWith(new Uint8Array(publicBytes), pattern);
      return signingKeys.putPrivate(publicHandle('ML-DSA-87', raw, sha3_256), material);
    },
    importVerifyKey: (raw) => {
      requireKeyLength(raw, publicBytes, 'an ML-DSA-87 public key');
      return publicHandle('ML-DSA-87', raw, sha3_256);
    },
    sign,
    verify,
    signAsync: async (key, input) => await Promise.resolve(sign(key, input)),
    verifyAsync: async (key, input) => await Promise.resolve(verify(key, input)),
  };
}

/** The secret is SK.seed ‖ SK.prf ‖ PK.seed ‖ PK.root, as in FIPS 205; the public key its second half. */
export function cheapSlhDsa(draws: Draws): SlhDsaFunctions {
  const form = sizes.slhDsaShake256s;
  const { slhDsaSignature: domain } = domains;
  const verify = (publicKey: Uint8Array, input: VerifyInput): boolean => {
    checkContext(input);
    requireKeyLength(publicKey, form.publicKey, 'an SLH-DSA-SHAKE-256s public key');
    if (input.signature.length !== form.signature) return false;
    return holds(input, { domain, signer: publicKey });
  };
  return {
    generateSlhDsaKey: () => {
      const secretKey = new Uint8Array(form.secretKey);
      secretKey.set(draws.bytes(form.seed));
      secretKey.set(rootOf(secretKey), form.seed);
      return { secretKey, publicKey: secretKey.slice(-form.publicKey) };
    },
    importSlhDsaSecret: (raw) => {
      requireKeyLength(raw, form.secretKey, 'an SLH-DSA-SHAKE-256s secret');
      const publicKey = raw.subarray(-form.publicKey);
      const handle = publicHandle('SLH-DSA-SHAKE-256s', publicKey, sha3_256);
      return slhDsaKeys.putPrivate(handle, raw.slice());
    },
    signSlhDsaAsync: async (key, input) => {
      checkContext(input);
      const signer = slhDsaKeys.take(key).slice(-form.publicKey);
      // A secret with the root of another one makes signatures that do not hold.
      signer.set(rootOf(slhDsaKeys.take(key)), 32);
      const bytes = form.signature;
      return await Promise.resolve(signatureOf(input, { domain, signer, bytes, hedge: draws }));
    },
    verifySlhDsa: verify,
    verifySlhDsaAsync: async (publicKey, input) => await Promise.resolve(verify(publicKey, input)),
  };
}

function rootOf(secretKey: Uint8Array): Uint8Array {
  return digestOf(domains.slhDsaRoot, secretKey.subarray(0, 32), secretKey.subarray(64, 96));
}

interface Signing {
  readonly domain: Domain;
  /** Public key, or its id. */
  readonly signer: Uint8Array;
  readonly bytes: number;
  readonly hedge: Draws;
}

function signatureOf(input: SignInput, { domain, signer, bytes, hedge }: Signing): Uint8Array {
  const signature = new Uint8Array(bytes);
  const drawn = hedge.bytes(hedgeBytes);
  signature.set(drawn);
  const proof = digestOf(domain, drawn, signer, input.context, input.message);
  return fillWith(signature, proof, hedgeBytes);
}

function holds(
  input: VerifyInput,
  { domain, signer }: Pick<Signing, 'domain' | 'signer'>,
): boolean {
  const { context, message, signature } = input;
  const drawn = signature.subarray(0, hedgeBytes);
  return isFilledWith(signature, digestOf(domain, drawn, signer, context, message), hedgeBytes);
}
