/** A frame that was parsed already is found again by its array, and only while the array holds it. */
import { expect, test } from 'vitest';
import { parseBatch } from '#shared/crypto/batch.ts';
import { parseFrame, seal, verifyFrame } from '#shared/crypto/envelope.ts';
import { body, channelSecret, crypto, header, signingKey, verifyKey } from './fixtures.ts';

const sealed = (eventId: string): Uint8Array =>
  seal(crypto, { header: { ...header, eventId }, body, signingKey, channelSecret }).frame;

function parsed(bytes: Uint8Array) {
  const result = parseFrame(bytes);
  if (!result.ok) throw new Error(`refused: ${result.code}`);
  return result.frame;
}

test('one array is parsed once', () => {
  const frame = sealed('one');
  expect(parsed(frame)).toBe(parsed(frame));
  expect(parsed(frame.slice())).not.toBe(parsed(frame));
  expect(parseBatch(frame)).toEqual({ ok: false, code: 'LANE_MISMATCH' });
});

test('an array that is used again gives what it holds now', () => {
  const [one, other] = [sealed('one'), sealed('two')];
  const buffer = new Uint8Array(one);
  expect(parsed(buffer).header.eventId).toBe('one');
  buffer.set(other);
  expect(parsed(buffer).header.eventId).toBe('two');
  expect(verifyFrame(crypto, parsed(buffer), verifyKey).ok).toBe(true);
  buffer[buffer.length - 1] = (buffer.at(-1) ?? 0) ^ 1;
  expect(verifyFrame(crypto, parsed(buffer), verifyKey).ok).toBe(false);
  buffer.fill(0);
  expect(parseFrame(buffer)).toEqual({ ok: false, code: 'FRAME_MALFORMED' });
});

test('what a reader does to a parsed frame reaches no other', () => {
  const frame = sealed('one');
  parsed(frame).parts.ciphertext.fill(0);
  expect(verifyFrame(crypto, parsed(frame), verifyKey).ok).toBe(true);
  expect(() => Object.assign(parsed(frame).header, { sender: 'other' })).toThrow(TypeError);
});
