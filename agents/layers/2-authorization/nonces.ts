/**
 * The nonce of a capability: the version of the key of its MAC, the generation in which it was made
 * (used-once.ts), 16 random bytes, and HMAC-SHA3-384 under 2/nonce-mac over these and over what the
 * capability says. Rubbish is told from a nonce by one MAC,
 * before a signature is looked at or the replay store is touched; and a nonce fits no other capability.
 */

import type { CapabilityClaims } from '#schemas/authorization.ts';
import {
  equalConstantTime,
  fromBase64Url,
  lengthPrefixed,
  toBase64Url,
  uint64,
  utf8,
} from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import type { StoredVersion } from '../embedded/key-store.ts';

export const nonceSlot = '2/nonce-mac';

const randomBytes = 16;
const label = utf8('gyre/v1/capability-nonce');

type Said = Pick<CapabilityClaims, 'sub' | 'aud' | 'scope' | 'exp'>;

interface Made {
  readonly generation: number;
  readonly random: Uint8Array;
}

export type NonceVerdict =
  | {
      readonly status: 'ours';
      readonly id: Uint8Array;
      readonly version: number;
      readonly generation: number;
    }
  | { readonly status: 'refused'; readonly code: 'CAPABILITY_INVALID' | 'CAPABILITY_KEY_UNKNOWN' };

export class Nonces {
  readonly #keys: EmbeddedAdapter;
  readonly #crypto: CryptoProvider;

  constructor(keys: EmbeddedAdapter, crypto: CryptoProvider) {
    this.#keys = keys;
    this.#crypto = crypto;
  }

  make(stored: StoredVersion, generation: number, said: Said): string {
    const random = this.#crypto.randomBytes(randomBytes);
    const mac = this.#macOf(stored, { generation, random }, said);
    return `${stored.version}.${generation}.${toBase64Url(random)}.${toBase64Url(mac)}`;
  }

  /** `nonce` is of the form of `CapabilityClaims`. */
  check(nonce: string, said: Said): NonceVerdict {
    const [version = '', generationText = '', randomText = '', macText = ''] = nonce.split('.');
    const generation = Number(generationText);
    const random = fromBase64Url(randomText);
    const mac = fromBase64Url(macText);
    if (random === undefined || mac === undefined) return refused('CAPABILITY_INVALID');
    const stored = this.#keys.store.version(nonceSlot, Number(version));
    if (stored === undefined || stored.state === 'prepared' || stored.state === 'destroyed') {
      return refused('CAPABILITY_KEY_UNKNOWN');
    }
    const expected = this.#macOf(stored, { generation, random }, said);
    if (!equalConstantTime(expected, mac)) return refused('CAPABILITY_INVALID');
    return { status: 'ours', id: random, version: stored.version, generation };
  }

  #macOf(stored: StoredVersion, { generation, random }: Made, said: Said): Uint8Array {
    const text = [String(stored.version), said.sub, said.aud, said.scope].map(utf8);
    const numbers = [uint64(generation), uint64(said.exp)];
    const message = lengthPrefixed(label, random, ...text, ...numbers);
    return this.#keys.store.withKey(stored, ({ secret }) =>
      this.#crypto.hmacSha3_384(secret, message),
    );
  }
}

function refused(code: 'CAPABILITY_INVALID' | 'CAPABILITY_KEY_UNKNOWN'): NonceVerdict {
  return { status: 'refused', code };
}
