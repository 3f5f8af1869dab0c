/**
 * Many events under one header, one ciphertext and one signature: the bulk lane. What travels here is
 * evidence for detection, never authority for an action; therefore nothing of it can be handed to
 * what reads events (another lane, another label of the statement, another type in this code).
 *
 * Plaintext: 32-byte batch salt ‖ canonical MessagePack array of 1 to 256 `bin`, one event each.
 * salt_i is bytes 32·i to 32·i + 31 of the ChaCha20 keystream (RFC 8439 section 2.4) from block 1
 * under the batch salt as key and the nonce "gyre/v1/salt": showing one of them opens no other.
 * Leaf i is BLAKE3-256(salt_i ‖ event_i), hashed and joined as in RFC 9162 section 2.1 with SHA-256.
 * digest = SHA-256(0x02 ‖ count, 4 bytes ‖ root): the signature covers the number of events too.
 */
import {
  batchEventBytesMax,
  batchEventsMax,
  batchProofValidator,
  bodyBytesMax,
  saltBytes,
} from '#schemas/frame.ts';
import type { BatchProof, Header } from '#schemas/frame.ts';
import { rootOfPath, treeLevels, treePath, treeRoot } from '#shared/core/batch-tree.ts';
import type { TreeLevels } from '#shared/core/batch-tree.ts';
import { equalConstantTime, toHex, utf8 } from './bytes.ts';
import { decodeCanonical } from './canonical-msgpack.ts';
import type { CanonicalValue } from './canonical-msgpack.ts';
import { encodeEventList, parseEventList } from './batch-list.ts';
import { CryptoError, invariant } from './errors.ts';
import type { SigningKey, VerifyKey } from './key-handle.ts';
import type { CryptoProvider } from './provider.ts';
import {
  decryptFrame,
  encryptFrame,
  frameBytes,
  isOfKind,
  parseSealed,
  sealedHash,
  verifySealed,
  verifySealedAsync,
} from './sealed-frame.ts';
import type { SealedFrame, UnsealedFrame } from './sealed-frame.ts';
import {
  ciphertextHashOf,
  namesKey,
  parseHeader,
  refused,
  signatureInput,
  statementOf,
  verified,
} from './statement.ts';
import type { Refused, Verified, VerifyResult } from './statement.ts';

/** A batch's frame whose structure holds. */
export interface ParsedBatch extends SealedFrame {
  readonly kind: 'batch';
}

export interface BatchInput {
  /** On the bulk lane. */
  readonly header: Header;
  /** 1 to 256, each canonical MessagePack of 1 to 4,096 bytes, together at most 448 KiB. */
  readonly events: readonly Uint8Array[];
  /** Its key id must be the header's `senderKeyId`. */
  readonly signingKey: SigningKey;
  /** 32 bytes. */
  readonly channelSecret: Uint8Array;
}

export interface SealedBatch {
  readonly frame: Uint8Array;
  readonly header: Header;
  /** 32 bytes. */
  readonly statementHash: Uint8Array;
  /** `statementHash` in hexadecimal: the message id on the bus. */
  readonly messageId: string;
}

/** A batch as its readers see it. */
export interface OpenedBatch {
  /** Views onto the plaintext, in order. */
  readonly events: readonly Uint8Array[];
  /** Salts of all events, 32 bytes each. */
  readonly salts: Uint8Array;
  readonly tree: TreeLevels;
}

export type ParseBatchResult = { readonly ok: true; readonly batch: ParsedBatch } | Refused;
export type OpenBatchResult = ({ readonly ok: true } & OpenedBatch) | Refused;
export type ProofResult =
  | (Verified & {
      readonly header: Header;
      readonly event: CanonicalValue;
      readonly index: number;
      readonly count: number;
    })
  | Refused;

const saltNonce = utf8('gyre/v1/salt');
const noData = new Uint8Array(0);
const digestInputBytes = 1 + 4 + 32;

/** Seals a batch. Throws `CryptoError` `NOT_ENCODABLE` for what is out of its bounds. */
export function sealBatch(crypto: CryptoProvider, input: BatchInput): SealedBatch {
  const frame = encryptBatch(crypto, input);
  return sealed(input.header, frame, crypto.sign(input.signingKey, frame.toSign));
}

