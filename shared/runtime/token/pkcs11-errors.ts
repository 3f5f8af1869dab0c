/**
 * Translates what the PKCS#11 library answers into token errors, by number alone (PKCS#11 v2.40,
 * section 5.1); three calls of pkcs11js throw without a number, which reads as 0 here.
 */
import { TokenError } from './token.ts';
import type { TokenErrorCode } from './token.ts';

const pinLocked = new Set([0xa3 /* PIN_EXPIRED */, 0xa4 /* PIN_LOCKED */]);

/** The session or the device behind it is gone: a new process with a new login may help. */
const tokenLost = new Set([
  0x30, // DEVICE_ERROR
  0x31, // DEVICE_MEMORY
  0x32, // DEVICE_REMOVED
  0x90, // OPERATION_ACTIVE: left over from a call that failed half-way
  0xb0, // SESSION_CLOSED
  0xb3, // SESSION_HANDLE_INVALID
  0xe0, // TOKEN_NOT_PRESENT
  0xe1, // TOKEN_NOT_RECOGNIZED
  0x101, // USER_NOT_LOGGED_IN
  0x190, // CRYPTOKI_NOT_INITIALIZED
]);

const mechanismMissing = new Set([0x70 /* MECHANISM_INVALID */, 0x71 /* ..._PARAM_INVALID */]);

const userPinFinalTry = 0x2_0000;
const userPinLocked = 0x4_0000;

/** The numeric return value of a failed call, 0 if there is none. */
export function pkcs11Code(error: unknown): number {
  if (typeof error !== 'object' || error === null || !('code' in error)) return 0;
  return typeof error.code === 'number' && Number.isSafeInteger(error.code) ? error.code : 0;
}

/** For every call but C_Login. */
export function translateCall(call: string, error: unknown): TokenError {
  const code = pkcs11Code(error);
  return new TokenError(callCode(code), `${call} answered ${hex(code)}`, { cause: error });
}

/**
 * For C_Login. Whatever is not clearly something else counts as a refused PIN, because libraries
 * answer a wrong PIN with more than one number and a second try may be the one that locks it.
 */
export function translateLogin(error: unknown): TokenError {
  const code = pkcs11Code(error);
  const detail = `C_Login answered ${hex(code)}`;
  if (pinLocked.has(code)) return new TokenError('TOKEN_PIN_LOCKED', detail, { cause: error });
  if (tokenLost.has(code)) return new TokenError('TOKEN_UNREACHABLE', detail, { cause: error });
  return new TokenError('TOKEN_PIN_WRONG', detail, { cause: error });
}

/** Before C_Login: null, or why not to try, from the flags of C_GetTokenInfo. */
export function refusalBeforeLogin(tokenFlags: number): TokenError | null {
  if ((tokenFlags & userPinLocked) !== 0) {
    return new TokenError('TOKEN_PIN_LOCKED', 'the token says that its PIN is locked');
  }
  if ((tokenFlags & userPinFinalTry) !== 0) {
    return new TokenError('TOKEN_PIN_LOCKED', 'the token has one PIN try left, and it is not ours');
  }
  return null;
}

function callCode(code: number): TokenErrorCode {
  if (pinLocked.has(code)) return 'TOKEN_PIN_LOCKED';
  if (tokenLost.has(code)) return 'TOKEN_UNREACHABLE';
  if (mechanismMissing.has(code)) return 'TOKEN_MECHANISM_MISSING';
  return 'TOKEN_FAILED';
}

function hex(code: number): string {
  return code === 0 ? 'an error without a number' : `CKR 0x${code.toString(16)}`;
}
