/**
 * X25519MLKEM1024: the published vectors hold in both providers, encapsulation too where the provider
 * can be driven by given entropy (noble); native draws its own, so noble opens what it makes.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { toHex } from '#shared/crypto/bytes.ts';
import {
  hybridDecapsulate,
  hybridEncapsulate,
  hybridPublicKey,
} from '#shared/crypto/hybrid-kem.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import { hybridVectorPath, makeHybridVectors } from './hybrid-kem-vector.ts';
import type { HybridVectors } from './hybrid-kem-vector.ts';
import { hex, providers } from './vector-files.ts';

const published: HybridVectors = JSON.parse(readFileSync(hybridVectorPath, 'utf8'));

test('the published file is what the code makes', () => {
  expect(published).toEqual(makeHybridVectors());
  expect(published.vectors).toHaveLength(3);
});

describe.each(providers)('$name', (crypto) => {
  test.each(published.vectors)('vector %#', (vector) => {
    const secret = hex(vector.secret);
    const publicKey = hex(vector.public_key);
    expect(toHex(hybridPublicKey(crypto, secret))).toBe(vector.public_key);
    const opened = hybridDecapsulate(crypto, secret, hex(vector.ciphertext));
    expect(toHex(opened)).toBe(vector.shared_secret);
    expect(vector.combined.slice(0, 64)).toBe(vector.shared_secret);
    for (const other of providers) {
      const { ciphertext, sharedSecret } = hybridEncapsulate(crypto, publicKey);
      expect(hybridDecapsulate(other, secret, ciphertext)).toEqual(sharedSecret);
    }
  });
});

test.each(published.vectors)('noble encapsulates as vector %# says', (vector) => {
  const drawn = [hex(vector.ephemeral_secret), hex(vector.message)];
  const crypto = createNobleProvider({ randomBytes: () => drawn.shift() ?? new Uint8Array(0) });
  const { ciphertext, sharedSecret } = hybridEncapsulate(crypto, hex(vector.public_key));
  expect(toHex(ciphertext)).toBe(vector.ciphertext);
  expect(toHex(sharedSecret)).toBe(vector.shared_secret);
});
