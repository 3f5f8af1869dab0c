/**
 * The worked example of docs/protocol.md, recomputed twice: by the project's own code, and by a
 * second implementation that stands here and was written from the document alone (a small
 * MessagePack encoder and primitives of noble and OpenSSL). The values come out of the document.
 */
import * as openssl from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { blake3 } from '@noble/hashes/blake3.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { sha3_256, sha3_512 } from '@noble/hashes/sha3.js';
import { bytesToHex, concatBytes, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import { ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { expect, test } from 'vitest';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { openFrame, parseFrame, verifyFrame } from '#shared/crypto/envelope.ts';
import { makeProtocolVector, vectorDocument } from './protocol-vector.ts';

const docs = join(import.meta.dirname, '../../../docs');
const document = readFileSync(join(docs, 'protocol.md'), 'utf8');
const shown = valuesIn(document);
const whole: Record<string, string> = JSON.parse(
  readFileSync(join(docs, 'protocol-vector.json'), 'utf8'),
);

/** `name (bytes)` lines of the example, each with the hexadecimal lines below it. */
function valuesIn(text: string): Record<string, string> {
  const block = /<!-- begin vector -->\s*```text\n([^]*?)```/.exec(text)?.[1] ?? '';
  const values: Record<string, string> = {};
  let name = '';
  for (const line of block.split('\n')) {
    const head = /^(\w+) \((\d+)\)/.exec(line)?.[1];
    if (head !== undefined) name = head;
    else if (/^ {2}[0-9a-f]+$/.test(line)) values[name] = (values[name] ?? '') + line.trim();
  }
  return values;
}

function bytes(name: string): Uint8Array {
  return hexToBytes(whole[name] ?? '');
}

/** MessagePack as the document describes it, for what a header and a body hold. */
function encode(value: unknown): Uint8Array {
  if (typeof value === 'number') return encodeUint(value);
  if (value instanceof Uint8Array) return concatBytes(Uint8Array.of(0xc4, value.length), value);
  if (typeof value === 'string') {
    const text = utf8ToBytes(value);
    const head = text.length < 32 ? [0xa0 | text.length] : [0xd9, text.length];
    return concatBytes(Uint8Array.from(head), text);
  }
  const entries = Object.entries(value as object).sort(([a], [b]) => (a < b ? -1 : 1));
  const head = entries.length < 16 ? [0x80 | entries.length] : [0xde, 0, entries.length];
  return concatBytes(
    Uint8Array.from(head),
    ...entries.flatMap(([key, item]) => [encode(key), encode(item)]),
  );
}

function encodeUint(value: number): Uint8Array {
  if (value < 0x80) return Uint8Array.of(value);
  const sizes: [number, number][] = [
    [0xcc, 1],
    [0xcd, 2],
    [0xce, 4],
    [0xcf, 8],
  ];
  const [head, size] = sizes.find(([, length]) => value < 2 ** (8 * length)) ?? [0xcf, 8];
  const digits = value.toString(16).padStart(2 * size, '0');
  return concatBytes(Uint8Array.of(head), hexToBytes(digits));
}

function prefixed(...parts: Uint8Array[]): Uint8Array {
  return concatBytes(
    ...parts.flatMap((part) => [Uint8Array.of(part.length >> 8, part.length & 255), part]),
  );
}

/** Rows of the table of header fields, `a`, `b` | 1, 2 taken apart. */
function headerOfDocument(): Record<string, unknown> {
  const section = document.slice(document.indexOf('## A worked example'));
  const fields: Record<string, string> = {};
  for (const [, names = '', values = ''] of section.matchAll(/^\| (`[^|]+`) +\| ([^|]+) \|$/gm)) {
    const each = values.split(',').map((text) => text.trim().replaceAll('`', ''));
    names.split(', ').forEach((name, index) => {
      fields[name.trim().replaceAll('`', '')] = each[index] ?? each[0] ?? '';
    });
  }
  const integers = 'version suite epoch counter registryVersion policyVersion schemaVersion';
  const numbers = new Set([...integers.split(' '), 'timeMs', 'expiresMs']);
  const read = Object.entries(fields).map(([name, text]) => [
    name,
    numbers.has(name) ? Number(text) : text,
  ]);
  return {
    ...Object.fromEntries(read),
    senderKeyId: bytes('senderKeyId'),
    previous: new Uint8Array(32),
    incarnation: counting(0x60),
    registryDigest: counting(0x80),
    policyDigest: counting(0xa0),
  };
}

function counting(first: number): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, index) => first + index);
}

test('document and file show what the project computes', () => {
  const computed = makeProtocolVector();
  expect(whole).toEqual(computed);
  const { publicKey: _key, seal: _seal, frame: _frame, ...readable } = computed;
  expect(shown).toEqual(readable);
});

test('header and body are encoded as the document says', () => {
  const header = headerOfDocument();
  expect(Object.keys(header)).toHaveLength(21);
  expect(bytesToHex(encode(header))).toBe(shown['header']);
  const planDigest = bytesToHex(counting(0xc0));
  const body = encode({ planId: 'rot-0123456789abcdef', planDigest });
  expect(bytesToHex(body)).toBe(shown['body']);
});

