/** All ten ACVP cases of SLH-DSA-SHAKE-256s through both providers: `make vectors-long` runs it. */
import { describe, expect, test } from 'vitest';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import { slhDsaCases, slhDsaFiles } from './slh-dsa-keygen.ts';
import { haveVectors } from './vector-files.ts';

describe.runIf(haveVectors(...slhDsaFiles))('ACVP SLH-DSA-SHAKE-256s key generation', () => {
  test('all ten: noble makes the keys, native signs with them, noble verifies', async () => {
    const native = createNativeProvider();
    const input = { message: new Uint8Array(0), context: new Uint8Array(0) };
    const cases = slhDsaCases();
    expect(cases).toHaveLength(10);
    for (const { tcId, seed, secretKey, publicKey } of cases) {
      const noble = createNobleProvider({ randomBytes: () => seed.slice() });
      expect(noble.generateSlhDsaKey(), `case ${tcId}`).toEqual({ secretKey, publicKey });
      const key = native.importSlhDsaSecret(secretKey);
      const signature = await native.signSlhDsaAsync(key, input);
      expect(noble.verifySlhDsa(publicKey, { ...input, signature }), `case ${tcId}`).toBe(true);
    }
  });
});