/** As `sealBatch`, signed in the thread pool where the provider has one. */
export async function sealBatchAsync(
  crypto: CryptoProvider,
  input: BatchInput,
): Promise<SealedBatch> {
  const frame = encryptBatch(crypto, input);
  return sealed(input.header, frame, await crypto.signAsync(input.signingKey, frame.toSign));
}

/** As `parseFrame`; LANE_MISMATCH for everything that is not a batch. */
export function parseBatch(received: Uint8Array): ParseBatchResult {
  const parsed = parseSealed(received, 'batch');
  return parsed.ok ? { ok: true, batch: parsed.frame } : parsed;
}

/** As `verifyFrame`: SIGNATURE_INVALID. Needs no secret and no content. */
export function verifyBatch(
  crypto: CryptoProvider,
  batch: ParsedBatch,
  key: VerifyKey,
): VerifyResult {
  return verifySealed(crypto, batch, key);
}

/** As `verifyBatch`, in the thread pool where the provider has one. */
export function verifyBatchAsync(
  crypto: CryptoProvider,
  batch: ParsedBatch,
  key: VerifyKey,
): Promise<VerifyResult> {
  return verifySealedAsync(crypto, batch, key);
}

/** The hash that names a batch (32 bytes); nothing is checked. */
export function batchHashOf(crypto: CryptoProvider, batch: ParsedBatch): Uint8Array {
  return sealedHash(crypto, batch);
}

/**
 * Decrypts a batch and builds its tree: COMMITMENT_MISMATCH, TAG_INVALID, BATCH_MALFORMED,
 * DIGEST_MISMATCH. What the events say is not looked at.
 */
export function openBatch(
  crypto: CryptoProvider,
  batch: ParsedBatch,
  channelSecret: Uint8Array,
): OpenBatchResult {
  const decrypted = decryptFrame(crypto, batch, channelSecret);
  if (!decrypted.ok) return decrypted;
  const { plaintext } = decrypted;
  const events = parseEventList(plaintext.subarray(saltBytes));
  if (events === undefined) return refused('BATCH_MALFORMED');
  const salts = eventSalts(crypto, plaintext.subarray(0, saltBytes), events.length);
  const tree = treeOf(crypto, events, salts);
  const digest = batchDigest(crypto, treeRoot(tree), events.length);
  if (!equalConstantTime(digest, batch.parts.digest)) return refused('DIGEST_MISMATCH');
  return { ok: true, events, salts, tree };
}

/** What shows event `index` of an opened batch to everybody, and none of the others. */
export function proveEvent(
  crypto: CryptoProvider,
  { parts }: ParsedBatch,
  { events, salts, tree, index }: OpenedBatch & { readonly index: number },
): BatchProof {
  const event = events[index];
  invariant(event !== undefined, 'the batch has an event of this index');
  return {
    header: parts.header,
    ciphertextHash: ciphertextHashOf(crypto, parts.ciphertext, 'batch'),
    commitment: parts.commitment,
    seal: parts.seal,
    salt: salts.slice(saltBytes * index, saltBytes * (index + 1)),
    event: event.slice(),
    index,
    count: events.length,
    path: treePath(tree, index),
  };
}

/** The header of a proof, not yet authentic: which key to verify with. */
export function parseProof(
  proof: unknown,
): { readonly ok: true; readonly header: Header; readonly parts: BatchProof } | Refused {
  if (!batchProofValidator.check(proof)) return refused('FRAME_MALFORMED');
  const header = parseHeader(proof.header);
  if (!header.ok) return header;
  if (!isOfKind(header.header, 'batch')) return refused('LANE_MISMATCH');
  return { ok: true, header: header.header, parts: proof };
}

/**
 * Checks a proof of any origin against the sender's public key: FRAME_MALFORMED, VERSION_UNKNOWN,
 * SUITE_UNKNOWN, LANE_MISMATCH, PROOF_MALFORMED (the path has not the length that index and count ask
 * for), SIGNATURE_INVALID (any other change of any part ends here), BODY_MALFORMED.
 */
