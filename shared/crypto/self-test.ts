/**
 * Self-tests in the manner of FIPS 140-3 section 10.3: before a provider is taken, each algorithm
 * gives a known answer where it is deterministic, and its two halves agree with each other where it
 * is not; and what must be refused is refused. Keys are counted up from zero and guard nothing.
 * The answers come from both providers; the digests of "abc" are FIPS 202's and BLAKE3's own.
 */
import type { KnownAlgorithm } from './algorithm-catalogue.ts';
import { equalConstantTime, toHex, utf8 } from './bytes.ts';
import {
  hybridDecapsulate,
  hybridEncapsulate,
  hybridPublicKey,
  hybridSizes,
} from './hybrid-kem.ts';
import type { AeadAlgorithm, CryptoProvider, KemAlgorithm, SignInput } from './provider.ts';
import { kemSizes } from './provider.ts';

type SelfTest = (crypto: CryptoProvider) => boolean | Promise<boolean>;

const input: SignInput = { message: utf8('abc'), context: utf8('gyre/v1/self-test') };
const none = new Uint8Array(0);

const tests: Readonly<Record<KnownAlgorithm, SelfTest>> = {
  'ML-DSA-87': signsAndVerifies,
  'SLH-DSA-SHAKE-256s': signsAndVerifiesSlowly,
  'ML-KEM-1024': kem('ML-KEM-1024', {
    keyId: '61349e5c131a7e116a0463861d7d18663c5627c38c7147ddaadfd48acd7a4535',
    rejected: 'fa0e8f717366945dc1177a1b3eef44bd329bc1d0987e4e4a12bc0373aa096a37',
  }),
  'ML-KEM-768': kem('ML-KEM-768', {
    keyId: 'a24e16d8f8f9383a95b77050f4d9fd2f5733eec1d63ef3c23ebf9918173669a7',
    rejected: '2dcec6eacd41f41e98bbf1e6c4b6d1cfa76d83079fa78decb49d77f6ff9b796d',
  }),
  X25519MLKEM1024: hybrid,
  'AES-256-GCM': aead('AES-256-GCM', '4703d404d86bf9eea07a8c90eedf2ee21a51ce'),
  'ChaCha20-Poly1305': aead('ChaCha20-Poly1305', '89fa0afdaaa56389148acf41730df740e9dc88'),
  'SHA3-256': digest(
    (crypto, message) => crypto.sha3_256(message),
    '3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532',
  ),
  'SHA3-384': digest(
    (crypto, message) => crypto.sha3_384(message),
    'ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25',
  ),
  'SHA3-512': digest(
    (crypto, message) => crypto.sha3_512(message),
    'b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0',
  ),
  'SHA-256': digest(
    (crypto, message) => crypto.sha256(message),
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  ),
  BLAKE3: digest(
    (crypto, message) => crypto.blake3(message),
    '6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85',
  ),
  'HMAC-SHA3-384': digest(
    (crypto, message) => crypto.hmacSha3_384(counting(48), message),
    '03e7f945f5f7be8a78a3d50cacf864b388da66a0fd15d1b657c4bce663b2ce6f05d7ced8cdc0ff81ffe1c2881460003a',
  ),
};

/** Whether `crypto` carries out `algorithm` as it should. What it throws counts as a failure. */
export async function softwareSelfTest(
  crypto: CryptoProvider,
  algorithm: KnownAlgorithm,
): Promise<boolean> {
  try {
    return await tests[algorithm](crypto);
  } catch {
    // A provider that cannot even answer has failed its test, whatever the reason.
    return false;
  }
}

function signsAndVerifies(crypto: CryptoProvider): boolean {
  const known = 'e6cf50a9c2fa5234f59949ff61f8161db4d629532127f4aefa8bb10811ecfb1e';
  const key = crypto.importSigningSeed(counting(32));
  const signature = crypto.sign(key, input);
  const verifyKey = crypto.importVerifyKey(key.publicKey.raw);
  key.wipe();
  return (
    key.publicKey.keyIdHex === known &&
    crypto.verify(verifyKey, { ...input, signature }) &&
    !crypto.verify(verifyKey, { ...input, context: none, signature }) &&
    !crypto.verify(verifyKey, { ...input, signature: flipped(signature) })
  );
}

async function signsAndVerifiesSlowly(crypto: CryptoProvider): Promise<boolean> {
  const { secretKey, publicKey } = crypto.generateSlhDsaKey();
  const key = crypto.importSlhDsaSecret(secretKey);
  secretKey.fill(0);
  const signature = await crypto.signSlhDsaAsync(key, input);
  key.wipe();
  return (
    crypto.verifySlhDsa(publicKey, { ...input, signature }) &&
    !crypto.verifySlhDsa(publicKey, { ...input, context: none, signature }) &&
    !crypto.verifySlhDsa(publicKey, { ...input, signature: flipped(signature) })
  );
}

function kem(
  algorithm: KemAlgorithm,
  known: { readonly keyId: string; readonly rejected: string },
): SelfTest {
  return (crypto) => {
    const key = crypto.importKemSeed(counting(kemSizes[algorithm].seed), algorithm);
    const publicKey = crypto.importKemPublicKey(key.publicKey.raw, algorithm);
    const { ciphertext, sharedSecret } = crypto.encapsulate(publicKey);
    const opened = crypto.decapsulate(key, ciphertext);
    const rejected = crypto.decapsulate(key, counting(kemSizes[algorithm].ciphertext));
    key.wipe();
    return (
      key.publicKey.keyIdHex === known.keyId &&
      equalConstantTime(opened, sharedSecret) &&
      toHex(rejected) === known.rejected
    );
  };
}

function hybrid(crypto: CryptoProvider): boolean {
  const known = '3aa07816f6833bd50d3d94873dd6dff469d1d6e935220553b7e0fc38ac0b414d';
  const secret = counting(hybridSizes.secret);
  const publicKey = hybridPublicKey(crypto, secret);
  const { ciphertext, sharedSecret } = hybridEncapsulate(crypto, publicKey);
  const opened = hybridDecapsulate(crypto, secret, ciphertext);
  const rejected = hybridDecapsulate(crypto, secret, counting(hybridSizes.ciphertext));
  return equalConstantTime(opened, sharedSecret) && toHex(rejected) === known;
}

function aead(algorithm: AeadAlgorithm, known: string): SelfTest {
  return (crypto) => {
    const parameters = { algorithm, key: counting(32), nonce: counting(12), aad: counting(5) };
    const plaintext = counting(3);
    const ciphertext = crypto.aeadSeal({ ...parameters, plaintext });
    const opened = crypto.aeadOpen({ ...parameters, ciphertext });
    return (
      toHex(ciphertext) === known &&
      opened !== undefined &&
      equalConstantTime(opened, plaintext) &&
      crypto.aeadOpen({ ...parameters, ciphertext: flipped(ciphertext) }) === undefined
    );
  };
}

function digest(
  work: (crypto: CryptoProvider, message: Uint8Array) => Uint8Array,
  known: string,
): SelfTest {
  return (crypto) => toHex(work(crypto, input.message)) === known;
}

/** 0, 1, 2 … */
function counting(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => index);
}

function flipped(bytes: Uint8Array): Uint8Array {
  return bytes.with(0, (bytes[0] ?? 0) ^ 1);
}
