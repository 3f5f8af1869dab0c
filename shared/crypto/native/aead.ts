/** ChaCha20-Poly1305 (RFC 8439) and AES-256-GCM (NIST SP 800-38D) through OpenSSL. */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { concat } from '../bytes.ts';
import { checkAead } from '../provider-checks.ts';
import type { AeadOpenInput, AeadSealInput } from '../provider.ts';
import { sizes } from '../provider.ts';

export function aeadSeal(input: AeadSealInput): Uint8Array {
  checkAead(input);
  const { key, nonce, aad, plaintext } = input;
  const cipher =
    input.algorithm === 'AES-256-GCM'
      ? createCipheriv('aes-256-gcm', key, nonce)
      : createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: sizes.aead.tag });
  cipher.setAAD(aad, { plaintextLength: plaintext.length });
  const body = cipher.update(plaintext);
  return concat(body, cipher.final(), cipher.getAuthTag());
}

export function aeadOpen(input: AeadOpenInput): Uint8Array | undefined {
  checkAead(input);
  const { key, nonce, aad, ciphertext } = input;
  const bodyLength = ciphertext.length - sizes.aead.tag;
  if (bodyLength < 0) return undefined;
  const options = { authTagLength: sizes.aead.tag };
  const decipher =
    input.algorithm === 'AES-256-GCM'
      ? createDecipheriv('aes-256-gcm', key, nonce, options)
      : createDecipheriv('chacha20-poly1305', key, nonce, options);
  decipher.setAAD(aad, { plaintextLength: bodyLength });
  decipher.setAuthTag(ciphertext.subarray(bodyLength));
  const body = decipher.update(ciphertext.subarray(0, bodyLength));
  try {
    return concat(body, decipher.final());
  } catch {
    // `final` fails for one reason only, the tag: an expected outcome.
    return undefined;
  } finally {
    body.fill(0);
  }
}
