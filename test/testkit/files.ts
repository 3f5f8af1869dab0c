/**
 * A case as a file: JSON, bytes in base64, everything else in hexadecimal, so that any language reads
 * it. What a valid case must be read as stands in it too: header, hashes, content.
 */
import { treeLevels, treeRoot } from '#shared/core/batch-tree.ts';
import { leafHash } from '#shared/core/merkle.ts';
import { openBatch, parseBatch, verifyProof } from '#shared/crypto/batch.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { decodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import {
  openFrame,
  parseDisclosure,
  parseFrame,
  statementHashOf,
  verifyDisclosure,
} from '#shared/crypto/envelope.ts';
import type { SealedFrame } from '#shared/crypto/sealed-frame.ts';
import { ciphertextHashOf, type StatementLabel } from '#shared/crypto/statement.ts';
import type { Case } from './case.ts';
import { allCases } from './cases.ts';
import { leavesOf } from './forge.ts';
import { channelSecret, crypto, otherKey, signingKey } from './material.ts';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = Record<string, Json>;

/** Every file of the testkit: name to content. */
export function testkitFiles(): Map<string, JsonObject> {
  const files = new Map<string, JsonObject>([
    [
      'keys.json',
      {
        sender: {
          publicKey: base64(signingKey.publicKey.raw),
          keyId: signingKey.publicKey.keyIdHex,
        },
        other: { publicKey: base64(otherKey.publicKey.raw), keyId: otherKey.publicKey.keyIdHex },
        channelSecret: toHex(channelSecret),
      },
    ],
  ]);
  for (const each of allCases()) files.set(`cases/${each.name}.json`, fileOf(each));
  return files;
}

export function textOf(content: JsonObject): string {
  return `${JSON.stringify(content, null, 1)}\n`;
}

function fileOf(each: Case): JsonObject {
  const { name, about, kind, open, verify, encode, bytes, secret, events } = each;
  const isZeros = bytes.length > 100_000;
  return {
    name,
    about,
    kind,
    open,
    verify,
    encode,
    ...(secret === undefined ? {} : { channelSecret: toHex(secret) }),
    ...(isZeros ? { zeros: bytes.length } : { bytes: base64(bytes) }),
    ...(events === undefined ? {} : { data: leavesOf(events).map(({ data }) => toHex(data)) }),
    ...(open === 'ok' ? { reads: readsOf(each) } : {}),
  };
}

function readsOf({ kind, bytes }: Case): JsonObject {
  switch (kind) {
    case 'event':
      return eventReads(bytes);
    case 'batch':
      return batchReads(bytes);
    case 'disclosure':
      return disclosureReads(bytes);
    case 'proof':
      return proofReads(bytes);
  }
}

function eventReads(bytes: Uint8Array): JsonObject {
  const parsed = parseFrame(bytes);
  if (!parsed.ok) throw new Error(`a valid case does not parse: ${parsed.code}`);
  const opened = openFrame(crypto, parsed.frame, channelSecret);
  if (!opened.ok) throw new Error(`a valid case does not open: ${opened.code}`);
  return {
    ...frameReads(parsed.frame, 'event'),
    statementHash: toHex(statementHashOf(crypto, parsed.frame)),
    salt: toHex(opened.salt),
    body: jsonOf(opened.body),
  };
}

function batchReads(bytes: Uint8Array): JsonObject {
  const parsed = parseBatch(bytes);
  if (!parsed.ok) throw new Error(`a valid case does not parse: ${parsed.code}`);
  const opened = openBatch(crypto, parsed.batch, channelSecret);
  if (!opened.ok) throw new Error(`a valid case does not open: ${opened.code}`);
  const leaves = leavesOf(opened.events);
  const hashes = leaves.map(({ data }) => leafHash(crypto.sha256, data));
  return {
    ...frameReads(parsed.batch, 'batch'),
    count: opened.events.length,
    salts: leaves.map(({ salt }) => toHex(salt)),
    root: toHex(treeRoot(treeLevels(crypto.sha256, hashes))),
    events: opened.events.map(decodedJson),
  };
}

function disclosureReads(bytes: Uint8Array): JsonObject {
  const { value } = decoded(bytes);
  const parsed = parseDisclosure(value);
  const verified = verifyDisclosure(crypto, value, signingKey.publicKey);
  if (!parsed.ok || !verified.ok) throw new Error('a valid disclosure does not hold');
  return {
    header: jsonOf(parsed.header),
    headerHash: toHex(crypto.sha3_512(parsed.parts.header)),
    statementHash: verified.messageId,
    body: jsonOf(verified.body),
  };
}

function proofReads(bytes: Uint8Array): JsonObject {
  const { value } = decoded(bytes);
  const verified = verifyProof(crypto, value, signingKey.publicKey);
  if (!verified.ok) throw new Error(`a valid proof does not hold: ${verified.code}`);
  const { header, index, count, event, messageId: statementHash } = verified;
  return { header: jsonOf(header), index, count, event: jsonOf(event), statementHash };
}

function frameReads({ header, parts }: SealedFrame, label: StatementLabel): JsonObject {
  return {
    header: jsonOf(header),
    headerHash: toHex(crypto.sha3_512(parts.header)),
    ciphertextHash: toHex(ciphertextHashOf(crypto, parts.ciphertext, label)),
    digest: toHex(parts.digest),
  };
}

function decodedJson(bytes: Uint8Array): Json {
  return jsonOf(decoded(bytes).value);
}

function decoded(bytes: Uint8Array) {
  const result = decodeCanonical(bytes, { floats: true });
  if (!result.ok) throw new Error(`a valid case is not canonical: ${result.code}`);
  return result;
}

/** Bytes become hexadecimal text. */
function jsonOf(value: unknown): Json {
  if (value instanceof Uint8Array) return toHex(value);
  if (Array.isArray(value)) return value.map(jsonOf);
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, jsonOf(item)]));
  }
  if (typeof value === 'string' || typeof value === 'boolean' || typeof value === 'number') {
    return value;
  }
  return null;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