test('the key schedule is the document’s', () => {
  const info = prefixed(
    utf8ToBytes('operators'),
    Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1),
    utf8ToBytes('op-2'),
    counting(0x60),
    utf8ToBytes('operators'),
    utf8ToBytes('control'),
  );
  expect(bytesToHex(info)).toBe(shown['info']);
  const salt = utf8ToBytes('gyre/v1/channel');
  const output = hkdf(sha256, counting(0x00), salt, info, 76);
  expect(bytesToHex(output.subarray(0, 32))).toBe(shown['key']);
  expect(bytesToHex(output.subarray(32, 44))).toBe(shown['baseNonce']);
  expect(bytesToHex(output.subarray(44))).toBe(shown['commitment']);
  const nonce = output.slice(32, 44);
  nonce[11] = (nonce[11] ?? 0) ^ 1;
  expect(bytesToHex(nonce)).toBe(shown['nonce']);
});

test('plaintext, digest, statement and name follow', () => {
  const plaintext = concatBytes(counting(0x40), bytes('body'));
  const cipher = chacha20poly1305(bytes('key'), bytes('nonce'), bytes('header'));
  expect(bytesToHex(cipher.encrypt(plaintext))).toBe(shown['ciphertext']);
  expect(bytesToHex(blake3(plaintext))).toBe(shown['digest']);
  const statement = concatBytes(
    utf8ToBytes('gyre/v1/event\0'),
    Uint8Array.of(1),
    sha3_512(bytes('header')),
    sha3_512(bytes('ciphertext')),
    bytes('commitment'),
    bytes('digest'),
  );
  expect(statement).toHaveLength(207);
  expect(bytesToHex(statement)).toBe(shown['statement']);
  expect(bytesToHex(blake3(statement))).toBe(shown['statementHash']);
});

test('the seal is the deterministic signature, and OpenSSL verifies it', () => {
  const { publicKey, secretKey } = ml_dsa87.keygen(bytes('identitySeed'));
  expect(bytesToHex(publicKey)).toBe(whole['publicKey']);
  expect(bytesToHex(sha3_256(publicKey))).toBe(shown['senderKeyId']);
  const context = utf8ToBytes('gyre/v1/plan-approved');
  expect(bytesToHex(context)).toBe(shown['context']);
  const extraEntropy = new Uint8Array(32);
  const seal = ml_dsa87.sign(bytes('statement'), secretKey, { context, extraEntropy });
  expect(bytesToHex(seal)).toBe(whole['seal']);
  expect(bytesToHex(sha3_256(seal))).toBe(shown['sealHash']);
  const pub = Buffer.from(publicKey).toString('base64url');
  const jwk = { kty: 'AKP', alg: 'ML-DSA-87', pub };
  const key = openssl.createPublicKey({ key: jwk, format: 'jwk' });
  expect(openssl.verify(null, bytes('statement'), { key, context }, seal)).toBe(true);
  const other = utf8ToBytes('gyre/v1/recovery-approved');
  expect(openssl.verify(null, bytes('statement'), { key, context: other }, seal)).toBe(false);
});

test('the frame is a map of the five parts, and opens', () => {
  const names = ['ciphertext', 'commitment', 'digest', 'header', 'seal'];
  const parts = names.map((name) => {
    const part = bytes(name);
    const { length } = part;
    const head = length < 256 ? [0xc4, length] : [0xc5, length >> 8, length & 255];
    return concatBytes(encode(name), Uint8Array.from(head), part);
  });
  const frame = concatBytes(Uint8Array.of(0x85), ...parts);
  expect(bytesToHex(frame)).toBe(whole['frame']);
  expect(bytesToHex(sha3_256(frame))).toBe(shown['frameHash']);
  const native = createNativeProvider();
  const parsed = parseFrame(frame);
  if (!parsed.ok) throw new Error(parsed.code);
  const key = native.importVerifyKey(bytes('publicKey'));
  expect(verifyFrame(native, parsed.frame, key)).toMatchObject({
    ok: true,
    messageId: shown['statementHash'],
  });
  expect(openFrame(native, parsed.frame, counting(0x00))).toMatchObject({
    ok: true,
    body: { planId: 'rot-0123456789abcdef', planDigest: bytesToHex(counting(0xc0)) },
  });
});

test('leaf and document digest follow', () => {
  const leaf = concatBytes(Uint8Array.of(0), bytes('statement'), bytes('seal'), Uint8Array.of(1));
  expect(bytesToHex(sha256(leaf))).toBe(shown['auditLeafHash']);
  const members = Object.entries(vectorDocument).sort(([a], [b]) => (a < b ? -1 : 1));
  const canonical = JSON.stringify(Object.fromEntries(members));
  expect(bytesToHex(utf8ToBytes(canonical))).toBe(shown['documentBytes']);
  expect(bytesToHex(sha3_256(utf8ToBytes(canonical)))).toBe(shown['documentDigest']);
  const context = utf8ToBytes('gyre/v1/document/audit_checkpoint');
  expect(bytesToHex(context)).toBe(shown['documentContext']);
});
