/** The canary against tokens that behave badly: it must see each of them. */
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

import { describe, expect, test } from 'vitest';

import { canaryKeyName, requireCanary, runCanary } from '#shared/runtime/token/canary.ts';
import { TokenError } from '#shared/runtime/token/token.ts';

type Behaviour = (key: KeyObject, message: Uint8Array, context: Uint8Array) => Uint8Array;

/** A token in memory that signs by `behave`. */
class MemoryToken {
  readonly #keys = new Map<string, { privateKey: KeyObject; publicKey: Uint8Array }>();
  readonly #behave: Behaviour;

  constructor(behave: Behaviour) {
    this.#behave = behave;
  }

  get keyNames(): string[] {
    return [...this.#keys.keys()];
  }

  async generateKey(keyName: string): Promise<{ publicKey: Uint8Array }> {
    if (this.#keys.has(keyName)) throw new TokenError('KEY_EXISTS', keyName);
    const { privateKey, publicKey } = generateKeyPairSync('ml-dsa-87');
    const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(-2592);
    this.#keys.set(keyName, { privateKey, publicKey: raw });
    return { publicKey: raw };
  }

  async publicKey(keyName: string): Promise<Uint8Array> {
    return this.#key(keyName).publicKey;
  }

  async sign(keyName: string, message: Uint8Array, context: Uint8Array): Promise<Uint8Array> {
    return this.#behave(this.#key(keyName).privateKey, message, context);
  }

  #key(keyName: string): { privateKey: KeyObject; publicKey: Uint8Array } {
    const key = this.#keys.get(keyName);
    if (key === undefined) throw new TokenError('KEY_UNKNOWN', keyName);
    return key;
  }
}

const honest: Behaviour = (key, message, context) => sign(null, message, { key, context });
const otherKey = generateKeyPairSync('ml-dsa-87').privateKey;

describe('canary', () => {
  test('passes a token that signs with the context, and makes its key once', async () => {
    const token = new MemoryToken(honest);
    expect(await runCanary(token)).toMatchObject({ ok: true });
    expect(await runCanary(token)).toMatchObject({ ok: true });
    expect(token.keyNames).toEqual([canaryKeyName]);
  });

  test.each<[string, 'signature-invalid' | 'context-ignored', Behaviour]>([
    ['signs another message', 'signature-invalid', (key) => sign(null, Buffer.from('x'), key)],
    ['drops the context', 'context-ignored', (key, message) => sign(null, message, key)],
    ['answers rubbish', 'signature-invalid', () => randomBytes(4627)],
    ['answers too little', 'signature-invalid', () => randomBytes(64)],
    [
      'signs with another key',
      'signature-invalid',
      (_key, message, context) => honest(otherKey, message, context),
    ],
  ])('sees a token that %s', async (_name, reason, behave) => {
    const failure = { ok: false, code: 'TOKEN_CANARY_FAILED', reason };
    expect(await runCanary(new MemoryToken(behave))).toEqual(failure);
    const opening = requireCanary(new MemoryToken(behave));
    await expect(opening).rejects.toMatchObject({ code: 'TOKEN_CANARY_FAILED' });
  });

  test('lets the errors of the token through', async () => {
    const token = new MemoryToken(() => {
      throw new TokenError('TOKEN_TIMEOUT', 'slow');
    });
    await expect(runCanary(token)).rejects.toMatchObject({ code: 'TOKEN_TIMEOUT' });
  });
});
