/**
 * The encodings under everything: canonical MessagePack and JSON, base64url, hexadecimal, the list of a
 * batch. What is taken has one encoding, and it is the one that came in; what is refused has a code of a
 * closed set; nothing throws.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeBody } from '#shared/crypto/audit-event.ts';
import { encodeEventList, parseEventList } from '#shared/crypto/batch-list.ts';
import { fromBase64Url, fromHex, toBase64Url, toHex } from '#shared/crypto/bytes.ts';
import { canonicalJson, isJson } from '#shared/crypto/canonical-json.ts';
import {
  decodeCanonical,
  decodeInPasses,
  encodeCanonical,
} from '#shared/crypto/canonical-msgpack.ts';
import { readCanonical } from '#shared/crypto/canonical-reader.ts';
import { CryptoError } from '#shared/crypto/errors.ts';
import { scan } from '#shared/crypto/msgpack-scan.ts';
import {
  anyBytes,
  anyValue,
  canonicalValue,
  deepMap,
  frameCases,
  mutated,
  rawMap,
} from './inputs.ts';
import { timeoutMs, tries } from './runs.ts';

const codes = ['LENGTH_REFUSED', 'TOO_DEEP', 'TYPE_REFUSED', 'KEY_REFUSED', 'NOT_CANONICAL'];
const frames = frameCases.map(({ bytes }) => bytes);
const options = { timeout: timeoutMs };

/** All readers say the same of `bytes`, and what they take encodes to `bytes`. */
function expectOneReading(bytes: Uint8Array): void {
  for (const floats of [false, true]) {
    const decoded = decodeInPasses(bytes, { floats });
    expect(decodeCanonical(bytes, { floats })).toEqual(decoded);
    const read = readCanonical(bytes, { floats });
    if (decoded.ok) {
      for (const value of [decoded.value, read?.value]) {
        expect(Buffer.compare(encodeCanonical(value, { floats }), bytes)).toBe(0);
      }
      expect(scan(bytes)).toBeUndefined();
    } else {
      expect(read).toBeUndefined();
      expect(codes).toContain(decoded.code);
    }
    if (floats) expect(decodeBody(bytes) !== undefined).toBe(decoded.ok);
  }
}

describe('canonical MessagePack', options, () => {
  test('any bytes', () => {
    fc.assert(fc.property(anyBytes, expectOneReading), tries(1_500));
    expect(decodeCanonical(new Uint8Array()).ok).toBe(false);
  });

  test('any value, encoded and changed', () => {
    const values = fc
      .array(canonicalValue, { minLength: 2, maxLength: 3 })
      .chain((made) => mutated(made.map((value) => encodeCanonical(value, { floats: true }))));
    fc.assert(fc.property(values, expectOneReading), tries(1_000));
    expect(readCanonical(encodeCanonical({ a: 1 }))).toEqual({ value: { a: 1 } });
  });

  test('changed frames', () => {
    fc.assert(fc.property(mutated(frames), expectOneReading), tries(300));
    expect(frames.length).toBeGreaterThan(60);
  });

  test('keys twice, keys in another order, nesting without end', () => {
    const twice = rawMap([
      ['a', 1],
      ['a', 1],
    ]);
    const reversed = rawMap([
      ['b', 1],
      ['a', 1],
    ]);
    for (const bytes of [twice, reversed, deepMap(33), deepMap(100_000)]) {
      expect(decodeCanonical(bytes).ok).toBe(false);
      expectOneReading(bytes);
    }
    expect(decodeCanonical(deepMap(32)).ok).toBe(true);
  });

  test('values that have no encoding are named so', () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        try {
          expectOneReading(encodeCanonical(value, { floats: true }));
        } catch (error) {
          expect(error).toBeInstanceOf(CryptoError);
          expect(error).toHaveProperty('code', 'NOT_ENCODABLE');
        }
      }),
      tries(500),
    );
    expect(() => encodeCanonical(1n)).toThrow(CryptoError);
  });
});

describe('canonical JSON', options, () => {
  test('has one text for a value, or none', () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        if (!isJson(value)) {
          expect(() => canonicalJson(value)).toThrow(CryptoError);
          return;
        }
        const written = canonicalJson(value);
        const read: unknown = JSON.parse(new TextDecoder().decode(written));
        expect(Buffer.compare(canonicalJson(read), written)).toBe(0);
      }),
      tries(500),
    );
    expect(isJson({ ['__proto__x']: 1 })).toBe(true);
  });
});

describe('texts of bytes', options, () => {
  const texts = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 80 }),
    fc.stringMatching(/^[A-Za-z0-9_-]*$/, { maxLength: 80 }),
    fc.stringMatching(/^[0-9a-fA-F]*$/, { maxLength: 80 }),
    fc.uint8Array({ maxLength: 100 }).map(toBase64Url),
    fc.uint8Array({ maxLength: 100 }).map(toHex),
  );

  test('one text for a value', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const fromText = fromBase64Url(text);
        if (fromText !== undefined) expect(toBase64Url(fromText)).toBe(text);
        const hexBytes = fromHex(text);
        if (hexBytes !== undefined) expect(toHex(hexBytes)).toBe(text);
      }),
      tries(2_000),
    );
    expect(fromBase64Url('AB')).toBeUndefined();
    expect(fromHex('AB')).toBeUndefined();
  });
});

describe('the list of a batch', options, () => {
  const lists = fc
    .array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { minLength: 1, maxLength: 40 })
    .map((events) => encodeEventList(events, 0));

  test('is written in one way', () => {
    const inputs = fc.oneof(
      anyBytes,
      lists,
      lists.chain((list) => mutated([list])),
    );
    fc.assert(
      fc.property(inputs, (bytes) => {
        const events = parseEventList(bytes);
        const decoded = decodeCanonical(bytes);
        if (events === undefined) return;
        expect(Buffer.compare(encodeEventList(events, 0), bytes)).toBe(0);
        expect(decoded).toEqual({ ok: true, value: events });
      }),
      tries(1_500),
    );
    expect(parseEventList(encodeEventList([Uint8Array.of(1)], 0))).toHaveLength(1);
  });
});
