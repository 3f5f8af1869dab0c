/**
 * The sealed event: it opens for whom it is meant, and not one byte of it can be changed. Frames are
 * forged here by building them from the parts, as an attacker would who holds all but one secret.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { bodyBytesMax, frameBytesMax, headerBytesMax, sealBytes } from '#schemas/frame.ts';
import type { Frame, Header } from '#schemas/frame.ts';
import { concat, toHex } from '#shared/crypto/bytes.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import {
  disclose,
  openFrame,
  parseDisclosure,
  parseFrame,
  seal,
  statementHashOf,
  verifyDisclosure,
  verifyFrame,
  verifyFrameAsync,
} from '#shared/crypto/envelope.ts';
import type { ParsedFrame, SealedEvent } from '#shared/crypto/envelope.ts';
import { deriveChannelKeys, messageNonce } from '#shared/crypto/key-schedule.ts';
import type { KeyScope } from '#shared/crypto/key-schedule.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import { eventContext, statementOf } from '#shared/crypto/statement.ts';
import {
  body,
  channelSecret,
  crypto,
  filled,
  header,
  otherKey,
  signingKey,
  verifyKey,
} from './fixtures.ts';

const sealIt = (changes: Partial<Header> = {}, content: unknown = body): SealedEvent =>
  seal(crypto, { header: { ...header, ...changes }, body: content, signingKey, channelSecret });

function parsed(bytes: Uint8Array): ParsedFrame {
  const result = parseFrame(bytes);
  if (!result.ok) throw new Error(`refused: ${result.code}`);
  return result.frame;
}

/** The first step that refuses a frame, and with which code; `accepted` where none does. */
function outcome(bytes: Uint8Array, secret = channelSecret): string {
  const frame = parseFrame(bytes);
  if (!frame.ok) return `parse ${frame.code}`;
  const signature = verifyFrame(crypto, frame.frame, verifyKey);
  if (!signature.ok) return `verify ${signature.code}`;
  const opened = openFrame(crypto, frame.frame, secret);
  return opened.ok ? 'accepted' : `open ${opened.code}`;
}

interface Forgery {
  readonly header?: object;
  readonly headerBytes?: Uint8Array;
  readonly plaintext?: Uint8Array;
  readonly digest?: Uint8Array;
  readonly commitment?: Uint8Array;
  readonly context?: Uint8Array;
  readonly scope?: KeyScope;
}

/** A frame with any part replaced, correctly signed over what it then says. */
function forge(forgery: Forgery): Uint8Array {
  const headerBytes = forgery.headerBytes ?? encodeCanonical({ ...header, ...forgery.header });
  const keys = deriveChannelKeys(crypto, channelSecret, forgery.scope ?? header);
  const bodyBytes = encodeCanonical(body, { floats: true });
  const plaintext = forgery.plaintext ?? concat(filled(0x77), bodyBytes);
  const ciphertext = crypto.aeadSeal({
    algorithm: 'ChaCha20-Poly1305',
    key: keys.key,
    nonce: messageNonce(keys.baseNonce, header.counter),
    aad: headerBytes,
    plaintext,
  });
  const commitment = forgery.commitment ?? keys.commitment;
  const digest = forgery.digest ?? crypto.blake3(plaintext);
  const ciphertextHash = crypto.sha3_512(ciphertext);
  const message = statementOf(crypto, { header: headerBytes, ciphertextHash, commitment, digest });
  const context = forgery.context ?? eventContext(header.type);
  const signature = crypto.sign(signingKey, { message, context });
  return encodeCanonical({ header: headerBytes, commitment, ciphertext, digest, seal: signature });
}

