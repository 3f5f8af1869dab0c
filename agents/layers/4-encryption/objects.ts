/**
 * Encryption of whole objects, as a library: the routes of the service call nothing else. Each object
 * gets a data key of its own, which seals that object and no other. An object belongs to its owner and
 * its context, and opens for both together only.
 */

import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import { Refused } from '../service/http-app.ts';
import type { KeptSettings } from '../service/kept-settings.ts';
import { openObject, sealObject } from '../service/sealed-object.ts';
import type { DataKeyStore, ObjectName } from './data-key-store.ts';
import {
  dataKeyBits,
  dataKeyStatus,
  type BoundObject,
  type DataKeyCode,
  type DataKeys,
} from './data-keys.ts';

export const objectStatus = {
  ...dataKeyStatus,
  /** The data key that is asked for is shorter than the policy allows. */
  KEY_TOO_SHORT: 422,
  CIPHERTEXT_INVALID: 422,
} as const;
export type ObjectCode = DataKeyCode | 'KEY_TOO_SHORT' | 'CIPHERTEXT_INVALID';

export interface ObjectsOptions {
  readonly dataKeys: DataKeys;
  readonly store: DataKeyStore;
  readonly settings: KeptSettings;
  readonly crypto: CryptoProvider;
}

export class Objects {
  readonly #options: ObjectsOptions;

  constructor(options: ObjectsOptions) {
    this.#options = options;
  }

  /**
   * Seals an object; the same object again gives the same bytes. `keyBits`: the least that the caller
   * wants, never what he gets at the most. @throws Refused, AdapterError
   */
  async encrypt(
    object: BoundObject,
    plaintext: Uint8Array,
    keyBits: number = dataKeyBits,
  ): Promise<{ readonly sealed: Uint8Array; readonly kekVersion: number }> {
    const { dataKeys, store, crypto } = this.#options;
    this.requireStrength(keyBits);
    const { key, kekVersion } = await dataKeys.make(object);
    try {
      const context = utf8(object.context);
      const { sealed, salt } = sealObject(crypto, key, { plaintext, context });
      if (store.claim(object, salt)) return { sealed, kekVersion };
    } finally {
      key.fill(0);
    }
    throw new Refused<ObjectCode>('DATA_KEY_USED', 'another object was sealed under this name');
  }

  /** The plaintext of what `encrypt` made. @throws Refused, AdapterError */
  async decrypt(object: BoundObject, sealed: Uint8Array): Promise<Uint8Array> {
    const { dataKeys, crypto } = this.#options;
    const { key } = await dataKeys.open(object);
    try {
      const plaintext = openObject(crypto, key, { sealed, context: utf8(object.context) });
      if (plaintext !== undefined) return plaintext;
    } finally {
      key.fill(0);
    }
    throw new Refused<ObjectCode>('CIPHERTEXT_INVALID', 'this is not what was sealed');
  }

  /** Nothing opens the object once this returns, or it is none; its name is free again. @throws AdapterError */
  remove(name: ObjectName): void {
    this.#options.store.shred(name);
  }

  /** What the policy asks of AES keys. @throws Refused KEY_TOO_SHORT */
  requireStrength(keyBits: number): void {
    const { aesKeyBitsMin } = this.#options.settings.current;
    if (keyBits >= aesKeyBitsMin && dataKeyBits >= aesKeyBitsMin) return;
    const what = `the policy asks for AES keys of ${aesKeyBitsMin} bits`;
    throw new Refused<ObjectCode>('KEY_TOO_SHORT', what);
  }
}
