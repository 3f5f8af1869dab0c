/**
 * The sealed event: encrypt, then sign one short statement over everything that matters.
 *
 * Opening is three separate steps, because different readers may do different ones: `parseFrame`
 * (structure, no key), `verifyFrame` (who said it, public key only), `openFrame` (content, channel
 * secret). All three work on the received bytes, never on a re-encoding. What a received frame can do
 * wrong is one of a closed set of codes; nothing here throws because of what a peer has sent. Batches
 * of the bulk lane are another matter (`batch.ts`): no function here takes one.
 *
 * A disclosure is one event opened for everybody: with it and the sender's public key, and no secret,
 * anyone checks that this sender said exactly this.
 */
import { bodyBytesMax, disclosureValidator, saltBytes } from '#schemas/frame.ts';
import type { Disclosure, Header } from '#schemas/frame.ts';
import { concat, equalConstantTime, toHex } from './bytes.ts';
import { decodeCanonical, encodeCanonical } from './canonical-msgpack.ts';
import type { CanonicalValue } from './canonical-msgpack.ts';
import { CryptoError, invariant } from './errors.ts';
import type { SigningKey, VerifyKey } from './key-handle.ts';
import type { CryptoProvider } from './provider.ts';
import {
  decryptFrame,
  encryptFrame,
  frameBytes,
  isOfKind,
  parseSealed,
  sealedCiphertextHash,
  sealedHash,
  verifySealed,
  verifySealedAsync,
} from './sealed-frame.ts';
import type { SealedFrame } from './sealed-frame.ts';
import {
  namesKey,
  parseHeader,
  refused,
  signatureInput,
  statementOf,
  verified,
} from './statement.ts';
import type { Refused, Verified, VerifyResult } from './statement.ts';

export type { EnvelopeRefusal, Refused, Verified, VerifyResult } from './statement.ts';

/** An event's frame whose structure holds. */
export interface ParsedFrame extends SealedFrame {
  readonly kind: 'event';
}

export interface SealInput {
  /** Complete: `SenderChain` is what fills in chain fields so that no nonce repeats. */
  readonly header: Header;
  /** Any value with a canonical encoding of at most 448 KiB. */
  readonly body: unknown;
  /** Its key id must be the header's `senderKeyId`. */
  readonly signingKey: SigningKey;
  /** 32 bytes. */
  readonly channelSecret: Uint8Array;
}

export interface SealedEvent {
  readonly frame: Uint8Array;
  readonly header: Header;
  /** 32 bytes. */
  readonly statementHash: Uint8Array;
  /** `statementHash` in hexadecimal: the message id on the bus. */
  readonly messageId: string;
  /** What the sender can show to third parties. */
  readonly disclosure: Disclosure;
}

export type ParseResult = { readonly ok: true; readonly frame: ParsedFrame } | Refused;
export type OpenResult =
  | {
      readonly ok: true;
      readonly body: CanonicalValue;
      /** The body as encoded by the sender: what a disclosure carries. */
      readonly bodyBytes: Uint8Array;
      /** 32 bytes. */
      readonly salt: Uint8Array;
    }
  | Refused;
export type DisclosureResult =
  (Verified & { readonly header: Header; readonly body: CanonicalValue }) | Refused;

/**
 * Seals one event. Throws `CryptoError` `NOT_ENCODABLE` for a body without canonical form or beyond
 * 448 KiB, or a header out of its schema. Salt and signature are fresh: two calls never give the
 * same frame. The caller guarantees that the counter is used once (`SenderChain`).
 */
export function seal(crypto: CryptoProvider, input: SealInput): SealedEvent {
  const { header, signingKey, channelSecret } = input;
  invariant(isOfKind(header, 'event'), 'an event is not on the bulk lane');
  const body = encodeCanonical(input.body, { floats: true });
  if (body.length > bodyBytesMax) {
    throw new CryptoError('NOT_ENCODABLE', `a body has at most ${bodyBytesMax} bytes`);
  }
  const salt = crypto.randomBytes(saltBytes);
  const plaintext = concat(salt, body);
  const digest = crypto.blake3(plaintext);
  const frame = encryptFrame(crypto, {
    header,
    signingKey,
    channelSecret,
    plaintext,
    digest,
    label: 'event',
  });
  const signature = crypto.sign(signingKey, frame.toSign);
  const { parts, ciphertextHash, statementHash } = frame;
  return {
    frame: frameBytes(frame, signature),
    header,
    statementHash,
    messageId: toHex(statementHash),
    disclosure: {
      header: parts.header,
      ciphertextHash,
      commitment: parts.commitment,
      seal: signature,
      salt,
      body,
    },
  };
}