describe('a sealed event', () => {
  const sealed = sealIt();

  test('is parsed, verified and opened, by either provider', () => {
    for (const provider of [crypto, createNobleProvider()]) {
      const frame = parsed(sealed.frame);
      expect(frame.header).toEqual(header);
      const key = provider.importVerifyKey(verifyKey.raw);
      expect(verifyFrame(provider, frame, key)).toEqual({
        ok: true,
        statementHash: sealed.statementHash,
        messageId: sealed.messageId,
      });
      const opened = openFrame(provider, frame, channelSecret);
      expect(opened).toMatchObject({ ok: true, body, salt: sealed.disclosure.salt });
    }
  });

  test('is verified asynchronously too', async () => {
    const frame = parsed(sealed.frame);
    const forged = { ...frame, header: { ...frame.header, type: 'plan-refused' } };
    expect(await verifyFrameAsync(crypto, frame, verifyKey)).toMatchObject({ ok: true });
    expect(await verifyFrameAsync(crypto, forged, verifyKey)).toMatchObject({ ok: false });
    expect(await verifyFrameAsync(crypto, frame, otherKey.publicKey)).toMatchObject({ ok: false });
  });

  test('has a name that anyone can compute, 32 bytes, the message id in hexadecimal', () => {
    expect(statementHashOf(crypto, parsed(sealed.frame))).toEqual(sealed.statementHash);
    expect(sealed.messageId).toBe(toHex(sealed.statementHash));
    expect(sealed.statementHash).toHaveLength(32);
  });

  test('is different each time: salt, digest and name say nothing about an equal body', () => {
    const again = sealIt({ counter: 2 });
    const [first, second] = [parsed(sealed.frame), parsed(again.frame)];
    expect(toHex(first.parts.digest)).not.toBe(toHex(second.parts.digest));
    expect(again.messageId).not.toBe(sealed.messageId);
  });

  test('signs a statement of 207 bytes', () => {
    const { ciphertextHash, commitment } = sealed.disclosure;
    const parts = { header: sealed.disclosure.header, ciphertextHash, commitment };
    expect(statementOf(crypto, { ...parts, digest: filled(0) })).toHaveLength(207);
  });

  test('may be as large as a body may be, and no larger', () => {
    const large = (bytes: number) => ({ data: new Uint8Array(bytes) });
    // Five bytes for the map and its key, five for the length of the binary.
    const sealedLarge = sealIt({}, large(bodyBytesMax - 11));
    expect(outcome(sealedLarge.frame)).toBe('accepted');
    expect(sealedLarge.frame.length).toBeLessThan(frameBytesMax);
    expect(() => sealIt({}, large(bodyBytesMax - 10))).toThrow(
      expect.objectContaining({ code: 'NOT_ENCODABLE' }),
    );
  });

  test('has room for a header with every field at its maximum', () => {
    const longest = sealIt({
      sender: 'a'.repeat(63),
      audience: 'b'.repeat(63),
      channel: 'c'.repeat(63),
      subject: 'd'.repeat(255),
      type: 'e'.repeat(63),
      eventId: 'f'.repeat(64),
      epoch: Number.MAX_SAFE_INTEGER,
      counter: 2 ** 20,
      registryVersion: 2 ** 32 - 1,
      policyVersion: 2 ** 32 - 1,
      schemaVersion: 2 ** 32 - 1,
      timeMs: 253_402_300_799_999,
      expiresMs: 253_402_300_799_999,
    });
    expect(outcome(longest.frame)).toBe('accepted');
    expect(longest.disclosure.header.length).toBeLessThanOrEqual(headerBytesMax);
  });

  test.each<[string, Partial<Header>]>([
    ['a counter of 0', { counter: 0 }],
    ['a counter beyond 2^20', { counter: 2 ** 20 + 1 }],
    ['a subject with a wildcard', { subject: 'a.>' }],
    ['a type that is no name', { type: 'A b' }],
  ])('is not made with %s', (_name, changes) => {
    expect(() => sealIt(changes)).toThrow(expect.objectContaining({ code: 'NOT_ENCODABLE' }));
  });

  test('is not made under the name of another key', () => {
    expect(() => sealIt({ senderKeyId: otherKey.publicKey.keyId })).toThrow('invariant');
  });
});

describe('changed bytes', () => {
  const sealed = sealIt();

  // Inside of the seal every sixteenth byte: OpenSSL's own tests are for the others.
  test.each([0x01, 0xff])('a byte of a frame, changed by XOR %d, is refused', (mask) => {
    const { seal: sealOf } = parsed(sealed.frame).parts;
    const from = Buffer.from(sealed.frame).indexOf(sealOf) + 32;
    const to = from + sealBytes - 64;
    const codes = new Map<string, number>();
    let tried = 0;
    for (let at = 0; at < sealed.frame.length; at += at >= from && at < to ? 16 : 1) {
      const result = outcome(sealed.frame.with(at, (sealed.frame[at] ?? 0) ^ mask));
      codes.set(result, (codes.get(result) ?? 0) + 1);
      tried += 1;
    }
    expect(codes.get('accepted')).toBeUndefined();
    expect(codes.get('verify SIGNATURE_INVALID')).toBeGreaterThan(sealBytes / 16);
    expect([...codes.values()].reduce((sum, count) => sum + count)).toBe(tried);
  });

  test('a frame cut short or with bytes behind it', () => {
    for (const length of [0, 1, 100, sealed.frame.length - 1]) {
      expect(outcome(sealed.frame.subarray(0, length))).toBe('parse FRAME_MALFORMED');
    }
    expect(outcome(concat(sealed.frame, filled(0, 1)))).toBe('parse FRAME_MALFORMED');
    expect(outcome(new Uint8Array(frameBytesMax + 1))).toBe('parse FRAME_TOO_LARGE');
  });

  test('the received buffer may be reused after parsing', () => {
    const buffer = Buffer.from(sealed.frame);
    const frame = parsed(buffer);
    buffer.fill(0);
    expect(verifyFrame(crypto, frame, verifyKey).ok).toBe(true);
    expect(frame.bytes).toEqual(sealed.frame);
  });
});

