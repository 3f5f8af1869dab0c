/**
 * The sealed event on the wire: the frame, its clear header, and the disclosure by which anyone can
 * check one event without a key. A frame and a header are canonical MessagePack (sorted keys,
 * shortest encodings); decoding and encoding again must give the received bytes.
 *
 * Suite 1 is ML-DSA-87 (FIPS 204) + ChaCha20-Poly1305 (RFC 8439) + BLAKE3-256 + HKDF-SHA256
 * (RFC 5869), with SHA3-512 inside the signed statement.
 */
import {
  AgentId,
  Bytes,
  BytesRange,
  compile,
  Identifier,
  IntegerRange,
  KebabName,
  List,
  OneOf,
  StrictObject,
  Subject,
  TimeMs,
  Type,
  Uint,
  Version,
} from './primitives.ts';
import type { Static } from './primitives.ts';

export const protocolVersion = 1;
export const suiteId = 1;

/** Whole frame: 512 KiB. */
export const frameBytesMax = 512 * 1024;
/** Encoded header: 1,024 bytes; enough for every field at its own maximum. */
export const headerBytesMax = 1024;
/** Encoded body, before salt and tag: 448 KiB. */
export const bodyBytesMax = 448 * 1024;
/** Salt in front of the body, digest, commitment, incarnation, key id, statement hash. */
export const saltBytes = 32;
/** Poly1305 tag behind the ciphertext (RFC 8439 section 2.8). */
export const tagBytes = 16;
/** ML-DSA-87 signature (FIPS 204 table 2). */
export const sealBytes = 4627;
/** Messages of one sender, incarnation, audience and lane: 2^20, counted from 1. */
export const chainMessagesMax = 2 ** 20;

/** `bulk`: many events in one frame, the digest is the root of their tree (`shared/crypto/batch.ts`). */
export const lanes = ['control', 'query', 'bulk'] as const;
export type Lane = (typeof lanes)[number];

/** What a frame says in clear; authenticated as additional data and by the signature. */
export const Header = StrictObject({
  version: Type.Literal(protocolVersion),
  suite: Type.Literal(suiteId),
  lane: OneOf(lanes),
  sender: AgentId(),
  senderKeyId: Bytes(32, { description: 'SHA3-256 of the raw public key of the sender' }),
  audience: AgentId({ description: 'an agent, or a channel' }),
  subject: Subject(),
  channel: KebabName(),
  epoch: Uint(),
  incarnation: Bytes(32, { description: 'random, drawn at each start of the sender' }),
  counter: IntegerRange({ min: 1, max: chainMessagesMax }),
  previous: Bytes(32, { description: 'statement hash of the event before, zeros for the first' }),
  registryVersion: Version(),
  registryDigest: Bytes(32),
  policyVersion: Version(),
  policyDigest: Bytes(32),
  type: KebabName({ description: 'event type; the context of the signature is gyre/v1/<type>' }),
  schemaVersion: Version(),
  timeMs: TimeMs(),
  expiresMs: TimeMs(),
  eventId: Identifier(),
});
export type Header = Static<typeof Header>;

/** The five parts of a frame, all MessagePack `bin`. */
export const Frame = StrictObject({
  header: BytesRange({ bytesMin: 1, bytesMax: headerBytesMax }),
  commitment: Bytes(32),
  ciphertext: BytesRange({
    bytesMin: saltBytes + tagBytes + 1,
    bytesMax: saltBytes + bodyBytesMax + tagBytes,
  }),
  digest: Bytes(32),
  seal: Bytes(sealBytes),
});
export type Frame = Static<typeof Frame>;

/**
 * One event, opened for everybody: with it and the sender's public key, and no secret, anyone
 * checks who said what. The digest is not carried: it is recomputed from salt and body.
 */
export const Disclosure = StrictObject({
  header: BytesRange({ bytesMin: 1, bytesMax: headerBytesMax }),
  ciphertextHash: Bytes(64, { description: 'SHA3-512 of the ciphertext' }),
  commitment: Bytes(32),
  seal: Bytes(sealBytes),
  salt: Bytes(saltBytes),
  body: BytesRange({ bytesMin: 1, bytesMax: bodyBytesMax }),
});
export type Disclosure = Static<typeof Disclosure>;

/** Bounds of a batch: 1 to 256 events, 1 to 4,096 bytes each, all of them within one body. */
export const batchEventsMax = 256;
export const batchEventBytesMax = 4096;
/** Hashes of a path in a tree of 256 leaves. */
export const batchPathMax = 8;

/**
 * One event of a batch, shown to everybody: with it and the sender's public key, and no secret,
 * anyone checks that this event stood at this place of this batch. It says nothing of the others.
 */
export const BatchProof = StrictObject({
  header: BytesRange({ bytesMin: 1, bytesMax: headerBytesMax }),
  ciphertextHash: Bytes(32, { description: 'SHA-256 of the ciphertext' }),
  commitment: Bytes(32),
  seal: Bytes(sealBytes),
  salt: Bytes(saltBytes, { description: 'of this event' }),
  event: BytesRange({ bytesMin: 1, bytesMax: batchEventBytesMax }),
  index: Uint(batchEventsMax - 1),
  count: IntegerRange({ min: 1, max: batchEventsMax }),
  path: List(Bytes(32), { itemsMax: batchPathMax }),
});
export type BatchProof = Static<typeof BatchProof>;

export const headerValidator = compile(Header);
export const frameValidator = compile(Frame);
export const disclosureValidator = compile(Disclosure);
export const batchProofValidator = compile(BatchProof);
