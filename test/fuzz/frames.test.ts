/**
 * Frames, disclosures and proofs, from the testkit's cases with something done to them: bits, lengths,
 * parts of two cases in one, keys twice. A reader answers with a code of the closed set, and a changed
 * frame passes for nothing: what still verifies is, byte for byte, something that was signed.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  openBatch,
  parseBatch,
  parseProof,
  verifyBatch,
  verifyProof,
} from '#shared/crypto/batch.ts';
import { decodeCanonical, encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import {
  openFrame,
  parseDisclosure,
  parseFrame,
  statementHashOf,
  verifyDisclosure,
  verifyFrame,
} from '#shared/crypto/envelope.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { envelopeRefusals, parseHeader } from '#shared/crypto/statement.ts';
import { readCanonical } from '#shared/crypto/canonical-reader.ts';
import { telemetryOf } from '#shared/runtime/bulk-receiver.ts';
import { anyBytes, anyValue, frameCases, mutated } from './inputs.ts';
import { timeoutMs, tries } from './runs.ts';

const crypto = createNativeProvider();
const keys = JSON.parse(
  readFileSync(join(import.meta.dirname, '../testkit/keys.json'), 'utf8'),
) as { sender: { publicKey: string }; channelSecret: string };
const key = crypto.importVerifyKey(Buffer.from(keys.sender.publicKey, 'base64'));
const secret = new Uint8Array(Buffer.from(keys.channelSecret, 'hex'));

const bytes = frameCases.map((each) => each.bytes);
const known = new Set(bytes.map((each) => Buffer.from(each).toString('base64')));
const inputs = fc.oneof(
  { weight: 1, arbitrary: anyBytes },
  { weight: 6, arbitrary: mutated(bytes) },
);
const options = { timeout: timeoutMs };

type Result = { readonly ok: true } | { readonly ok: false; readonly code: string };

/** Refused with a code that is known; or true. */
function isTaken(result: Result): boolean {
  if (!result.ok) expect(envelopeRefusals).toContain(result.code);
  return result.ok;
}

function expectSigned(received: Uint8Array): void {
  expect(known.has(Buffer.from(received).toString('base64'))).toBe(true);
}

describe('frames', options, () => {
  test('of events', () => {
    fc.assert(
      fc.property(inputs, (received) => {
        const parsed = parseFrame(received);
        if (!isTaken(parsed) || !parsed.ok) return;
        const { frame } = parsed;
        expect(Buffer.compare(encodeCanonical(frame.parts), received)).toBe(0);
        expect(Buffer.compare(encodeCanonical(frame.header), frame.parts.header)).toBe(0);
        expect(statementHashOf(crypto, frame)).toHaveLength(32);
        if (isTaken(verifyFrame(crypto, frame, key))) expectSigned(received);
        isTaken(openFrame(crypto, frame, secret));
      }),
      tries(900),
    );
    expect(known.size).toBeGreaterThan(60);
  });

  test('of batches', () => {
    fc.assert(
      fc.property(inputs, (received) => {
        const parsed = parseBatch(received);
        if (!isTaken(parsed) || !parsed.ok) return;
        const { batch } = parsed;
        expect(Buffer.compare(encodeCanonical(batch.parts), received)).toBe(0);
        if (isTaken(verifyBatch(crypto, batch, key))) expectSigned(received);
        const opened = openBatch(crypto, batch, secret);
        if (!isTaken(opened) || !opened.ok) return;
        const telemetry = telemetryOf(opened);
        if (telemetry !== undefined) expect(telemetry).toHaveLength(opened.events.length);
      }),
      tries(900),
    );
    expect(isTaken(parseBatch(new Uint8Array()))).toBe(false);
  });

  test('headers', () => {
    const headers = bytes.flatMap((each) => {
      const decoded = readCanonical(each)?.value;
      const header =
        typeof decoded === 'object' && decoded !== null && 'header' in decoded
          ? decoded.header
          : undefined;
      return header instanceof Uint8Array ? [header] : [];
    });
    fc.assert(
      fc.property(fc.oneof(anyBytes, mutated(headers)), (received) => {
        const parsed = parseHeader(received);
        if (!isTaken(parsed) || !parsed.ok) return;
        expect(Buffer.compare(encodeCanonical(parsed.header), received)).toBe(0);
      }),
      tries(1_500),
    );
    expect(headers.length).toBeGreaterThan(50);
  });
});

describe('what is shown to third parties', options, () => {
  const shown = frameCases.filter(({ kind }) => kind === 'disclosure' || kind === 'proof');
  const changed = mutated(shown.map((each) => each.bytes));

  test('as bytes, changed', () => {
    fc.assert(
      fc.property(changed, (received) => {
        const decoded = decodeCanonical(received);
        const value = decoded.ok ? decoded.value : undefined;
        isTaken(parseDisclosure(value));
        isTaken(parseProof(value));
        if (isTaken(verifyDisclosure(crypto, value, key))) expectSigned(received);
        if (isTaken(verifyProof(crypto, value, key))) expectSigned(received);
      }),
      tries(1_200),
    );
    expect(shown.length).toBeGreaterThan(15);
  });

  test('as any value', () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        expect(isTaken(verifyDisclosure(crypto, value, key))).toBe(false);
        expect(isTaken(verifyProof(crypto, value, key))).toBe(false);
      }),
      tries(500),
    );
    expect(shown.length).toBeGreaterThan(15);
  });
});
