/**
 * The slot of a PKCS#11 library that holds the token of a label: finding it, making an empty one ours,
 * what it says of itself, and one login. Used in the token child only. A PIN is tried exactly once.
 */
import { refusalBeforeLogin, translateCall, translateLogin } from './pkcs11-errors.ts';
import type { Handle, Pkcs11 } from './pkcs11-library.ts';
import { TokenError } from './token.ts';

/** What the token says of itself; untrusted text, at most 32 characters each. */
export interface TokenInfo {
  manufacturer: string;
  model: string;
  /** The slot has CKF_HW_SLOT. */
  hardware: boolean;
}

export interface LoggedIn {
  readonly session: Handle;
  readonly info: TokenInfo;
}

const aesGcm = 0x1087;
const encryptAndDecrypt = 0x300;
const hardwareSlot = 0x4;
const tokenInitialised = 0x400;
const serialSession = 0x4;
const readWriteSession = 0x2;
const userPinInitialised = 0x8;
const securityOfficer = 0;
const normalUser = 1;

/**
 * One login. TOKEN_NOT_FOUND without exactly one token of that label, TOKEN_MECHANISM_MISSING without
 * AES-GCM, and what a refused PIN is. `writable`: keys can be made and destroyed.
 */
export function logIn(
  library: Pkcs11,
  options: { readonly label: string; readonly pin: string; readonly writable: boolean },
): LoggedIn {
  const { label, pin, writable } = options;
  const slot = findSlot(library, label);
  if (slot === null) throw new TokenError('TOKEN_NOT_FOUND', `no token has the label ${label}`);
  requireGcm(library, slot);
  const refusal = refusalBeforeLogin(library.C_GetTokenInfo(slot).flags);
  if (refusal !== null) throw refusal;
  const session = openSession(library, slot, writable);
  try {
    library.C_Login(session, normalUser, pin);
  } catch (error) {
    throw translateLogin(error);
  }
  return { session, info: tokenInfo(library, slot) };
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

/** Ends session and library; what fails here fails in a process that ends anyway. */
export function logOut(library: Pkcs11, session: Handle): void {
  library.C_Logout(session);
  library.C_CloseSession(session);
  library.C_Finalize();
}

/** A call of the library, its faults translated. */
export function call<Result>(name: string, perform: () => Result): Result {
  try {
    return perform();
  } catch (error) {
    throw translateCall(name, error);
  }
}

function slots(library: Pkcs11): Handle[] {
  return call('C_GetSlotList', () => library.C_GetSlotList(true));
}

function isInitialised(library: Pkcs11, slot: Handle): boolean {
  return (library.C_GetTokenInfo(slot).flags & tokenInitialised) !== 0;
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
