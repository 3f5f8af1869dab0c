/**
 * The batch: one signature over many events, each of which can be shown alone. What is forged here is
 * forged by someone who holds the sender's key, so that every refusal behind the signature is met.
 */
import { describe, expect, test } from 'vitest';
import fc from 'fast-check';
import {
  batchEventBytesMax,
  batchEventsMax,
  bodyBytesMax,
  sealBytes,
  type Header,
} from '#schemas/frame.ts';
import { concat, toHex } from '#shared/crypto/bytes.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import {
  batchHashOf,
  openBatch,
  parseBatch,
  proveEvent,
  sealBatch,
  sealBatchAsync,
  verifyBatch,
  verifyBatchAsync,
  verifyProof,
  type OpenedBatch,
  type ParsedBatch,
} from '#shared/crypto/batch.ts';
import { parseFrame, seal, verifyDisclosure, verifyFrame } from '#shared/crypto/envelope.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import { encryptFrame, frameBytes } from '#shared/crypto/sealed-frame.ts';
import {
  channelSecret,
  crypto,
  filled,
  header as eventHeader,
  otherKey,
  signingKey,
  verifyKey,
} from './fixtures.ts';

const header: Header = {
  ...eventHeader,
  lane: 'bulk',
  type: 'telemetry-batch',
  channel: 'telemetry',
  audience: 'telemetry',
};
const eventOf = (value: number) => encodeCanonical({ kind: 'measurement', value });
const eventsOf = (count: number) => Array.from({ length: count }, (_, index) => eventOf(index));
const sealIt = (events = eventsOf(5), changes: Partial<Header> = {}) =>
  sealBatch(crypto, { header: { ...header, ...changes }, events, signingKey, channelSecret });

function parsed(frame: Uint8Array): ParsedBatch {
  const result = parseBatch(frame);
  if (!result.ok) throw new Error(result.code);
  return result.batch;
}

function opened(frame: Uint8Array): OpenedBatch {
  const result = openBatch(crypto, parsed(frame), channelSecret);
  if (!result.ok) throw new Error(result.code);
  return result;
}

const prove = (frame: Uint8Array, index: number) =>
  proveEvent(crypto, parsed(frame), { ...opened(frame), index });

/** A batch of any plaintext and digest, correctly encrypted and signed. */
function forge(plaintext: Uint8Array, digest = filled(9), label: 'batch' | 'event' = 'batch') {
  const input = { header, signingKey, channelSecret, plaintext, digest, label };
  const frame = encryptFrame(crypto, input);
  return frameBytes(frame, crypto.sign(signingKey, frame.toSign));
}

const outcomeOf = (frame: Uint8Array, secret = channelSecret) => {
  const result = openBatch(crypto, parsed(frame), secret);
  return result.ok ? 'opened' : result.code;
};

describe('a batch', () => {
  test.each([1, 2, 3, 15, 16, 255, 256])('of %d events opens, by either provider', (count) => {
    const events = eventsOf(count);
    const { frame, statementHash, messageId } = sealIt(events);
    for (const provider of [crypto, createNobleProvider()]) {
      const key = provider.importVerifyKey(verifyKey.raw);
      const result = parseBatch(frame);
      if (!result.ok) throw new Error(result.code);
      expect(verifyBatch(provider, result.batch, key)).toEqual({
        ok: true,
        statementHash,
        messageId,
      });
      const content = openBatch(provider, result.batch, channelSecret);
      expect(content).toMatchObject({ ok: true, events });
    }
    expect(batchHashOf(crypto, parsed(frame))).toEqual(statementHash);
    expect(messageId).toBe(toHex(statementHash));
  });

  test('is the same, signed and verified in the thread pool', async () => {
    const { frame } = await sealBatchAsync(crypto, {
      header,
      events: eventsOf(3),
      signingKey,
      channelSecret,
    });
    expect(opened(frame).events).toEqual(eventsOf(3));
    expect(await verifyBatchAsync(crypto, parsed(frame), verifyKey)).toMatchObject({ ok: true });
    expect(await verifyBatchAsync(crypto, parsed(frame), otherKey.publicKey)).toEqual({
      ok: false,
      code: 'SIGNATURE_INVALID',
    });
  });

  test.each<[string, Uint8Array[]]>([
    ['without an event', []],
    ['of more than 256 events', eventsOf(batchEventsMax + 1)],
    ['with an empty event', [filled(1, 0)]],
    ['with an event beyond 4 KiB', [filled(1, batchEventBytesMax + 1)]],
    ['beyond 448 KiB', Array.from({ length: 112 }, () => filled(1, batchEventBytesMax))],
  ])('%s is not made', (_name, events) => {
    expect(() => sealIt(events)).toThrow(expect.objectContaining({ code: 'NOT_ENCODABLE' }));
  });

  test('may be as large as a body may be', () => {
    const events = Array.from({ length: 111 }, () => filled(1, batchEventBytesMax));
    const rest = bodyBytesMax - 3 - 111 * (3 + batchEventBytesMax) - 3;
    expect(opened(sealIt([...events, filled(1, rest)]).frame).events).toHaveLength(112);
    expect(() => sealIt([...events, filled(1, rest + 1)])).toThrow(
      expect.objectContaining({ code: 'NOT_ENCODABLE' }),
    );
  });

  test('is not changed in any byte', () => {
    const { frame } = sealIt(eventsOf(2));
    for (let at = 0; at < frame.length; at += at > 600 && at < frame.length - 60 ? 23 : 1) {
      const result = parseBatch(frame.with(at, (frame[at] ?? 0) ^ 1));
      const holds = result.ok && verifyBatch(crypto, result.batch, verifyKey).ok;
      expect(holds, `byte ${at}`).toBe(false);
    }
  });
});

