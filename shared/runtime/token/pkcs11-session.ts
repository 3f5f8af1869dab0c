/**
 * One logged-in session with one token, and the AES-256 key in it that wraps the ML-DSA seeds. Used
 * in the token child only. The wrapping key was made by the token, cannot leave it, and may do
 * nothing but encrypt and decrypt; a key of that label with other attributes is refused, since it
 * may have been planted. Login happens exactly once per session object, and never after a refusal.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';

import { refusalBeforeLogin, translateCall, translateLogin } from './pkcs11-errors.ts';
import type { Attribute, Handle, Mechanism, Pkcs11 } from './pkcs11-library.ts';
import { ivBytes, tagBytes } from './seed-file.ts';
import type { WrappedSeed } from './seed-file.ts';
import type { SeedWrapper } from './seed-keys.ts';
import { TokenError, seedBytes } from './token.ts';

/** What the token says of itself; untrusted text, at most 32 characters each. */
export interface TokenInfo {
  manufacturer: string;
  model: string;
  /** The slot has CKF_HW_SLOT. */
  hardware: boolean;
}

export const wrappingKeyLabel = 'gyre-seed-wrapping-key';

const aesKeyGen = 0x1080;
const aesGcm = 0x1087;
/** pkcs11js: CK_GCM_PARAMS as PKCS#11 v2.40 has it, with ulIvBits. */
const gcmParameters = 0x19;
const encryptAndDecrypt = 0x300;
const hardwareSlot = 0x4;
const serialSession = 0x4;
const readWriteSession = 0x2;
const userPinInitialised = 0x8;
const securityOfficer = 0;
const normalUser = 1;
/** Room beside the input: the tag, and a block more for libraries that want one. */
const outputExtraBytes = tagBytes + 16;

const secretKeyTemplate: Attribute[] = [
  { type: 0x0, value: 4 }, // CKA_CLASS = CKO_SECRET_KEY
  { type: 0x3, value: wrappingKeyLabel }, // CKA_LABEL
];

/** What a wrapping key must be; CKA_LOCAL and the two histories only a token itself can set. */
const requiredFlags: [type: number, name: string, value: boolean][] = [
  [0x103, 'CKA_SENSITIVE', true],
  [0x162, 'CKA_EXTRACTABLE', false],
  [0x163, 'CKA_LOCAL', true],
  [0x164, 'CKA_NEVER_EXTRACTABLE', true],
  [0x165, 'CKA_ALWAYS_SENSITIVE', true],
  [0x106, 'CKA_WRAP', false],
  [0x107, 'CKA_UNWRAP', false],
];

export class Pkcs11Session implements SeedWrapper {
  readonly info: TokenInfo;
  readonly #library: Pkcs11;
  readonly #session: Handle;
  readonly #wrappingKey: Handle;
  private constructor(library: Pkcs11, session: Handle, wrappingKey: Handle, info: TokenInfo) {
    this.#library = library;
    this.#session = session;
    this.#wrappingKey = wrappingKey;
    this.info = info;
  }

  /**
   * One login, read-only. TOKEN_NOT_FOUND without exactly one token of that label,
   * TOKEN_MECHANISM_MISSING without AES-GCM, TOKEN_FAILED without exactly one good wrapping key.
   */
  static open(library: Pkcs11, label: string, pin: string): Pkcs11Session {
    const slot = findSlot(library, label);
    if (slot === null) throw new TokenError('TOKEN_NOT_FOUND', `no token has the label ${label}`);
    requireGcm(library, slot);
    const session = login(library, { slot, pin, writable: false });
    const [key, ...others] = findWrappingKeys(library, session);
    if (key === undefined || others.length > 0) {
      const found = key === undefined ? 'no' : 'more than one';
      throw new TokenError('TOKEN_FAILED', `the token has ${found} key named ${wrappingKeyLabel}`);
    }
    requireGoodKey(library, session, key);
    return new Pkcs11Session(library, session, key, tokenInfo(library, slot));
  }

