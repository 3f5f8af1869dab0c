/** JSON of the key service: what a request may say and how an answer is written. */

import {
  Base64Url,
  compile,
  DigestHex,
  StrictObject,
  Type,
  type Static,
} from '#schemas/primitives.ts';
import { fromBase64Url, toBase64Url } from '#shared/crypto/bytes.ts';
import type { WorkloadInput, WorkloadOutcome, WorkloadSlot } from './workload.ts';

/** 48 KiB in base64url: what fits into a body of 64 KiB. */
const charsMax = 65_536;

/** Bytes that may also be empty. */
function Payload() {
  return Type.Union([Type.Literal(''), Base64Url(charsMax)]);
}

const Request = StrictObject({
  message: Type.Optional(Payload()),
  signature: Type.Optional(Payload()),
  tag: Type.Optional(Payload()),
  plaintext: Type.Optional(Payload()),
  ciphertext: Type.Optional(Payload()),
  aad: Type.Optional(Payload()),
  keyId: Type.Optional(DigestHex()),
});
type Request = Static<typeof Request>;
const requestCheck = compile(Request);

const byteFields = ['message', 'signature', 'tag', 'plaintext', 'ciphertext', 'aad'] as const;
const resultFields = ['signature', 'tag', 'plaintext', 'ciphertext', 'sharedSecret'] as const;

/** The input of an operation, or undefined for anything that is not one. */
export function inputOf(body: Uint8Array): WorkloadInput | undefined {
  const request = parsed(body);
  if (request === undefined) return undefined;
  const input: { -readonly [Field in keyof WorkloadInput]: WorkloadInput[Field] } = {};
  if (request.keyId !== undefined) input.keyId = request.keyId;
  for (const field of byteFields) {
    const text = request[field];
    if (text === undefined) continue;
    const bytes = fromBase64Url(text);
    if (bytes === undefined) return undefined;
    input[field] = bytes;
  }
  return input;
}

/** An answer; a shared secret in it is wiped here once it is written. */
export function resultOf(
  outcome: Extract<WorkloadOutcome, { status: 'done' }>,
): Record<string, unknown> {
  const { version, keyId, result } = outcome;
  const answer: Record<string, unknown> = { version, keyId };
  if (result.valid !== undefined) answer['valid'] = result.valid;
  for (const field of resultFields) {
    const bytes = result[field];
    if (bytes !== undefined) answer[field] = toBase64Url(bytes);
  }
  result.sharedSecret?.fill(0);
  result.plaintext?.fill(0);
  return answer;
}

export function listingOf(slots: readonly WorkloadSlot[]): Record<string, unknown> {
  return {
    slots: slots.map(({ publicKey, ...slot }) =>
      publicKey === undefined ? slot : { ...slot, publicKey: toBase64Url(publicKey) },
    ),
  };
}

function parsed(body: Uint8Array): Request | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    // Not JSON, or not UTF-8: an expected outcome with its own answer.
    return undefined;
  }
  return requestCheck.check(value) ? value : undefined;
}
