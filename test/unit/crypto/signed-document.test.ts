/** Signed documents: a threshold counts distinct keys, and nothing but the signed bytes counts. */
import { describe, expect, test } from 'vitest';
import type { DocumentSignature } from '#schemas/document.ts';
import { toHex, utf8 } from '#shared/crypto/bytes.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import {
  documentContext,
  documentDigest,
  keyIdOf,
  localSigner,
  signDocument,
  verifyDocument,
} from '#shared/crypto/signed-document.ts';
import type { DocumentSigner } from '#shared/crypto/signed-document.ts';
import { crypto, filled } from './fixtures.ts';

const keys = [1, 2, 3].map((byte) => crypto.importSigningSeed(filled(byte)));
const signers = keys.map((key) => localSigner(crypto, key));
const accepted = keys.map(({ publicKey }) => ({
  keyId: publicKey.keyIdHex,
  publicKey: publicKey.raw,
}));
const [first, second] = signers as [DocumentSigner, DocumentSigner];
const body = { kind: 'policy', version: 3, names: { b: 1, a: ['x'] }, share: 0.5 };
const signed = await signDocument(body, [first, second]);
const [one, two] = signed.signatures as [DocumentSignature, DocumentSignature];

const verify = (document: typeof signed, threshold = 2, trusted = accepted) =>
  verifyDocument(crypto, document, { keys: trusted, threshold });

describe('a signed document', () => {
  test('stands with its threshold, for either provider', () => {
    expect(verify(signed, 1)).toBe('ok');
    expect(verify(signed, 2)).toBe('ok');
    expect(verify(signed, 3)).toBe('THRESHOLD_NOT_MET');
    expect(verifyDocument(createNobleProvider(), signed, { keys: accepted, threshold: 2 })).toBe(
      'ok',
    );
    expect(one.signature).toHaveLength(6170);
  });

  test('survives JSON and another order of keys', () => {
    const again = JSON.parse(JSON.stringify(signed)) as typeof signed;
    const reordered = { share: 0.5, names: { a: ['x'], b: 1 }, version: 3, kind: 'policy' };
    expect(verify(again)).toBe('ok');
    expect(verify({ ...signed, body: reordered })).toBe('ok');
  });

  test('has the digest of its canonical bytes, and keys the id of their hash', () => {
    const bytes = '{"kind":"policy","names":{"a":["x"],"b":1},"share":0.5,"version":3}';
    expect(documentDigest(crypto, body)).toBe(toHex(crypto.sha3_256(utf8(bytes))));
    expect(keyIdOf(crypto, accepted[0]?.publicKey ?? filled(0))).toBe(one.key_id);
  });

  test('does not stand when anything is changed', () => {
    expect(verify({ ...signed, body: { ...body, version: 4 } })).toBe('SIGNATURE_INVALID');
    expect(verify({ ...signed, body: { ...body, kind: 'registry' } })).toBe('SIGNATURE_INVALID');
    const swapped = [
      { ...one, signature: two.signature },
      { ...two, signature: one.signature },
    ];
    expect(verify({ ...signed, signatures: swapped }, 1)).toBe('SIGNATURE_INVALID');
  });

  test('counts a key once, however often it signs', async () => {
    const again = await signDocument(body, [first]);
    const repeated = [one, one, ...again.signatures];
    expect(verify({ ...signed, signatures: repeated })).toBe('THRESHOLD_NOT_MET');
    expect(verify({ ...signed, signatures: repeated }, 1)).toBe('ok');
  });

  test('counts a key once, whatever other name it is listed under', () => {
    const [key] = accepted;
    const alias = { keyId: '0'.repeat(64), publicKey: key!.publicKey };
    const doubled = [one, { ...one, key_id: alias.keyId }];
    expect(verify({ ...signed, signatures: doubled }, 2, [key!, alias])).toBe('THRESHOLD_NOT_MET');
    expect(verify({ ...signed, signatures: [one] }, 1, [alias])).toBe('THRESHOLD_NOT_MET');
  });

  test('ignores keys that are not asked for, and keys that are none', () => {
    expect(verify(signed, 1, accepted.slice(2))).toBe('THRESHOLD_NOT_MET');
    expect(verify(signed, 1, accepted.slice(1, 2))).toBe('ok');
    expect(verify(signed, 1, [{ keyId: one.key_id, publicKey: filled(0) }])).toBe(
      'THRESHOLD_NOT_MET',
    );
    expect(verify(signed, 1, [])).toBe('THRESHOLD_NOT_MET');
  });

  test('one bad signature does not spoil enough good ones', () => {
    const bad = { ...one, key_id: accepted[2]?.keyId ?? '' };
    expect(verify({ ...signed, signatures: [bad, one, two] })).toBe('ok');
    expect(verify({ ...signed, signatures: [bad, one] })).toBe('SIGNATURE_INVALID');
  });

  test('malformed ones are said to be', () => {
    const with_ = (changes: object) => verify({ ...signed, ...changes } as typeof signed);
    expect(with_({ body: { ...body, kind: 'Not Snake' } })).toBe('DOCUMENT_MALFORMED');
    expect(with_({ body: { version: 1 } })).toBe('DOCUMENT_MALFORMED');
    expect(with_({ body: { ...body, big: 2 ** 60 } })).toBe('DOCUMENT_MALFORMED');
    expect(with_({ signatures: [{ ...one, signature: '=' }] })).toBe('DOCUMENT_MALFORMED');
    expect(with_({ signatures: new Array(17).fill(one) })).toBe('DOCUMENT_MALFORMED');
    expect(with_({ signatures: [] })).toBe('THRESHOLD_NOT_MET');
    expect(() => verify(signed, 0)).toThrow('invariant');
  });
});

describe('signing', () => {
  test('hands a remote signer the canonical bytes and the context of the kind', async () => {
    const asked: string[] = [];
    const remote: DocumentSigner = {
      keyId: first.keyId,
      sign: async (bytes, context) => {
        asked.push(context, new TextDecoder().decode(bytes));
        return await first.sign(bytes, context);
      },
    };
    const document = await signDocument({ kind: 'rotation_plan', plan: 'p' }, [remote]);
    expect(asked).toEqual([
      'gyre/v1/document/rotation_plan',
      '{"kind":"rotation_plan","plan":"p"}',
    ]);
    expect(verifyDocument(crypto, document, { keys: accepted, threshold: 1 })).toBe('ok');
  });

  test('passes on what a signer rejects with, and refuses an answer that is no signature', async () => {
    const fault = new Error('the token is away');
    const failing = { keyId: 'a', sign: async () => await Promise.reject(fault) };
    await expect(signDocument(body, [failing])).rejects.toBe(fault);
    const short = { keyId: 'a', sign: async () => await Promise.resolve(filled(1)) };
    await expect(signDocument(body, [short])).rejects.toMatchObject({ code: 'KEY_INVALID' });
  });

  test('asserts one to sixteen distinct signers and a kind in snake_case', async () => {
    await expect(signDocument(body, [])).rejects.toThrow('invariant');
    await expect(signDocument(body, [first, first])).rejects.toThrow('invariant');
    await expect(signDocument({ kind: 'A-b' }, [first])).rejects.toThrow('invariant');
    expect(documentContext('root')).toBe('gyre/v1/document/root');
  });

  test('refuses what is not JSON', async () => {
    const date = { kind: 'root', at: new Date(0) };
    await expect(signDocument(date, [first])).rejects.toMatchObject({ code: 'NOT_ENCODABLE' });
    expect(() => documentDigest(crypto, undefined)).toThrow(
      expect.objectContaining({ code: 'NOT_ENCODABLE' }),
    );
  });
});