  async wrap(seed: Uint8Array, aad: Uint8Array): Promise<WrappedSeed> {
    const iv = randomBytes(ivBytes);
    const sealed = await this.#cipher('encrypt', { input: seed, iv, aad });
    return { iv: new Uint8Array(iv), sealed };
  }

  unwrap(seed: WrappedSeed, aad: Uint8Array): Promise<Uint8Array> {
    return this.#cipher('decrypt', { input: seed.sealed, iv: seed.iv, aad });
  }

  /** Ends session and library; what fails here fails in a process that ends anyway. */
  close(): void {
    this.#library.C_Logout(this.#session);
    this.#library.C_CloseSession(this.#session);
    this.#library.C_Finalize();
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
    const call = direction === 'encrypt' ? 'C_Encrypt' : 'C_Decrypt';
    try {
      this.#library[`${call}Init`](this.#session, gcm(iv, aad), this.#wrappingKey);
      const result = await this.#library[`${call}Async`](this.#session, input, output);
      return new Uint8Array(result);
    } catch (error) {
      throw translateCall(call, error);
    } finally {
      // Wiped, and so referenced for as long as the library works on them in another thread.
      for (const buffer of [iv, aad, input, output]) buffer.fill(0);
    }
  }
}

/**
 * Makes the wrapping key if the token has none; true if it made one. Logs in once, writable. The
 * label of the key is its name, so a second one is never made.
 */
export function ensureWrappingKey(library: Pkcs11, label: string, pin: string): boolean {
  const slot = findSlot(library, label);
  if (slot === null) throw new TokenError('TOKEN_NOT_FOUND', `no token has the label ${label}`);
  requireGcm(library, slot);
  const session = login(library, { slot, pin, writable: true });
  const existing = findWrappingKeys(library, session);
  for (const key of existing) requireGoodKey(library, session, key);
  if (existing.length === 0) {
    const key = call('C_GenerateKey', () =>
      library.C_GenerateKey(session, { mechanism: aesKeyGen, parameter: null }, newKeyTemplate()),
    );
    requireGoodKey(library, session, key);
  }
  call('C_CloseSession', () => library.C_CloseSession(session));
  return existing.length === 0;
}

/**
 * Initialises the first empty slot and sets the user PIN, unless a token of that label has both
 * already; goes on where an earlier run stopped. True if it changed the token.
 */
export function initialiseToken(
  library: Pkcs11,
  names: { label: string; soPin: string; pin: string },
): boolean {
  if (findSlot(library, names.label) === null) {
    const empty = slots(library).find((slot) => !isInitialised(library, slot));
    if (empty === undefined) {
      throw new TokenError('TOKEN_NOT_FOUND', 'no slot of the library holds an empty token');
    }
    call('C_InitToken', () => library.C_InitToken(empty, names.soPin, names.label.padEnd(32, ' ')));
  }
  // SoftHSM numbers its slots anew after C_InitToken: the label finds the token again.
  const slot = findSlot(library, names.label);
  if (slot === null) {
    throw new TokenError('TOKEN_NOT_FOUND', 'the token is gone after its initialisation');
  }
  if ((library.C_GetTokenInfo(slot).flags & userPinInitialised) !== 0) return false;
  const session = openSession(library, slot, true);
  try {
    library.C_Login(session, securityOfficer, names.soPin);
  } catch (error) {
    throw translateLogin(error);
  }
  call('C_InitPIN', () => library.C_InitPIN(session, names.pin));
  call('C_Logout', () => library.C_Logout(session));
  call('C_CloseSession', () => library.C_CloseSession(session));
  return true;
}

function gcm(iv: Buffer, aad: Buffer): Mechanism {
  const parameter = { type: gcmParameters, iv, ivBits: iv.length * 8, aad, tagBits: tagBytes * 8 };
  return { mechanism: aesGcm, parameter };
}

