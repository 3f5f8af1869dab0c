/**
 * Signing and verifying in Node's thread pool, so that the event loop keeps turning meanwhile: an
 * ML-DSA-87 signature takes about a millisecond, one of SLH-DSA-SHAKE-256s more than a second.
 */
import { sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { SignInput, VerifyInput } from '../provider.ts';
import { plain } from './key-forms.ts';

export async function signInPool(key: KeyObject, input: SignInput): Promise<Uint8Array> {
  const options = { key, context: input.context };
  return await new Promise((resolve, reject) => {
    sign(null, input.message, options, (error, signature) => {
      if (error === null) resolve(plain(signature));
      else reject(error);
    });
  });
}

export async function verifyInPool(key: KeyObject, input: VerifyInput): Promise<boolean> {
  const options = { key, context: input.context };
  return await new Promise((resolve, reject) => {
    verify(null, input.message, options, input.signature, (error, holds) => {
      if (error === null) resolve(holds);
      else reject(error);
    });
  });
}
