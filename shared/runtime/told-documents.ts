/** The answer to `trust-documents`: what whoever is behind has to learn, a part at a time. */

import { answerBytesMax } from '#schemas/events.ts';
import type { Query, TrustDocuments } from '#schemas/queries.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { Answer } from './exchange.ts';

/** One answer holds so many bytes of documents; who wants more asks again above what he learned. */
const documentsBytesMax = answerBytesMax - 16 * 1024;

/** For everyone, and before a log was read: whoever is behind must be able to learn. */
export function toldDocuments(
  trust: Pick<TrustView, 'documentsSince'>,
  query: Extract<Query, { ask: 'trust-documents' }>,
): Answer {
  const { ask: _, ...known } = query;
  const documents: Uint8Array[] = [];
  let bytes = 0;
  let isWhole = true;
  for (const document of trust.documentsSince(known)) {
    const encoded = utf8(JSON.stringify(document));
    bytes += encoded.length + 8;
    isWhole = bytes <= documentsBytesMax;
    if (!isWhole) break;
    documents.push(encoded);
  }
  return { ok: true, result: { documents, isWhole } satisfies TrustDocuments };
}
