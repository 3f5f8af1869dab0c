/** SLH-DSA-SHAKE-256s (FIPS 205) through OpenSSL; every signature is made in the thread pool. */
import { generateKeyPairSync, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { KeyVault } from '../key-handle.ts';
import { checkContext } from '../provider-checks.ts';
import { sizes } from '../provider.ts';
import type { SlhDsaFunctions } from '../provider.ts';
import { importPrivate, parsePublic, slhDsaShake256s as form } from './key-forms.ts';
import { signInPool, verifyInPool } from './pool.ts';

export function nativeSlhDsa(): SlhDsaFunctions {
  const vault = new KeyVault<KeyObject>();
  return {
    generateSlhDsaKey: () => {
      const { privateKey } = generateKeyPairSync('slh-dsa-shake-256s');
      const der = privateKey.export({ format: 'der', type: 'pkcs8' });
      const secretKey = Uint8Array.from(der.subarray(form.pkcs8.length));
      der.fill(0);
      // FIPS 205 figure 15: the secret key ends in the public one.
      return { secretKey, publicKey: secretKey.slice(-form.rawBytes) };
    },
    importSlhDsaSecret: (raw) => importPrivate(vault, form, raw),
    signSlhDsaAsync: async (key, input) => {
      checkContext(input);
      return await signInPool(vault.take(key), input);
    },
    verifySlhDsa: (publicKey, input) => {
      checkContext(input);
      const key = parsePublic(form, publicKey);
      if (input.signature.length !== sizes.slhDsaShake256s.signature) return false;
      return verify(null, input.message, { key, context: input.context }, input.signature);
    },
    verifySlhDsaAsync: async (publicKey, input) => {
      checkContext(input);
      const key = parsePublic(form, publicKey);
      if (input.signature.length !== sizes.slhDsaShake256s.signature) return false;
      return await verifyInPool(key, input);
    },
  };
}
