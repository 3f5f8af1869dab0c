/**
 * AES-256 keys in a token, made there and never out of it: making, finding and judging them, and
 * AES-256-GCM under one (NIST SP 800-38D, the IV drawn anew for each call). Used in the token child
 * only. A key may do nothing but encrypt and decrypt; one with other attributes is refused, since it
 * may have been planted.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { endianness } from 'node:os';

import { translateCall } from './pkcs11-errors.ts';
import type { Attribute, Handle, Mechanism, Pkcs11 } from './pkcs11-library.ts';
import { call } from './pkcs11-slot.ts';
import { ivBytes, tagBytes } from './seed-file.ts';
import type { WrappedSeed } from './seed-file.ts';
import type { SeedWrapper } from './seed-keys.ts';
import { TokenError } from './token.ts';

export interface AesKeyName {
  /** CKA_LABEL: the name. */
  readonly label: string;
  /** CKA_ID, where one is asked for. */
  readonly id?: Uint8Array;
}

const aesKeyGen = 0x1080;
const aesGcm = 0x1087;
/** pkcs11js: CK_GCM_PARAMS as PKCS#11 v2.40 has it, with ulIvBits. */
const gcmParameters = 0x19;
const keyBytes = 32;
/** CKA_ID */
const idAttribute = 0x102;
/** Room beside the input: the tag, and a block more for libraries that want one. */
const outputExtraBytes = tagBytes + 16;
/** More keys of one name than this are not looked at. */
const foundMax = 16;

/**
 * What a key must be; CKA_LOCAL and the two histories only a token itself can set. CKA_VERIFY is false for
 * new keys and not asked for: keys made before have it, and a MAC that is right says nothing of the key.
 */
const required: readonly Required[] = [
  { type: 0x0, name: 'CKA_CLASS', value: 4 }, // CKO_SECRET_KEY
  { type: 0x100, name: 'CKA_KEY_TYPE', value: 0x1f }, // CKK_AES
  { type: 0x161, name: 'CKA_VALUE_LEN', value: keyBytes },
  { type: 0x1, name: 'CKA_TOKEN', value: true },
  { type: 0x2, name: 'CKA_PRIVATE', value: true },
  { type: 0x103, name: 'CKA_SENSITIVE', value: true },
  { type: 0x162, name: 'CKA_EXTRACTABLE', value: false },
  { type: 0x163, name: 'CKA_LOCAL', value: true },
  { type: 0x164, name: 'CKA_NEVER_EXTRACTABLE', value: true },
  { type: 0x165, name: 'CKA_ALWAYS_SENSITIVE', value: true },
  { type: 0x104, name: 'CKA_ENCRYPT', value: true },
  { type: 0x105, name: 'CKA_DECRYPT', value: true },
  { type: 0x106, name: 'CKA_WRAP', value: false },
  { type: 0x107, name: 'CKA_UNWRAP', value: false },
  { type: 0x108, name: 'CKA_SIGN', value: false },
  { type: 0x10c, name: 'CKA_DERIVE', value: false },
  { type: 0x170, name: 'CKA_MODIFIABLE', value: false },
];

interface Required {
  readonly type: number;
  readonly name: string;
  readonly value: boolean | number;
}

/** One key as what wraps; the handle is of the session. */
export class AesKey implements SeedWrapper {
  readonly #library: Pkcs11;
  readonly #session: Handle;
  readonly #key: Handle;

  constructor(library: Pkcs11, session: Handle, key: Handle) {
    this.#library = library;
    this.#session = session;
    this.#key = key;
  }

  async wrap(bytes: Uint8Array, aad: Uint8Array): Promise<WrappedSeed> {
    const iv = randomBytes(ivBytes);
    const sealed = await this.#cipher('encrypt', { input: bytes, iv, aad });
    return { iv: new Uint8Array(iv), sealed };
  }

  unwrap({ iv, sealed }: WrappedSeed, aad: Uint8Array): Promise<Uint8Array> {
    return this.#cipher('decrypt', { input: sealed, iv, aad });
  }

