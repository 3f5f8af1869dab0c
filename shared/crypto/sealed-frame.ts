/**
 * What an event and a batch have in common on the wire: five parts, a header that is authenticated,
 * one ciphertext, one statement, one signature. What differs is the lane, the label of the statement
 * and what the digest is of; `envelope.ts` and `batch.ts` say that.
 */
import { frameBytesMax, frameValidator, headerBytesMax, headerValidator } from '#schemas/frame.ts';
import type { Frame, Header } from '#schemas/frame.ts';
import { equalConstantTime, samePublicBytes } from './bytes.ts';
import { decodeCanonical, encodeCanonical } from './canonical-msgpack.ts';
import { CryptoError, invariant } from './errors.ts';
import { deriveChannelKeys, messageNonce } from './key-schedule.ts';
import type { SigningKey, VerifyKey } from './key-handle.ts';
import type { CryptoProvider, SignInput } from './provider.ts';
import {
  ciphertextHashOf,
  eventContext,
  namesKey,
  parseHeader,
  refused,
  signatureInput,
  statementOf,
  verified,
} from './statement.ts';
import type { Refused, StatementLabel, Verified, VerifyResult } from './statement.ts';

export type FrameKind = 'event' | 'batch';

/** A frame whose structure holds. Its parts are views onto one private copy of the received bytes. */
export interface SealedFrame {
  readonly kind: FrameKind;
  /** The frame as received. */
  readonly bytes: Uint8Array;
  readonly header: Header;
  readonly parts: Frame;
}

export interface EncryptInput {
  /** Its sender's key id must be that of the key that will sign. */
  readonly header: Header;
  readonly signingKey: SigningKey;
  /** 32 bytes. */
  readonly channelSecret: Uint8Array;
  /** Wiped once it is encrypted. */
  readonly plaintext: Uint8Array;
  /** 32 bytes. */
  readonly digest: Uint8Array;
  readonly label: StatementLabel;
}

/** All of a frame but its signature. */
export interface UnsealedFrame {
  readonly parts: Omit<Frame, 'seal'>;
  /** SHA3-512 of the ciphertext, 64 bytes. */
  readonly ciphertextHash: Uint8Array;
  /** What is to be signed. */
  readonly toSign: SignInput;
  /** 32 bytes: names the frame, before it is signed already. */
  readonly statementHash: Uint8Array;
}

/** Throws `CryptoError` `NOT_ENCODABLE` for a header out of its schema. */
export function encryptFrame(crypto: CryptoProvider, input: EncryptInput): UnsealedFrame {
  const { header, plaintext, digest, signingKey, channelSecret, label } = input;
  const headerBytes = encodeHeader(header);
  invariant(
    equalConstantTime(header.senderKeyId, signingKey.publicKey.keyId),
    'the header names the key that signs',
  );
  const keys = deriveChannelKeys(crypto, channelSecret, header);
  const ciphertext = crypto.aeadSeal({
    algorithm: 'ChaCha20-Poly1305',
    key: keys.key,
    nonce: messageNonce(keys.baseNonce, header.counter),
    aad: headerBytes,
    plaintext,
  });
  keys.wipe();
  plaintext.fill(0);
  const { commitment } = keys;
  const ciphertextHash = ciphertextHashOf(crypto, ciphertext, label);
  const parts = { header: headerBytes, commitment, ciphertext, digest };
  const message = statementOf(crypto, { ...parts, ciphertextHash }, label);
  return {
    parts,
    ciphertextHash,
    toSign: { message, context: eventContext(header.type) },
    statementHash: crypto.blake3(message),
  };
}

/** The frame, once it is signed. */
export function frameBytes({ parts }: UnsealedFrame, seal: Uint8Array): Uint8Array {
  return encodeCanonical({ ...parts, seal } satisfies Frame);
}

type Parsed<Kind extends FrameKind> = {
  readonly ok: true;
  readonly frame: SealedFrame & { readonly kind: Kind };
};

/**
 * Frames by the array that they were received in. What is delivered is looked at by everyone whom it
 * passes: two gates, the receiver, who acts on it. Nobody is given a frame that is not what the array
 * holds now, and what came of bytes that are refused is not kept.
 */
const parsedFrames = new WeakMap<Uint8Array, Parsed<FrameKind>>();

/**
 * Structure and bounds of received bytes: FRAME_TOO_LARGE, FRAME_MALFORMED, VERSION_UNKNOWN,
 * SUITE_UNKNOWN, and LANE_MISMATCH where a batch stands for an event or an event for a batch. The
 * bytes are copied, so the buffer may be reused.
 */
export function parseSealed<Kind extends FrameKind>(
  received: Uint8Array,
  kind: Kind,
): Parsed<Kind> | Refused {
  const known = parsedFrames.get(received);
  if (isKind(known, kind) && samePublicBytes(known.frame.bytes, received)) return known;
  const parsed = parse(received, kind);
  if (parsed.ok) parsedFrames.set(received, parsed);
  return parsed;
}

function isKind<Kind extends FrameKind>(
  parsed: Parsed<FrameKind> | undefined,
  kind: Kind,
): parsed is Parsed<Kind> {
  return parsed?.frame.kind === kind;
}

