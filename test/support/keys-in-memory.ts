/** A token whose keys are those of the test's world: a fake with behaviour, and no HSM. */

import { TokenError, type Token } from '#shared/runtime/token/token.ts';
import { concat } from '#shared/crypto/bytes.ts';
import type { World } from './world.ts';

export class KeysInMemory implements Token {
  readonly #world: Pick<World, 'keys' | 'crypto'>;

  constructor(world: Pick<World, 'keys' | 'crypto'>) {
    this.#world = world;
  }

  describe() {
    const notice = 'keys in memory: a test, not an HSM';
    return { kind: 'file', label: 'test', mode: 'file', isHsm: false, notice } as const;
  }

  generateKey(): Promise<{ publicKey: Uint8Array }> {
    return Promise.reject(new TokenError('KEY_EXISTS', 'the keys are there'));
  }

  publicKey(keyName: string): Promise<Uint8Array> {
    return Promise.resolve(this.#key(keyName).publicKey.raw);
  }

  sign(keyName: string, message: Uint8Array, context: Uint8Array): Promise<Uint8Array> {
    return this.#world.crypto.signAsync(this.#key(keyName), { message, context });
  }

  wrap(bytes: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    const nonce = this.#world.crypto.randomBytes(12);
    const sealed = this.#world.crypto.aeadSeal({
      ...this.#wrapping(nonce, purpose),
      plaintext: bytes,
    });
    return Promise.resolve(concat(nonce, sealed));
  }

  unwrap(wrapped: Uint8Array, purpose: Uint8Array): Promise<Uint8Array> {
    const bytes = this.#world.crypto.aeadOpen({
      ...this.#wrapping(wrapped.subarray(0, 12), purpose),
      ciphertext: wrapped.subarray(12),
    });
    return bytes === undefined
      ? Promise.reject(new TokenError('WRAPPING_INVALID', 'not wrapped for this'))
      : Promise.resolve(bytes);
  }

  canary() {
    return Promise.resolve({ ok: true, durationMs: 0 } as const);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #wrapping(nonce: Uint8Array, aad: Uint8Array) {
    const key = this.#world.crypto.sha3_256(this.#key('orchestration').publicKey.raw);
    return { algorithm: 'AES-256-GCM', key, nonce, aad } as const;
  }

  #key(keyName: string) {
    const key = this.#world.keys.get(keyName);
    if (key === undefined) throw new TokenError('KEY_UNKNOWN', keyName);
    return key;
  }
}
