/**
 * The worked example of docs/protocol.md: one event sealed from fixed inputs, with every value in
 * between. It is made by the portable provider under an entropy port that hands out the fixed salt
 * and then zeros, so that the signature is FIPS 204's deterministic one. The whole vector stands in
 * docs/protocol-vector.json; the document shows all of it but the public key and the seal, which
 * it names by their hashes.
 */
import type { Header } from '#schemas/frame.ts';
import { auditLeafHash } from '#shared/crypto/audit-leaf.ts';
import { lengthPrefixed, toHex, uint64, utf8 } from '#shared/crypto/bytes.ts';
import { canonicalJson } from '#shared/crypto/canonical-json.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { parseFrame, seal } from '#shared/crypto/envelope.ts';
import { deriveChannelKeys, messageNonce } from '#shared/crypto/key-schedule.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import { documentContext, documentDigest } from '#shared/crypto/signed-document.ts';
import { eventContext, statementOf } from '#shared/crypto/statement.ts';

/** Everything in hexadecimal, in the order in which it is computed. */
export type ProtocolVector = Readonly<Record<string, string>>;

/** Bytes `first`, `first + 1`, … */
export function counting(first: number, length = 32): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (first + index) & 0xff);
}

const channelSecret = counting(0x00);
const identitySeed = counting(0x20);
const salt = counting(0x40);

/** What the sender says; keys in the order of the schema, sorted when encoded. */
export const vectorHeader: Omit<Header, 'senderKeyId'> = {
  version: 1,
  suite: 1,
  lane: 'control',
  sender: 'op-2',
  audience: 'operators',
  subject: 'gyre.v1.dev.request.op-2',
  channel: 'operators',
  epoch: 1,
  incarnation: counting(0x60),
  counter: 1,
  previous: new Uint8Array(32),
  registryVersion: 1,
  registryDigest: counting(0x80),
  policyVersion: 1,
  policyDigest: counting(0xa0),
  type: 'plan-approved',
  schemaVersion: 1,
  timeMs: 1_800_000_000_000,
  expiresMs: 1_800_086_400_000,
  eventId: '00112233445566778899aabbccddeeff',
};

export const vectorBody = {
  planId: 'rot-0123456789abcdef',
  planDigest: 'c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf',
};

/** A small document, for the digest and the context of signed documents. */
export const vectorDocument = {
  kind: 'audit_checkpoint',
  mesh: 'dev',
  auditor: 'auditor',
  tree_size: 1,
  root_hash: 'e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff',
  issued_at: '2027-01-15T08:00:00.000Z',
};

/** Computes the vector with the project's own code. */
export function makeProtocolVector(): ProtocolVector {
  const draws = [salt];
  const crypto = createNobleProvider({
    randomBytes: (count) => draws.shift()?.slice() ?? new Uint8Array(count),
  });
  const signingKey = crypto.importSigningSeed(identitySeed);
  const { keyId: senderKeyId, raw: publicKey } = signingKey.publicKey;
  const header: Header = { ...vectorHeader, senderKeyId };
  const sealed = seal(crypto, { header, body: vectorBody, signingKey, channelSecret });
  const parsed = parseFrame(sealed.frame);
  if (!parsed.ok) throw new Error(`the vector's frame does not parse: ${parsed.code}`);
  const { parts } = parsed.frame;
  const keys = deriveChannelKeys(crypto, channelSecret, header);
  const headerHash = crypto.sha3_512(parts.header);
  const ciphertextHash = crypto.sha3_512(parts.ciphertext);
  const values = {
    channelSecret,
    identitySeed,
    salt,
    publicKey,
    senderKeyId,
    header: parts.header,
    body: encodeCanonical(vectorBody, { floats: true }),
    info: lengthPrefixed(
      utf8(header.channel),
      uint64(header.epoch),
      utf8(header.sender),
      header.incarnation,
      utf8(header.audience),
      utf8(header.lane),
    ),
    key: keys.key,
    baseNonce: keys.baseNonce,
    commitment: keys.commitment,
    nonce: messageNonce(keys.baseNonce, header.counter),
    ciphertext: parts.ciphertext,
    digest: parts.digest,
    headerHash,
    ciphertextHash,
    statement: statementOf(crypto, { ...parts, ciphertextHash }),
    context: eventContext(header.type),
    seal: parts.seal,
    sealHash: crypto.sha3_256(parts.seal),
    statementHash: sealed.statementHash,
    frame: sealed.frame,
    frameHash: crypto.sha3_256(sealed.frame),
    auditLeafHash: auditLeafHash(crypto, parsed.frame, 'accepted'),
    documentBytes: canonicalJson(vectorDocument),
    documentContext: utf8(documentContext(vectorDocument.kind)),
  };
  return {
    ...Object.fromEntries(Object.entries(values).map(([name, bytes]) => [name, toHex(bytes)])),
    documentDigest: documentDigest(crypto, vectorDocument),
  };
}
