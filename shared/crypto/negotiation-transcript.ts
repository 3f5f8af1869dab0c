/**
 * The hashes of a negotiation: SHA3-512 (FIPS 202) over a label, a zero byte and canonical MessagePack.
 * The label keeps the four apart; canonical encoding gives one reading to the bytes. An advertisement
 * is hashed with the agent that made it, so that it stands for that agent, role, nonce and negotiation.
 */

import type { AlgorithmAdvertisement, NegotiationTranscript } from '#schemas/negotiation.ts';
import type { TranscriptInput } from '#shared/core/negotiation-state.ts';
import { concat, fromHex, utf8 } from './bytes.ts';
import { encodeCanonical } from './canonical-msgpack.ts';
import { invariant } from './errors.ts';
import type { CryptoProvider } from './provider.ts';

type Hashing = Pick<CryptoProvider, 'sha3_512'>;

const labels = {
  advertisement: 'gyre/v1/negotiation/advertisement',
  policy: 'gyre/v1/negotiation/policy',
  negotiation: 'gyre/v1/negotiation/transcript',
} as const;

/** Four hashes of 64 bytes; the last one stands for all the others. */
export function negotiationTranscript(
  crypto: Hashing,
  input: TranscriptInput,
): NegotiationTranscript {
  const { negotiationId, client, server, constraints, basis, selected } = input;
  const clientCapabilitiesHash = advertisementHash(crypto, client);
  const serverCapabilitiesHash = advertisementHash(crypto, server);
  const policyHash = hashOf(crypto, 'policy', {
    policyDigest: digestOf(basis.policyDigest),
    registryDigest: digestOf(basis.registryDigest),
  });
  const hashes = { clientCapabilitiesHash, serverCapabilitiesHash, policyHash };
  const negotiationHash = hashOf(crypto, 'negotiation', {
    negotiationId,
    client: client.agentId,
    server: server.agentId,
    constraints,
    selected,
    ...hashes,
  });
  return { ...hashes, negotiationHash };
}

/** Of everything that one side brings, 64 bytes. */
export function advertisementHash(
  crypto: Hashing,
  side: { readonly agentId: string; readonly advertisement: AlgorithmAdvertisement },
): Uint8Array {
  return hashOf(crypto, 'advertisement', { agentId: side.agentId, ...side.advertisement });
}

function hashOf(crypto: Hashing, label: keyof typeof labels, value: unknown): Uint8Array {
  return crypto.sha3_512(concat(utf8(`${labels[label]}\0`), encodeCanonical(value)));
}

function digestOf(hex: string): Uint8Array {
  const bytes = fromHex(hex);
  invariant(bytes?.length === 32, 'a digest of a document has 32 bytes');
  return bytes;
}
