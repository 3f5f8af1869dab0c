/** The decisions about a PKCS#11 token that need no token: errors, PIN flags, description, delays. */
import { describe, expect, test } from 'vitest';

import { restartDelayMs } from '#shared/runtime/token/child-supervisor.ts';
import {
  pkcs11Code,
  refusalBeforeLogin,
  translateCall,
  translateLogin,
} from '#shared/runtime/token/pkcs11-errors.ts';
import { describePkcs11 } from '#shared/runtime/token/pkcs11-token.ts';
import { TokenError, tokenAdvice, tokenErrorCodes } from '#shared/runtime/token/token.ts';

const answered = (code: unknown): Error => Object.assign(new Error('of the library'), { code });

describe('errors of the library', () => {
  test.each([
    [0xa4, 'TOKEN_PIN_LOCKED'],
    [0xe0, 'TOKEN_UNREACHABLE'],
    [0xb3, 'TOKEN_UNREACHABLE'],
    [0x101, 'TOKEN_UNREACHABLE'],
    [0x70, 'TOKEN_MECHANISM_MISSING'],
    [0x05, 'TOKEN_FAILED'],
    [undefined, 'TOKEN_FAILED'],
  ])('a call that answers %s is %s', (number, code) => {
    expect(translateCall('C_Decrypt', answered(number)).code).toBe(code);
  });

  test.each([
    [0xa0, 'TOKEN_PIN_WRONG'],
    [0xa2, 'TOKEN_PIN_WRONG'],
    // Some libraries answer a wrong PIN with a general error: never tried twice either.
    [0x05, 'TOKEN_PIN_WRONG'],
    [undefined, 'TOKEN_PIN_WRONG'],
    [0xa4, 'TOKEN_PIN_LOCKED'],
    [0xa3, 'TOKEN_PIN_LOCKED'],
    [0x32, 'TOKEN_UNREACHABLE'],
  ])('a login that answers %s is %s', (number, code) => {
    expect(translateLogin(answered(number)).code).toBe(code);
  });

  test.each([[null], ['CKR_PIN_INCORRECT'], [answered('160')], [answered(1.5)]])(
    'reads no number from %s',
    (error) => {
      expect(pkcs11Code(error)).toBe(0);
    },
  );

  test('keep their cause and say what to do', () => {
    const cause = answered(0xa0);
    const error = translateLogin(cause);
    expect(error.cause).toBe(cause);
    expect(error.message).toContain(tokenAdvice.TOKEN_PIN_WRONG);
    expect(Object.keys(tokenAdvice).toSorted()).toEqual([...tokenErrorCodes].toSorted());
  });
});

describe('PIN flags', () => {
  test.each([
    [0x0004_042d, 'TOKEN_PIN_LOCKED'],
    [0x0002_042d, 'TOKEN_PIN_LOCKED'],
  ])('with flags %i no login is tried', (flags, code) => {
    const refusal = refusalBeforeLogin(flags);
    expect(refusal).toBeInstanceOf(TokenError);
    expect(refusal?.code).toBe(code);
  });

  test.each([[0x042d], [0x0001_042d], [0x00c0_042d]])('with flags %i a login is tried', (flags) => {
    expect(refusalBeforeLogin(flags)).toBe(null);
  });
});

describe('description', () => {
  test('SoftHSM is no HSM, whatever its slot says', () => {
    const info = { manufacturer: 'SoftHSM project', model: 'SoftHSM v2', hardware: true };
    expect(describePkcs11('gyre', info)).toEqual({
      kind: 'pkcs11',
      label: 'gyre',
      mode: 'wrapped-seed',
      isHsm: false,
      notice: 'software token (SoftHSM2), wrapped-seed mode: not an HSM',
    });
  });

  test('a hardware token is named with where signing happens', () => {
    const info = { manufacturer: 'ACME\u001b[31m', model: 'Vault 3', hardware: true };
    const description = describePkcs11('gyre', info);
    expect(description.isHsm).toBe(true);
    expect(description.notice).toBe(
      'PKCS#11 token (ACME?[31m Vault 3), wrapped-seed mode: the HSM guards keys at rest, signing is in software',
    );
  });

  test('any other token in software is no HSM', () => {
    const info = { manufacturer: 'ACME', model: 'Soft', hardware: false };
    expect(describePkcs11('gyre', info)).toMatchObject({
      isHsm: false,
      notice: 'software token (ACME Soft), wrapped-seed mode: not an HSM',
    });
  });
});

test('restarts wait longer each time, up to two seconds', () => {
  const delays = [1, 2, 3, 4, 5, 6, 7, 1000].map(restartDelayMs);
  expect(delays).toEqual([0, 100, 200, 400, 800, 1600, 2000, 2000]);
});