function newKeyTemplate(): Attribute[] {
  return [
    ...secretKeyTemplate,
    { type: 0x100, value: 0x1f }, // CKA_KEY_TYPE = CKK_AES
    { type: 0x161, value: seedBytes }, // CKA_VALUE_LEN: AES-256
    { type: 0x1, value: true }, // CKA_TOKEN
    { type: 0x2, value: true }, // CKA_PRIVATE
    { type: 0x103, value: true }, // CKA_SENSITIVE
    { type: 0x162, value: false }, // CKA_EXTRACTABLE
    { type: 0x104, value: true }, // CKA_ENCRYPT
    { type: 0x105, value: true }, // CKA_DECRYPT
    { type: 0x106, value: false }, // CKA_WRAP
    { type: 0x107, value: false }, // CKA_UNWRAP
    { type: 0x108, value: false }, // CKA_SIGN
    { type: 0x10c, value: false }, // CKA_DERIVE
    { type: 0x170, value: false }, // CKA_MODIFIABLE
  ];
}

function slots(library: Pkcs11): Handle[] {
  return call('C_GetSlotList', () => library.C_GetSlotList(true));
}

function isInitialised(library: Pkcs11, slot: Handle): boolean {
  return (library.C_GetTokenInfo(slot).flags & 0x400) !== 0; // CKF_TOKEN_INITIALIZED
}

function findSlot(library: Pkcs11, label: string): Handle | null {
  const found = slots(library).filter(
    (slot) =>
      call('C_GetTokenInfo', () => library.C_GetTokenInfo(slot)).label.trimEnd() === label &&
      isInitialised(library, slot),
  );
  if (found.length > 1) {
    throw new TokenError('TOKEN_NOT_FOUND', `${found.length} tokens have the label ${label}`);
  }
  return found[0] ?? null;
}

function tokenInfo(library: Pkcs11, slot: Handle): TokenInfo {
  const token = library.C_GetTokenInfo(slot);
  return {
    manufacturer: token.manufacturerID.trim().slice(0, 32),
    model: token.model.trim().slice(0, 32),
    hardware: (library.C_GetSlotInfo(slot).flags & hardwareSlot) !== 0,
  };
}

function requireGcm(library: Pkcs11, slot: Handle): void {
  const offered = call('C_GetMechanismList', () => library.C_GetMechanismList(slot));
  const flags = offered.includes(aesGcm) ? library.C_GetMechanismInfo(slot, aesGcm).flags : 0;
  if ((flags & encryptAndDecrypt) === encryptAndDecrypt) return;
  throw new TokenError('TOKEN_MECHANISM_MISSING', 'the token cannot encrypt with AES-GCM');
}

function openSession(library: Pkcs11, slot: Handle, writable: boolean): Handle {
  const flags = writable ? serialSession | readWriteSession : serialSession;
  return call('C_OpenSession', () => library.C_OpenSession(slot, flags));
}

function login(library: Pkcs11, options: { slot: Handle; pin: string; writable: boolean }): Handle {
  const refusal = refusalBeforeLogin(library.C_GetTokenInfo(options.slot).flags);
  if (refusal !== null) throw refusal;
  const session = openSession(library, options.slot, options.writable);
  try {
    library.C_Login(session, normalUser, options.pin);
  } catch (error) {
    throw translateLogin(error);
  }
  return session;
}

function findWrappingKeys(library: Pkcs11, session: Handle): Handle[] {
  return call('C_FindObjects', () => {
    library.C_FindObjectsInit(session, secretKeyTemplate);
    const found = library.C_FindObjects(session, 2);
    library.C_FindObjectsFinal(session);
    return found;
  });
}

function requireGoodKey(library: Pkcs11, session: Handle, key: Handle): void {
  for (const [type, name, value] of requiredFlags) {
    const [attribute] = call('C_GetAttributeValue', () =>
      library.C_GetAttributeValue(session, key, [{ type }]),
    );
    if (attribute?.value[0] === (value ? 1 : 0)) continue;
    throw new TokenError('TOKEN_FAILED', `the wrapping key is refused: ${name} is not ${value}`);
  }
}

function call<Result>(name: string, perform: () => Result): Result {
  try {
    return perform();
  } catch (error) {
    throw translateCall(name, error);
  }
}