describe('structure', () => {
  const parts = (): Frame => parsed(sealIt().frame).parts;
  const withParts = (changes: object) => encodeCanonical({ ...parts(), ...changes });

  test.each<[string, object]>([
    ['an unknown field', { extra: filled(0) }],
    ['a commitment of 31 bytes', { commitment: filled(0, 31) }],
    ['a digest as text', { digest: 'x'.repeat(32) }],
    ['a seal too short', { seal: filled(0, sealBytes - 1) }],
    ['a ciphertext without content', { ciphertext: filled(0, 48) }],
    ['a header too large', { header: filled(0, headerBytesMax + 1) }],
    ['a header that is no map', { header: encodeCanonical([1]) }],
    ['a header that is nothing', { header: encodeCanonical(null) }],
    ['a header that is no MessagePack', { header: filled(0xc1, 4) }],
  ])('%s is malformed', (_name, changes) => {
    expect(outcome(withParts(changes))).toBe('parse FRAME_MALFORMED');
  });

  test('a missing part or another type is malformed', () => {
    const { seal: _seal, ...rest } = parts();
    expect(outcome(encodeCanonical(rest))).toBe('parse FRAME_MALFORMED');
    expect(outcome(encodeCanonical([1]))).toBe('parse FRAME_MALFORMED');
  });

  test.each<[string, object, string]>([
    ['another version', { version: 2 }, 'VERSION_UNKNOWN'],
    ['another version with fields of its own', { version: 2, more: 1 }, 'VERSION_UNKNOWN'],
    ['another suite', { suite: 2 }, 'SUITE_UNKNOWN'],
    ['an unknown field', { more: 1 }, 'FRAME_MALFORMED'],
    ['an unknown lane', { lane: 'express' }, 'FRAME_MALFORMED'],
    ['the bulk lane', { lane: 'bulk' }, 'LANE_MISMATCH'],
    ['a version as text', { version: '1' }, 'FRAME_MALFORMED'],
    ['a counter beyond 2^20', { counter: 2 ** 20 + 1 }, 'FRAME_MALFORMED'],
  ])('a signed header with %s', (_name, changes, code) => {
    expect(outcome(forge({ header: changes }))).toBe(`parse ${code}`);
  });

  test('a header that is not canonical, though signed', () => {
    const canonical = encodeCanonical(header);
    // The version, 1, in its long form: 0xcc 0x01 instead of 0x01.
    const at = Buffer.from(canonical).indexOf('version') + 'version'.length;
    const long = concat(canonical.subarray(0, at), Uint8Array.of(0xcc), canonical.subarray(at));
    expect(outcome(forge({ headerBytes: long }))).toBe('parse FRAME_MALFORMED');
    expect(outcome(forge({ headerBytes: canonical }))).toBe('accepted');
  });
});

describe('who said it', () => {
  test('another key, also where the header names it', () => {
    const frame = parsed(sealIt().frame);
    const other = otherKey.publicKey;
    const refused = { ok: false, code: 'SIGNATURE_INVALID' };
    expect(verifyFrame(crypto, frame, other)).toEqual(refused);
    const named = parsed(forge({ header: { senderKeyId: other.keyId } }));
    expect(verifyFrame(crypto, named, other)).toEqual(refused);
    expect(verifyFrame(crypto, named, verifyKey)).toEqual(refused);
  });

  test('a signature made for another event type, document or nothing', () => {
    for (const context of ['gyre/v1/plan-refused', 'gyre/v1/document/plan_proposed', '']) {
      const frame = forge({ context: new TextEncoder().encode(context) });
      expect(outcome(frame)).toBe('verify SIGNATURE_INVALID');
    }
  });

  test('parts of two events of one sender do not mix', () => {
    const [one, two] = [parsed(sealIt().frame).parts, parsed(sealIt({ counter: 2 }).frame).parts];
    for (const name of ['header', 'commitment', 'ciphertext', 'digest', 'seal'] as const) {
      const mixed = encodeCanonical({ ...one, [name]: two[name] });
      const same = toHex(one[name]) === toHex(two[name]);
      expect(outcome(mixed), name).toBe(same ? 'accepted' : 'verify SIGNATURE_INVALID');
    }
  });
});