  async #cipher(
    direction: 'encrypt' | 'decrypt',
    data: { input: Uint8Array; iv: Uint8Array; aad: Uint8Array },
  ): Promise<Uint8Array> {
    // SoftHSM accepts an empty IV, so it is checked here.
    assert(data.iv.length === ivBytes, 'AES-GCM needs its 12-byte IV');
    const iv = Buffer.from(data.iv);
    const aad = Buffer.from(data.aad);
    const input = Buffer.from(data.input);
    const output = Buffer.alloc(input.length + outputExtraBytes);
    const what = direction === 'encrypt' ? 'C_Encrypt' : 'C_Decrypt';
    try {
      this.#library[`${what}Init`](this.#session, gcm(iv, aad), this.#key);
      const result = await this.#library[`${what}Async`](this.#session, input, output);
      return new Uint8Array(result);
    } catch (error) {
      throw translateCall(what, error);
    } finally {
      // Wiped, and so referenced for as long as the library works on them in another thread.
      for (const buffer of [iv, aad, input, output]) buffer.fill(0);
    }
  }
}

/** Makes a key, durable when this returns. The session has to be writable. */
export function makeAesKey(library: Pkcs11, session: Handle, name: AesKeyName): Handle {
  const key = call('C_GenerateKey', () =>
    library.C_GenerateKey(session, { mechanism: aesKeyGen, parameter: null }, newKey(name)),
  );
  requireGoodKey(library, session, key);
  return key;
}

/** At most 16 of that name, none of them judged yet. */
export function findAesKeys(library: Pkcs11, session: Handle, name: AesKeyName): Handle[] {
  return call('C_FindObjects', () => {
    library.C_FindObjectsInit(session, named(name));
    const found = library.C_FindObjects(session, foundMax);
    library.C_FindObjectsFinal(session);
    return found;
  });
}

/** TOKEN_FAILED for a key that was brought in, may leave or be changed, or is another than it should be. */
export function requireGoodKey(library: Pkcs11, session: Handle, key: Handle): void {
  const types = required.map(({ type }) => type);
  const found = attributesOf(library, session, { key, types });
  for (const { type, name, value } of required) {
    if (numberOf(found.get(type)) === BigInt(value)) continue;
    throw new TokenError('TOKEN_FAILED', `the wrapping key is refused: ${name} is not ${value}`);
  }
}

export function idOf(library: Pkcs11, session: Handle, key: Handle): Uint8Array {
  const found = attributesOf(library, session, { key, types: [idAttribute] });
  return new Uint8Array(found.get(idAttribute) ?? []);
}

function attributesOf(
  library: Pkcs11,
  session: Handle,
  { key, types }: { readonly key: Handle; readonly types: readonly number[] },
): ReadonlyMap<number, Buffer> {
  const found = call('C_GetAttributeValue', () =>
    library.C_GetAttributeValue(
      session,
      key,
      types.map((type) => ({ type })),
    ),
  );
  return new Map(found.map(({ type, value }) => [type, value]));
}

/** CK_BBOOL and CK_ULONG, as the machine has them; undefined for what is neither. */
function numberOf(value: Buffer | undefined): bigint | undefined {
  if (value === undefined || value.length === 0 || value.length > 8) return undefined;
  const bytes = endianness() === 'LE' ? Buffer.from(value).reverse() : value;
  return BigInt(`0x${bytes.toString('hex')}`);
}

function gcm(iv: Buffer, aad: Buffer): Mechanism {
  const parameter = { type: gcmParameters, iv, ivBits: iv.length * 8, aad, tagBits: tagBytes * 8 };
  return { mechanism: aesGcm, parameter };
}

function named({ label, id }: AesKeyName): Attribute[] {
  return [
    { type: 0x0, value: 4 }, // CKA_CLASS = CKO_SECRET_KEY
    { type: 0x3, value: label }, // CKA_LABEL
    ...(id === undefined ? [] : [{ type: idAttribute, value: Buffer.from(id) }]),
  ];
}

function newKey(name: AesKeyName): Attribute[] {
  return [
    ...named(name),
    { type: 0x100, value: 0x1f }, // CKA_KEY_TYPE = CKK_AES
    { type: 0x161, value: keyBytes }, // CKA_VALUE_LEN: AES-256
    { type: 0x1, value: true }, // CKA_TOKEN
    { type: 0x2, value: true }, // CKA_PRIVATE
    { type: 0x103, value: true }, // CKA_SENSITIVE
    { type: 0x162, value: false }, // CKA_EXTRACTABLE
    { type: 0x104, value: true }, // CKA_ENCRYPT
    { type: 0x105, value: true }, // CKA_DECRYPT
    { type: 0x106, value: false }, // CKA_WRAP
    { type: 0x107, value: false }, // CKA_UNWRAP
    { type: 0x108, value: false }, // CKA_SIGN
    { type: 0x10a, value: false }, // CKA_VERIFY
    { type: 0x10c, value: false }, // CKA_DERIVE
    { type: 0x170, value: false }, // CKA_MODIFIABLE
  ];
}
