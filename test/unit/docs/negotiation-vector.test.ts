/** The published example of a negotiation's transcript is what both providers compute. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fromHex, toHex } from '#shared/crypto/bytes.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { negotiationTranscript } from '#shared/crypto/negotiation-transcript.ts';
import {
  makeNegotiationVector,
  negotiationVectorPath,
  vectorTranscript,
} from './negotiation-vector.ts';

const published = JSON.parse(readFileSync(negotiationVectorPath, 'utf8')) as Record<string, string>;
const document = readFileSync(join(import.meta.dirname, '../../../docs/protocol.md'), 'utf8');
const crypto = createNativeProvider();
const hashes = [
  ['clientBytes', 'clientCapabilitiesHash'],
  ['serverBytes', 'serverCapabilitiesHash'],
  ['policyBytes', 'policyHash'],
  ['negotiationBytes', 'negotiationHash'],
] as const;

test('the vector is what the code computes, with either provider', () => {
  expect(makeNegotiationVector()).toEqual(published);
  const transcript = negotiationTranscript(crypto, vectorTranscript);
  for (const [, hash] of hashes) expect(toHex(transcript[hash])).toBe(published[hash]);
});

test.each(hashes)('%s hash to %s, and the document shows it', (bytes, hash) => {
  const input = fromHex(published[bytes] ?? '');
  if (input === undefined) throw new Error(`${bytes} is no hexadecimal`);
  const expected = published[hash] ?? '';
  expect(toHex(crypto.sha3_512(input))).toBe(expected);
  expect(document).toContain(`${hash} (64)\n  ${expected.slice(0, 96)}\n  ${expected.slice(96)}`);
});

test('whatever is altered alters the hash that stands for everything', () => {
  const { client, selected } = vectorTranscript;
  const { capabilities } = client.advertisement;
  const stripped = { ...capabilities, kem: [] };
  const base = toHex(negotiationTranscript(crypto, vectorTranscript).negotiationHash);
  for (const change of [
    { client: { ...client, advertisement: { ...client.advertisement, capabilities: stripped } } },
    { client: { ...client, agentId: 'phi-a' } },
    { constraints: {} },
    { selected: { ...selected, kem: 'ML-KEM-768' } },
    { negotiationId: 'neg-1' },
    { basis: { ...vectorTranscript.basis, policyDigest: 'ab'.repeat(32) } },
  ]) {
    const altered = negotiationTranscript(crypto, { ...vectorTranscript, ...change });
    expect(toHex(altered.negotiationHash)).not.toBe(base);
  }
});
