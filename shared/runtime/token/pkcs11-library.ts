/**
 * The part of pkcs11js that the token child uses, typed here because the package is an optional
 * dependency: without it the project still type-checks, and opening a token says what is missing.
 * Loaded in the child only. Handles are opaque bytes; PINs are strings because the library takes
 * nothing else, which is why they live in a process that does little besides.
 */
import { createRequire } from 'node:module';

import { TokenError } from './token.ts';

export type Handle = Buffer;

export interface Mechanism {
  mechanism: number;
  parameter: null | { type: number; iv: Buffer; ivBits: number; aad: Buffer; tagBits: number };
}

export interface Attribute {
  type: number;
  value?: number | boolean | string | Buffer;
}

export interface Pkcs11 {
  load(path: string): void;
  C_Initialize(options: { flags: number }): void;
  C_Finalize(): void;
  C_GetSlotList(tokenPresent: boolean): Handle[];
  C_GetSlotInfo(slot: Handle): { flags: number };
  C_GetTokenInfo(slot: Handle): {
    label: string;
    manufacturerID: string;
    model: string;
    flags: number;
  };
  C_InitToken(slot: Handle, soPin: string, paddedLabel: string): void;
  C_InitPIN(session: Handle, pin: string): void;
  C_GetMechanismList(slot: Handle): number[];
  C_GetMechanismInfo(slot: Handle, mechanism: number): { flags: number };
  C_OpenSession(slot: Handle, flags: number): Handle;
  C_CloseSession(session: Handle): void;
  C_Login(session: Handle, userType: number, pin: string): void;
  C_Logout(session: Handle): void;
  C_FindObjectsInit(session: Handle, template: Attribute[]): void;
  C_FindObjects(session: Handle, objectsMax: number): Handle[];
  C_FindObjectsFinal(session: Handle): void;
  C_GetAttributeValue(
    session: Handle,
    object: Handle,
    template: Attribute[],
  ): { type: number; value: Buffer }[];
  C_GenerateKey(session: Handle, mechanism: Mechanism, template: Attribute[]): Handle;
  C_DestroyObject(session: Handle, object: Handle): void;
  C_EncryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_EncryptAsync(session: Handle, input: Buffer, output: Buffer): Promise<Buffer>;
  C_DecryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_DecryptAsync(session: Handle, input: Buffer, output: Buffer): Promise<Buffer>;
}

/** CKF_OS_LOCKING_OK: pkcs11js calls the library from threads of its own. */
const osLockingOk = 2;

/** A loaded and initialised library. TOKEN_LIBRARY_MISSING if pkcs11js or the library is not there. */
export function loadLibrary(libraryPath: string): Pkcs11 {
  const binding = loadBinding();
  const library = new binding();
  try {
    library.load(libraryPath);
  } catch (error) {
    throw new TokenError('TOKEN_LIBRARY_MISSING', `cannot load ${libraryPath}`, { cause: error });
  }
  try {
    library.C_Initialize({ flags: osLockingOk });
  } catch (error) {
    throw new TokenError('TOKEN_UNREACHABLE', `${libraryPath} does not initialise`, {
      cause: error,
    });
  }
  return library;
}

function loadBinding(): new () => Pkcs11 {
  let loaded: unknown;
  try {
    // Not import(): the types of an optional package may be absent when types are checked.
    loaded = createRequire(import.meta.url)('pkcs11js');
  } catch (error) {
    throw new TokenError('TOKEN_LIBRARY_MISSING', 'cannot load the package pkcs11js', {
      cause: error,
    });
  }
  if (!isBinding(loaded)) {
    throw new TokenError('TOKEN_LIBRARY_MISSING', 'the package pkcs11js is of another shape');
  }
  return loaded.PKCS11;
}

function isBinding(value: unknown): value is { PKCS11: new () => Pkcs11 } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'PKCS11' in value &&
    typeof value.PKCS11 === 'function'
  );
}