export function verifyProof(crypto: CryptoProvider, proof: unknown, key: VerifyKey): ProofResult {
  const parsed = parseProof(proof);
  if (!parsed.ok) return parsed;
  const { header, parts } = parsed;
  const { index, count, path } = parts;
  if (!namesKey(header, key)) return refused('SIGNATURE_INVALID');
  const [leaf] = leafHashes(crypto, [parts.event], parts.salt);
  invariant(leaf !== undefined, 'one event has one leaf');
  const root = rootOfPath((input) => crypto.sha256(input), { leaf, index, count, path });
  if (root === undefined) return refused('PROOF_MALFORMED');
  const digest = batchDigest(crypto, root, count);
  const statement = statementOf(crypto, { ...parts, digest }, 'batch');
  if (!crypto.verify(key, signatureInput(header, statement, parts.seal))) {
    return refused('SIGNATURE_INVALID');
  }
  const event = decodeCanonical(parts.event, { floats: true });
  if (!event.ok) return refused('BODY_MALFORMED');
  return { ...verified(crypto, statement), header, event: event.value, index, count };
}

function encryptBatch(crypto: CryptoProvider, input: BatchInput): UnsealedFrame {
  const { events, header, signingKey, channelSecret } = input;
  invariant(isOfKind(header, 'batch'), 'a batch is on the bulk lane');
  if (events.length < 1 || events.length > batchEventsMax) {
    throw new CryptoError('NOT_ENCODABLE', `a batch has 1 to ${batchEventsMax} events`);
  }
  if (!events.every(({ length }) => length >= 1 && length <= batchEventBytesMax)) {
    throw new CryptoError('NOT_ENCODABLE', `an event has 1 to ${batchEventBytesMax} bytes`);
  }
  const plaintext = encodeEventList(events, saltBytes);
  if (plaintext.length > saltBytes + bodyBytesMax) {
    throw new CryptoError('NOT_ENCODABLE', `a batch has at most ${bodyBytesMax} bytes`);
  }
  const salt = crypto.randomBytes(saltBytes);
  plaintext.set(salt);
  const tree = treeOf(crypto, events, eventSalts(crypto, salt, events.length));
  const digest = batchDigest(crypto, treeRoot(tree), events.length);
  salt.fill(0);
  const label = 'batch';
  return encryptFrame(crypto, { header, signingKey, channelSecret, plaintext, digest, label });
}

function sealed(header: Header, frame: UnsealedFrame, signature: Uint8Array): SealedBatch {
  const { statementHash } = frame;
  return {
    frame: frameBytes(frame, signature),
    header,
    statementHash,
    messageId: toHex(statementHash),
  };
}

/** One call for all salts: the cipher's keystream is what zeros encrypt to. */
function eventSalts(crypto: CryptoProvider, batchSalt: Uint8Array, count: number): Uint8Array {
  const plaintext = new Uint8Array(saltBytes * count);
  const algorithm = 'ChaCha20-Poly1305' as const;
  return crypto
    .aeadSeal({ algorithm, key: batchSalt, nonce: saltNonce, aad: noData, plaintext })
    .subarray(0, plaintext.length);
}

function treeOf(
  crypto: CryptoProvider,
  events: readonly Uint8Array[],
  salts: Uint8Array,
): TreeLevels {
  return treeLevels((input) => crypto.sha256(input), leafHashes(crypto, events, salts));
}

/** SHA-256(0x00 ‖ BLAKE3(salt_i ‖ event_i)) of each event; two buffers serve them all. */
function leafHashes(
  crypto: CryptoProvider,
  events: readonly Uint8Array[],
  salts: Uint8Array,
): Uint8Array[] {
  const salted = new Uint8Array(saltBytes + batchEventBytesMax);
  const leaf = new Uint8Array(1 + 32);
  const hashes: Uint8Array[] = [];
  let at = 0;
  for (const event of events) {
    salted.set(salts.subarray(at, at + saltBytes));
    salted.set(event, saltBytes);
    leaf.set(crypto.blake3(salted.subarray(0, saltBytes + event.length)), 1);
    hashes.push(crypto.sha256(leaf));
    at += saltBytes;
  }
  return hashes;
}

/** SHA-256(0x02 ‖ count in four bytes ‖ root); leaves begin with 0x00 and nodes with 0x01. */
function batchDigest(crypto: CryptoProvider, root: Uint8Array, count: number): Uint8Array {
  const input = new Uint8Array(digestInputBytes);
  input[0] = 2;
  new DataView(input.buffer).setUint32(1, count);
  input.set(root, 5);
  return crypto.sha256(input);
}
