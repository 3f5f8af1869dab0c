/**
 * NKEYs: the Ed25519 keys with which principals prove to a nats-server who they are. They fence the
 * connection only; what is said over it is vouched for by the sealed event.
 */
import { createUser } from '@nats-io/nkeys';

export interface Nkey {
  /** `U` and 55 characters of base32: goes into the server's configuration and the enrolment. */
  readonly publicKey: string;
  /** The seed in its text form, 58 bytes of ASCII. The caller wipes it. */
  readonly seed: Uint8Array;
}

/** A fresh user NKEY from the entropy of the operating system. */
export function createNkey(): Nkey {
  const pair = createUser();
  const nkey = { publicKey: pair.getPublicKey(), seed: Uint8Array.from(pair.getSeed()) };
  pair.clear();
  return nkey;
}
