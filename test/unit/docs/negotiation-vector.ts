/**
 * The example of docs/protocol.md for the transcript of a negotiation: fixed advertisements, the bytes
 * that are hashed, the four hashes. `node test/unit/docs/negotiation-vector.ts` writes
 * docs/negotiation-vector.json anew.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AlgorithmAdvertisement } from '#schemas/negotiation.ts';
import type { TranscriptInput } from '#shared/core/negotiation-state.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';
import { negotiationTranscript } from '#shared/crypto/negotiation-transcript.ts';
import { counting } from './protocol-vector.ts';

export const negotiationVectorPath = join(
  import.meta.dirname,
  '../../../docs/negotiation-vector.json',
);

const client: AlgorithmAdvertisement = {
  negotiationId: 'neg-0123456789abcdef',
  role: 'client',
  nonce: counting(0x00),
  capabilities: {
    kem: [{ algorithm: 'ML-KEM-1024', status: 'preferred', performanceTier: 'high' }],
    signature: [{ algorithm: 'ML-DSA-87', status: 'required', performanceTier: 'medium' }],
    symmetric: [
      {
        algorithm: 'AES-256-GCM',
        status: 'supported',
        performanceTier: 'high',
        hardwareAccelerated: true,
      },
    ],
    hash: [{ algorithm: 'SHA3-512', status: 'supported', performanceTier: 'low' }],
  },
  constraints: { maxSignatureBytes: 5_000 },
};

export const vectorTranscript: TranscriptInput = {
  negotiationId: 'neg-0123456789abcdef',
  client: { agentId: 'encryption-a', advertisement: client },
  server: {
    agentId: 'database-a',
    advertisement: {
      ...client,
      role: 'server',
      nonce: counting(0x20),
      constraints: {},
      tlsVersionMin: '1.3',
    },
  },
  constraints: { maxHandshakeMs: 100 },
  basis: { policyDigest: toHex(counting(0xa0)), registryDigest: toHex(counting(0x80)) },
  selected: {
    kem: 'ML-KEM-1024',
    signature: 'ML-DSA-87',
    symmetric: 'AES-256-GCM',
    hash: 'SHA3-512',
  },
};

/** Inputs of SHA3-512 and its results, in hexadecimal. */
export function makeNegotiationVector(): Readonly<Record<string, string>> {
  const crypto = createNobleProvider({ randomBytes: (count) => new Uint8Array(count) });
  const hashed: string[] = [];
  const sha3_512 = (message: Uint8Array): Uint8Array => {
    hashed.push(toHex(message));
    return crypto.sha3_512(message);
  };
  const transcript = negotiationTranscript({ sha3_512 }, vectorTranscript);
  const [clientBytes = '', serverBytes = '', policyBytes = '', negotiationBytes = ''] = hashed;
  return {
    clientBytes,
    clientCapabilitiesHash: toHex(transcript.clientCapabilitiesHash),
    serverBytes,
    serverCapabilitiesHash: toHex(transcript.serverCapabilitiesHash),
    policyBytes,
    policyHash: toHex(transcript.policyHash),
    negotiationBytes,
    negotiationHash: toHex(transcript.negotiationHash),
  };
}

if (process.argv[1] === import.meta.filename) {
  writeFileSync(negotiationVectorPath, `${JSON.stringify(makeNegotiationVector(), null, 2)}\n`);
}