describe('what a sender can do wrong behind a valid signature', () => {
  const salted = (list: readonly number[]) => concat(filled(1), Uint8Array.from(list));

  test.each<[string, readonly number[]]>([
    ['no array', [1]],
    ['an empty array', [0x90]],
    ['an event that is no binary', [0x91, 1]],
    ['an empty event', [0x91, 0xc4, 0]],
    ['a length in its long form', [0x91, 0xc5, 0, 1, 1]],
    ['a count in its long form', [0xdc, 0, 1, 0xc4, 1, 1]],
    ['an event cut short', [0x91, 0xc4, 2, 1]],
    ['bytes behind the list', [0x91, 0xc4, 1, 1, 1]],
    ['a head cut short', [0xdc, 1]],
  ])('%s', (_name, list) => {
    expect(outcomeOf(forge(salted(list)))).toBe('BATCH_MALFORMED');
  });

  test('more than 256 events', () => {
    const list = Array.from({ length: batchEventsMax + 1 }, () => [0xc4, 1, 1]).flat();
    expect(outcomeOf(forge(salted([0xdc, 1, 1, ...list])))).toBe('BATCH_MALFORMED');
  });

  test('an event beyond 4 KiB', () => {
    const list = concat(filled(1), Uint8Array.of(0x91, 0xc5, 0x10, 1), filled(1, 4097));
    expect(outcomeOf(forge(list))).toBe('BATCH_MALFORMED');
  });

  test('another digest, another secret', () => {
    const list = salted([0x91, 0xc4, 1, 1]);
    expect(outcomeOf(forge(list))).toBe('DIGEST_MISMATCH');
    expect(outcomeOf(sealIt().frame, filled(0x12))).toBe('COMMITMENT_MISMATCH');
  });

  test('a tag that does not check', () => {
    const { parts } = parsed(sealIt().frame);
    const ciphertext = parts.ciphertext.with(0, (parts.ciphertext[0] ?? 0) ^ 1);
    expect(outcomeOf(encodeCanonical({ ...parts, ciphertext }))).toBe('TAG_INVALID');
  });
});

describe('a batch is never an event', () => {
  const { frame } = sealIt();

  test('it is not parsed as one, nor an event as a batch', () => {
    expect(parseFrame(frame)).toEqual({ ok: false, code: 'LANE_MISMATCH' });
    const event = seal(crypto, { header: eventHeader, body: {}, signingKey, channelSecret });
    expect(parseBatch(event.frame)).toEqual({ ok: false, code: 'LANE_MISMATCH' });
  });

  test('its signature holds for no event, and an event’s for no batch', () => {
    const batch = parsed(frame);
    const refused = { ok: false, code: 'SIGNATURE_INVALID' };
    expect(verifyFrame(crypto, { ...batch, kind: 'event' }, verifyKey)).toEqual(refused);
    const asEvent = parsed(forge(concat(filled(1), filled(1)), filled(2), 'event'));
    expect(verifyBatch(crypto, asEvent, verifyKey)).toEqual(refused);
  });

  test('neither function that seals takes the other’s header', () => {
    expect(() => seal(crypto, { header, body: {}, signingKey, channelSecret })).toThrow(
      'invariant',
    );
    expect(() => sealIt(eventsOf(1), { lane: 'control' })).toThrow('invariant');
  });

  test('a proof is no disclosure, also in the shape of one', () => {
    const {
      header: bytes,
      ciphertextHash: short,
      commitment,
      seal: signature,
      salt,
      event,
    } = prove(frame, 0);
    const ciphertextHash = new Uint8Array(64);
    ciphertextHash.set(short);
    const disclosure = { header: bytes, ciphertextHash, commitment, seal: signature, salt };
    expect(verifyDisclosure(crypto, prove(frame, 0), verifyKey)).toEqual({
      ok: false,
      code: 'FRAME_MALFORMED',
    });
    expect(verifyDisclosure(crypto, { ...disclosure, body: event }, verifyKey)).toEqual({
      ok: false,
      code: 'LANE_MISMATCH',
    });
  });
});

