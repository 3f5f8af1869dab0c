/**
 * SIMULATION, NO CRYPTOGRAPHY: for test/sim only. A provider with the interface, the sizes and the refusals
 * of the real ones at a hundredth of their cost, so that thousands of worlds fit into minutes. It keeps
 * what the protocol relies on (a signature holds for one key, message and context; sealed bytes open only
 * unchanged and under their key; both ends of a key exchange agree; hashes tell inputs apart) against
 * everyone who goes through the provider, and against nobody who goes around it.
 *
 * Invariant: everything it makes is made of its arguments and of its draws. Two instances with other draws
 * understand each other; even handles of keys are good in all of them. It gives no known answers, and so
 * fails the self-tests of `shared/crypto/self-test.ts`: it never gets into a process.
 */

import { invariant } from '#shared/crypto/errors.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { aeadOpen, aeadSeal } from './cheap-aead.ts';
import { domains, hashing, hkdf, hmac, sha256 } from './cheap-hash.ts';
import { cheapAgreement, cheapKem } from './cheap-key-exchange.ts';
import { cheapSignatures, cheapSlhDsa } from './cheap-signatures.ts';
import type { Draws } from './model.ts';

const randomBytesMax = 65_536;

/** Every random byte comes from `draws`; give each agent and each of its lives a fork of its own. */
export function simulatedCrypto(draws: Draws): CryptoProvider {
  return {
    // Of the two names that there are.
    name: 'native',
    randomBytes: (count) => {
      invariant(count >= 1 && count <= randomBytesMax, '1 to 65,536 random bytes');
      return draws.bytes(count);
    },
    ...cheapSignatures(draws),
    ...cheapSlhDsa(draws),
    ...cheapKem(draws),
    ...cheapAgreement(),
    aeadSeal,
    aeadOpen,
    hkdfSha256: hkdf,
    hmacSha3_384: hmac,
    sha256,
    sha3_256: hashing(domains.sha3_256, 32),
    sha3_384: hashing(domains.sha3_384, 48),
    sha3_512: hashing(domains.sha3_512, 64),
    blake3: hashing(domains.blake3, 32),
  };
}