describe('content', () => {
  test('the secret of another channel or epoch is caught by the commitment, before the tag', () => {
    expect(outcome(sealIt().frame, filled(0x12))).toBe('open COMMITMENT_MISMATCH');
  });

  test('a sender that commits to another key than it used', () => {
    expect(outcome(forge({ commitment: filled(1) }))).toBe('open COMMITMENT_MISMATCH');
  });

  test.each<[string, Partial<KeyScope>]>([
    ['channel', { channel: 'mesh' }],
    ['epoch', { epoch: 2 }],
    ['sender', { sender: 'orchestrator-2' }],
    ['incarnation', { incarnation: filled(0x67) }],
    ['audience', { audience: 'mesh' }],
    ['lane', { lane: 'query' }],
  ])('keys of another %s do not open it', (_name, change) => {
    expect(outcome(forge({ scope: { ...header, ...change } }))).toBe('open COMMITMENT_MISMATCH');
  });

  test('a tag that does not check, behind a valid signature', () => {
    const counter = { counter: 2 };
    // `forge` encrypts under the nonce of counter 1.
    expect(outcome(forge({ header: counter }))).toBe('open TAG_INVALID');
  });

  test('a digest that is not of this salt and body, behind a valid signature', () => {
    expect(outcome(forge({ digest: filled(9) }))).toBe('open DIGEST_MISMATCH');
  });

  test('a body that is not canonical, behind a valid signature', () => {
    for (const bytes of [[0xcc, 1], [0xc1], [1, 1], [0xc7, 0, 0]]) {
      const plaintext = concat(filled(1), Uint8Array.from(bytes));
      expect(outcome(forge({ plaintext }))).toBe('open BODY_MALFORMED');
    }
  });
});

describe('disclosure', () => {
  let sealed: SealedEvent;
  beforeAll(() => {
    sealed = sealIt();
  });

  test('shows to anyone what the sender said', () => {
    const frame = parsed(sealed.frame);
    const opened = openFrame(crypto, frame, channelSecret);
    if (!opened.ok) throw new Error(opened.code);
    const disclosure = disclose(crypto, frame, opened);
    expect(disclosure).toEqual(sealed.disclosure);
    expect(verifyDisclosure(crypto, disclosure, verifyKey)).toEqual({
      ok: true,
      header,
      body,
      statementHash: sealed.statementHash,
      messageId: sealed.messageId,
    });
    expect(parseDisclosure(disclosure)).toMatchObject({ ok: true, header });
  });

  test('every byte of every part counts', () => {
    for (const [name, bytes] of Object.entries(sealed.disclosure)) {
      const step = name === 'seal' ? 37 : 1;
      for (let at = 0; at < bytes.length; at += step) {
        const changed = { ...sealed.disclosure, [name]: bytes.with(at, (bytes[at] ?? 0) ^ 1) };
        expect(verifyDisclosure(crypto, changed, verifyKey).ok, `${name} at ${at}`).toBe(false);
      }
    }
  });

  test('salt and body cannot be shifted against each other', () => {
    const { salt, body: bytes } = sealed.disclosure;
    const joined = concat(salt, bytes);
    const shifted = { ...sealed.disclosure, salt: joined.slice(0, 33), body: joined.slice(33) };
    expect(verifyDisclosure(crypto, shifted, verifyKey)).toEqual({
      ok: false,
      code: 'FRAME_MALFORMED',
    });
  });

  test('another key, unknown fields, other types', () => {
    const { disclosure } = sealed;
    const code = (value: unknown, key = verifyKey) => {
      const result = verifyDisclosure(crypto, value, key);
      return result.ok ? 'ok' : result.code;
    };
    expect(code(disclosure, otherKey.publicKey)).toBe('SIGNATURE_INVALID');
    expect(code({ ...disclosure, extra: 1 })).toBe('FRAME_MALFORMED');
    expect(code({ ...disclosure, seal: filled(0) })).toBe('FRAME_MALFORMED');
    expect(code({ ...disclosure, header: encodeCanonical({ ...header, version: 2 }) })).toBe(
      'VERSION_UNKNOWN',
    );
    expect(code(null)).toBe('FRAME_MALFORMED');
  });

  test('a body that its own sender made malformed', () => {
    const plaintext = concat(filled(1), Uint8Array.of(0xcc, 1));
    const frame = parsed(forge({ plaintext }));
    const disclosure = disclose(crypto, frame, {
      salt: plaintext.slice(0, 32),
      bodyBytes: plaintext.slice(32),
    });
    expect(verifyDisclosure(crypto, disclosure, verifyKey)).toEqual({
      ok: false,
      code: 'BODY_MALFORMED',
    });
  });
});