describe('the proof of one event', () => {
  test('holds for every event of every size of batch, with the public key alone', () => {
    for (const count of [1, 2, 3, 7, 8, 100, 256]) {
      const { frame, messageId, statementHash } = sealIt(eventsOf(count));
      for (const index of new Set([0, count >> 1, count - 1])) {
        const expected = { ok: true, messageId, statementHash, header, index, count };
        expect(verifyProof(crypto, prove(frame, index), verifyKey)).toEqual({
          ...expected,
          event: { kind: 'measurement', value: index },
        });
      }
    }
  });

  test('every byte of every part counts', () => {
    const proof = prove(sealIt(eventsOf(6)).frame, 3);
    for (const [name, part] of Object.entries(proof)) {
      if (!(part instanceof Uint8Array)) continue;
      for (let at = 0; at < part.length; at += part.length === sealBytes ? 97 : 1) {
        const changed = { ...proof, [name]: part.with(at, (part[at] ?? 0) ^ 1) };
        expect(verifyProof(crypto, changed, verifyKey).ok, `${name} at ${at}`).toBe(false);
      }
    }
    for (const [level, hash] of proof.path.entries()) {
      const path = proof.path.with(level, hash.with(0, (hash[0] ?? 0) ^ 1));
      expect(verifyProof(crypto, { ...proof, path }, verifyKey)).toMatchObject({
        code: 'SIGNATURE_INVALID',
      });
    }
  });

  test('place and count are what was signed', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.nat(8),
        fc.integer({ min: 1, max: 12 }),
        fc.nat(11),
        (count, at, otherCount, otherIndex) => {
          const index = at % count;
          const proof = prove(sealIt(eventsOf(count)).frame, index);
          const claimed = { ...proof, count: otherCount, index: otherIndex % otherCount };
          const isSame = claimed.count === count && claimed.index === index;
          expect(verifyProof(crypto, claimed, verifyKey).ok).toBe(isSame);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('a path too long or too short, another key, another shape', () => {
    const proof = prove(sealIt(eventsOf(4)).frame, 2);
    const codeOf = (changes: object, key = verifyKey) => {
      const result = verifyProof(crypto, { ...proof, ...changes }, key);
      return result.ok ? 'ok' : result.code;
    };
    expect(codeOf({ path: proof.path.slice(1) })).toBe('PROOF_MALFORMED');
    expect(codeOf({ path: [...proof.path, filled(1)] })).toBe('PROOF_MALFORMED');
    expect(codeOf({ index: 4 })).toBe('PROOF_MALFORMED');
    expect(codeOf({ index: 256 })).toBe('FRAME_MALFORMED');
    expect(codeOf({ extra: 1 })).toBe('FRAME_MALFORMED');
    expect(codeOf({}, otherKey.publicKey)).toBe('SIGNATURE_INVALID');
  });

  test('an event that is not canonical is said so, behind a valid signature', () => {
    const { frame } = sealIt([Uint8Array.of(0xcc, 1)]);
    expect(verifyProof(crypto, prove(frame, 0), verifyKey)).toMatchObject({
      code: 'BODY_MALFORMED',
    });
  });

  test('holds nothing of the other events: neither their bytes nor their salts', () => {
    const secret = (index: number) => encodeCanonical({ secret: `event-${index}-of-this-batch` });
    const { frame } = sealIt(Array.from({ length: 8 }, (_, index) => secret(index)));
    const { salts, events } = opened(frame);
    const bytes = Buffer.from(encodeCanonical(prove(frame, 2)));
    for (const [index, event] of events.entries()) {
      const salt = salts.subarray(32 * index, 32 * (index + 1));
      expect(bytes.includes(event), `event ${index}`).toBe(index === 2);
      expect(bytes.includes(salt), `salt ${index}`).toBe(index === 2);
    }
    // The batch salt, from which all others come, is not in it either.
    const [one, other] = [toHex(salts.subarray(0, 32)), toHex(salts.subarray(32, 64))];
    expect(one).not.toBe(other);
  });
});
