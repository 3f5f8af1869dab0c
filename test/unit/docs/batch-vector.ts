/**
 * The worked example of a batch in docs/protocol.md: three events sealed from fixed inputs, under the
 * same secrets and, but for what a batch must differ in, the same header as the event's example.
 */
import type { Header } from '#schemas/frame.ts';
import type { TelemetryEvent } from '#schemas/telemetry.ts';
import { openBatch, parseBatch, proveEvent, sealBatch } from '#shared/crypto/batch.ts';
import { concat, toHex } from '#shared/crypto/bytes.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import { ciphertextHashOf, eventContext, statementOf } from '#shared/crypto/statement.ts';
import { counting, vectorHeader, type ProtocolVector } from './protocol-vector.ts';

export const batchHeader: Omit<Header, 'senderKeyId'> = {
  ...vectorHeader,
  lane: 'bulk',
  sender: 'database-a',
  audience: 'telemetry',
  subject: 'gyre.v1.dev.telemetry.5.database-a',
  channel: 'telemetry',
  type: 'telemetry-batch',
};

export const batchEvents: readonly TelemetryEvent[] = [
  { kind: 'heartbeat', atMs: 1_800_000_000_000, sequence: 41 },
  { kind: 'measurement', atMs: 1_800_000_000_001, metric: 'sign-ms', value: 1.5 },
  { kind: 'heartbeat', atMs: 1_800_000_001_000, sequence: 42 },
];

/** Which event the example shows to everybody. */
const shown = 1;

export function makeBatchVector(): ProtocolVector {
  const batchSalt = counting(0x40);
  const draws = [batchSalt];
  const crypto = createNobleProvider({
    randomBytes: (count) => draws.shift()?.slice() ?? new Uint8Array(count),
  });
  const channelSecret = counting(0x00);
  const signingKey = crypto.importSigningSeed(counting(0x20));
  const header: Header = { ...batchHeader, senderKeyId: signingKey.publicKey.keyId };
  const events = batchEvents.map((event) => encodeCanonical(event, { floats: true }));
  const sealed = sealBatch(crypto, { header, events, signingKey, channelSecret });
  const parsed = parseBatch(sealed.frame);
  if (!parsed.ok) throw new Error(`the vector's batch does not parse: ${parsed.code}`);
  const opened = openBatch(crypto, parsed.batch, channelSecret);
  if (!opened.ok) throw new Error(`the vector's batch does not open: ${opened.code}`);
  const { parts } = parsed.batch;
  const { salts, tree } = opened;
  const proof = proveEvent(crypto, parsed.batch, { ...opened, index: shown });
  const ciphertextHash = ciphertextHashOf(crypto, parts.ciphertext, 'batch');
  const numbered = (name: string, list: readonly Uint8Array[]) =>
    list.map((bytes, index): [string, Uint8Array] => [`${name} ${index}`, bytes]);
  const saltOf = (index: number) => salts.subarray(32 * index, 32 * (index + 1));
  const values: (readonly [string, Uint8Array])[] = [
    ['batchSalt', batchSalt],
    ['header', parts.header],
    ...numbered('event', events),
    ['list', encodeCanonical(events)],
    ...numbered(
      'salt',
      events.map((_, index) => saltOf(index)),
    ),
    ...numbered(
      'data',
      events.map((event, index) => crypto.blake3(concat(saltOf(index), event))),
    ),
    ...numbered('leaf', tree[0] ?? []),
    ['root', tree.at(-1)?.[0] ?? new Uint8Array()],
    ['digest', parts.digest],
    ['ciphertext', parts.ciphertext],
    ['ciphertextHash', ciphertextHash],
    ['statement', statementOf(crypto, { ...parts, ciphertextHash }, 'batch')],
    ['context', eventContext(header.type)],
    ['sealHash', crypto.sha3_256(parts.seal)],
    ['statementHash', sealed.statementHash],
    ['frameHash', crypto.sha3_256(sealed.frame)],
    ...numbered(`path of event ${shown}, hash`, proof.path),
  ];
  return Object.fromEntries(values.map(([name, bytes]) => [name, toHex(bytes)]));
}
