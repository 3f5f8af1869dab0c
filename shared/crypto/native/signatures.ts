/** ML-DSA-87 (FIPS 204) through OpenSSL. Public keys of senders are kept parsed. */
import { sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { BoundedCache } from '../bounded-cache.ts';
import { KeyVault } from '../key-handle.ts';
import type { VerifyKey } from '../key-handle.ts';
import { checkContext } from '../provider-checks.ts';
import type { SignatureFunctions } from '../provider.ts';
import { importPrivate, importPublic, mlDsa87, plain } from './key-forms.ts';
import { signInPool, verifyInPool } from './pool.ts';

/** Public keys of senders that are kept parsed, the least recently used first to go. */
const verifyKeysMax = 256;

export function nativeSignatures(): SignatureFunctions {
  const vault = new KeyVault<KeyObject>();
  const cache = new BoundedCache<VerifyKey>(verifyKeysMax);
  return {
    importSigningSeed: (seed) => importPrivate(vault, mlDsa87, seed),
    importVerifyKey: (raw) =>
      cache.get(Buffer.from(raw.buffer, raw.byteOffset, raw.length).toString('latin1'), () =>
        importPublic(vault, mlDsa87, raw),
      ),
    sign: (key, input) => {
      checkContext(input);
      return plain(sign(null, input.message, { key: vault.take(key), context: input.context }));
    },
    verify: (key, input) => {
      checkContext(input);
      const { message, context, signature } = input;
      return verify(null, message, { key: vault.take(key), context }, signature);
    },
    signAsync: async (key, input) => {
      checkContext(input);
      return await signInPool(vault.take(key), input);
    },
    verifyAsync: async (key, input) => {
      checkContext(input);
      return await verifyInPool(vault.take(key), input);
    },
  };
}