/**
 * Checks structure and bounds of a received frame: FRAME_TOO_LARGE, FRAME_MALFORMED,
 * VERSION_UNKNOWN, SUITE_UNKNOWN, and LANE_MISMATCH for a batch, which is never an event. Nothing in
 * the result is authentic yet. The bytes are copied, so the buffer may be reused.
 */
export function parseFrame(received: Uint8Array): ParseResult {
  return parseSealed(received, 'event');
}

/**
 * Checks the seal over the rebuilt statement, with the context of the header's type, under `key`
 * (SIGNATURE_INVALID, also where the header names another key). Needs no secret.
 */
export function verifyFrame(
  crypto: CryptoProvider,
  frame: ParsedFrame,
  key: VerifyKey,
): VerifyResult {
  return verifySealed(crypto, frame, key);
}

/** As `verifyFrame`, with the signature check in the thread pool where the provider has one. */
export function verifyFrameAsync(
  crypto: CryptoProvider,
  frame: ParsedFrame,
  key: VerifyKey,
): Promise<VerifyResult> {
  return verifySealedAsync(crypto, frame, key);
}

/**
 * The hash that names a frame (32 bytes), without checking any signature: for tools that index what
 * they were given. What acts on an event takes it from `verifyFrame`.
 */
export function statementHashOf(crypto: CryptoProvider, frame: ParsedFrame): Uint8Array {
  return sealedHash(crypto, frame);
}

/**
 * Decrypts with the secret of the header's channel and epoch: COMMITMENT_MISMATCH (checked first, in
 * constant time), TAG_INVALID, DIGEST_MISMATCH, BODY_MALFORMED. Says nothing about who sent it:
 * every member of the channel could have; that is `verifyFrame`.
 */
export function openFrame(
  crypto: CryptoProvider,
  frame: ParsedFrame,
  channelSecret: Uint8Array,
): OpenResult {
  const decrypted = decryptFrame(crypto, frame, channelSecret);
  if (!decrypted.ok) return decrypted;
  const { plaintext } = decrypted;
  if (!equalConstantTime(crypto.blake3(plaintext), frame.parts.digest)) {
    return refused('DIGEST_MISMATCH');
  }
  const bodyBytes = plaintext.subarray(saltBytes);
  const body = decodeCanonical(bodyBytes, { floats: true });
  if (!body.ok) return refused('BODY_MALFORMED');
  return { ok: true, body: body.value, bodyBytes, salt: plaintext.slice(0, saltBytes) };
}

/**
 * What shows this event to someone without the channel secret. `salt` and `bodyBytes` come from
 * `openFrame`; nothing is checked here.
 */
export function disclose(
  crypto: CryptoProvider,
  frame: ParsedFrame,
  opened: { readonly salt: Uint8Array; readonly bodyBytes: Uint8Array },
): Disclosure {
  const { header, commitment, seal: signature } = frame.parts;
  return {
    header,
    ciphertextHash: sealedCiphertextHash(crypto, frame),
    commitment,
    seal: signature,
    salt: opened.salt,
    body: opened.bodyBytes,
  };
}

/**
 * Checks a disclosure of any origin against the sender's public key: FRAME_MALFORMED,
 * VERSION_UNKNOWN, SUITE_UNKNOWN, SIGNATURE_INVALID (any change to header, hash, commitment, salt or
 * body ends here), BODY_MALFORMED.
 */
export function verifyDisclosure(
  crypto: CryptoProvider,
  disclosure: unknown,
  key: VerifyKey,
): DisclosureResult {
  const parsed = parseDisclosure(disclosure);
  if (!parsed.ok) return parsed;
  const { header, parts } = parsed;
  if (!namesKey(header, key)) return refused('SIGNATURE_INVALID');
  const digest = crypto.blake3(concat(parts.salt, parts.body));
  const statement = statementOf(crypto, { ...parts, digest });
  if (!crypto.verify(key, signatureInput(header, statement, parts.seal))) {
    return refused('SIGNATURE_INVALID');
  }
  const body = decodeCanonical(parts.body, { floats: true });
  if (!body.ok) return refused('BODY_MALFORMED');
  return { ...verified(crypto, statement), header, body: body.value };
}

/** The header of a disclosure, not yet authentic: which key to verify with. */
export function parseDisclosure(
  disclosure: unknown,
): { readonly ok: true; readonly header: Header; readonly parts: Disclosure } | Refused {
  if (!disclosureValidator.check(disclosure)) return refused('FRAME_MALFORMED');
  const header = parseHeader(disclosure.header);
  if (!header.ok) return header;
  if (!isOfKind(header.header, 'event')) return refused('LANE_MISMATCH');
  return { ok: true, header: header.header, parts: disclosure };
}