function parse<Kind extends FrameKind>(received: Uint8Array, kind: Kind): Parsed<Kind> | Refused {
  if (received.length > frameBytesMax) return refused('FRAME_TOO_LARGE');
  const bytes = new Uint8Array(received);
  const decoded = decodeCanonical(bytes);
  if (!decoded.ok || !frameValidator.check(decoded.value)) return refused('FRAME_MALFORMED');
  const parts = Object.freeze(decoded.value);
  const parsed = parseHeader(parts.header);
  if (!parsed.ok) return parsed;
  const header = Object.freeze(parsed.header);
  if (!isOfKind(header, kind)) return refused('LANE_MISMATCH');
  return { ok: true, frame: Object.freeze({ kind, bytes, header, parts }) };
}

/** A batch is on the bulk lane, and nothing else is. */
export function isOfKind({ lane }: Header, kind: FrameKind): boolean {
  return (lane === 'bulk') === (kind === 'batch');
}

/** What two steps need of one frame, and everyone whom it passes. */
const ciphertextHashes = new WeakMap<SealedFrame, Uint8Array>();

/** As `ciphertextHashOf`, once for each frame. Whose provider it is makes no difference. */
export function sealedCiphertextHash(crypto: CryptoProvider, frame: SealedFrame): Uint8Array {
  const known = ciphertextHashes.get(frame);
  if (known !== undefined) return known.slice();
  const hash = ciphertextHashOf(crypto, frame.parts.ciphertext, frame.kind);
  ciphertextHashes.set(frame, hash.slice());
  return hash;
}

/** What a seal signs, and the name that comes of it: held or not, that is for the seal to show. */
interface Named {
  readonly statement: Uint8Array;
  readonly verified: Verified;
}
const named = new WeakMap<SealedFrame, Named>();

/** Made once for each frame; not to be changed, nor handed out. */
function namedOf(crypto: CryptoProvider, frame: SealedFrame): Named {
  const known = named.get(frame);
  if (known !== undefined) return known;
  const ciphertextHash = sealedCiphertextHash(crypto, frame);
  const statement = statementOf(crypto, { ...frame.parts, ciphertextHash }, frame.kind);
  const made = { statement, verified: verified(crypto, statement) };
  named.set(frame, made);
  return made;
}

/** The bytes that the seal signs. */
export function sealedStatement(crypto: CryptoProvider, frame: SealedFrame): Uint8Array {
  return namedOf(crypto, frame).statement.slice();
}

/** The hash that names the frame: 32 bytes. No signature is checked. */
export function sealedHash(crypto: CryptoProvider, frame: SealedFrame): Uint8Array {
  return namedOf(crypto, frame).verified.statementHash.slice();
}

/** SIGNATURE_INVALID, also where the header names another key. */
export function verifySealed(
  crypto: CryptoProvider,
  frame: SealedFrame,
  key: VerifyKey,
): VerifyResult {
  if (!namesKey(frame.header, key)) return refused('SIGNATURE_INVALID');
  const { statement, verified: name } = namedOf(crypto, frame);
  const input = signatureInput(frame.header, statement, frame.parts.seal);
  return crypto.verify(key, input) ? copyOf(name) : refused('SIGNATURE_INVALID');
}

/** As `verifySealed`, with the signature check in the thread pool where the provider has one. */
export async function verifySealedAsync(
  crypto: CryptoProvider,
  frame: SealedFrame,
  key: VerifyKey,
): Promise<VerifyResult> {
  if (!namesKey(frame.header, key)) return refused('SIGNATURE_INVALID');
  const { statement, verified: name } = namedOf(crypto, frame);
  const input = signatureInput(frame.header, statement, frame.parts.seal);
  return (await crypto.verifyAsync(key, input)) ? copyOf(name) : refused('SIGNATURE_INVALID');
}

function copyOf({ statementHash, messageId }: Verified): Verified {
  return { ok: true, statementHash: statementHash.slice(), messageId };
}

/** COMMITMENT_MISMATCH (checked first, in constant time), TAG_INVALID. */
export function decryptFrame(
  crypto: CryptoProvider,
  { header, parts }: SealedFrame,
  channelSecret: Uint8Array,
): { readonly ok: true; readonly plaintext: Uint8Array } | Refused {
  const keys = deriveChannelKeys(crypto, channelSecret, header);
  try {
    if (!equalConstantTime(keys.commitment, parts.commitment)) {
      return refused('COMMITMENT_MISMATCH');
    }
    const plaintext = crypto.aeadOpen({
      algorithm: 'ChaCha20-Poly1305',
      key: keys.key,
      nonce: messageNonce(keys.baseNonce, header.counter),
      aad: parts.header,
      ciphertext: parts.ciphertext,
    });
    return plaintext === undefined ? refused('TAG_INVALID') : { ok: true, plaintext };
  } finally {
    keys.wipe();
  }
}

function encodeHeader(header: Header): Uint8Array {
  if (!headerValidator.check(header)) {
    const errors = headerValidator.errors(header).join('; ');
    throw new CryptoError('NOT_ENCODABLE', `the header is out of its schema: ${errors}`);
  }
  const bytes = encodeCanonical(header);
  if (bytes.length > headerBytesMax) {
    throw new CryptoError('NOT_ENCODABLE', `a header has at most ${headerBytesMax} bytes`);
  }
  return bytes;
}
