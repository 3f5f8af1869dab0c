/**
 * SLH-DSA-SHAKE-256s (FIPS 205): NIST's ACVP key generation. noble makes keys from given seeds and is
 * compared byte for byte. OpenSSL draws its own seeds, so native is checked the other way round: it
 * signs with the published secret key, and the published public key verifies that, natively and in
 * noble. One case of ten each here; `make vectors-long` takes all of them.
 */
import { describe, expect, test } from 'vitest';
import { utf8 } from '#shared/crypto/bytes.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import { slhDsaCases, slhDsaFiles } from './slh-dsa-keygen.ts';
import { haveVectors } from './vector-files.ts';

describe.runIf(haveVectors(...slhDsaFiles))('ACVP SLH-DSA-SHAKE-256s key generation', () => {
  const cases = () => slhDsaCases();

  test('has ten cases of the right sizes, and both providers read the keys', () => {
    expect(cases()).toHaveLength(10);
    for (const { seed, secretKey, publicKey } of cases()) {
      expect([seed.length, secretKey.length, publicKey.length]).toEqual([96, 128, 64]);
      for (const crypto of [createNativeProvider(), createNobleProvider()]) {
        expect(crypto.importSlhDsaSecret(secretKey).publicKey.raw).toEqual(publicKey);
      }
    }
  });

  test('noble makes a published key from its seed', { timeout: 60_000 }, () => {
    for (const { tcId, seed, secretKey, publicKey } of cases().slice(0, 1)) {
      const crypto = createNobleProvider({ randomBytes: () => seed.slice() });
      const made = crypto.generateSlhDsaKey();
      expect(made, `case ${tcId}`).toEqual({ secretKey, publicKey });
    }
  });

  test('native signs with a published key, and both verify', { timeout: 60_000 }, async () => {
    const [native, noble] = [createNativeProvider(), createNobleProvider()];
    const input = { message: utf8('a root'), context: utf8('gyre/v1/document/root') };
    for (const { tcId, secretKey, publicKey } of cases().slice(0, 1)) {
      const key = native.importSlhDsaSecret(secretKey);
      const signature = await native.signSlhDsaAsync(key, input);
      for (const crypto of [native, noble]) {
        const holds = crypto.verifySlhDsa(publicKey, { ...input, signature });
        expect(holds, `case ${tcId}, ${crypto.name}`).toBe(true);
      }
    }
  });
});
