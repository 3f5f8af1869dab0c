/**
 * The documents that orchestrators keep on the bus for whoever comes late: one key per document, named
 * by its kind, version and digest. Anything may stand there, in any order, because the bus is not
 * trusted: who reads it verifies every document himself, and takes them in an order that only what the
 * operators signed decides.
 */

import type { OfferedDocument } from '#schemas/trust.ts';
import { documentBytesMax } from '#schemas/document.ts';
import { BusError, type Bucket } from '#shared/bus/bus.ts';
import { utf8 } from '#shared/crypto/bytes.ts';

export interface KeptDocument {
  /** Of this very writing: what is written over it has another name. */
  readonly name: string;
  readonly isRoot: boolean;
  readonly bytes: Uint8Array;
}

/** Where a document stands among others, as far as its text can be read. */
interface Ranked extends KeptDocument {
  readonly version: number;
  readonly issuedAt: string;
}

const keyPattern = /^(?:root|registry|policy|revocation)\.[a-z0-9-]{1,64}\.([0-9a-f]{64})$/;
const attemptsMax = 3;

export class KeptDocuments {
  readonly #bucket: Bucket;

  constructor(bucket: Bucket) {
    this.#bucket = bucket;
  }

  /**
   * All that is not known yet: what is no root in the order of issue, then roots by version. Whoever may
   * write here could show a part before the rest, so that the rest would come too late: what stood
   * before a root is to be taken before it. At most what the bucket holds. @throws BusError
   */
  async unknown(
    isKnown: (digest: string) => boolean,
    isRefused: (name: string) => boolean,
  ): Promise<readonly KeptDocument[]> {
    const keys = (await this.#bucket.keys()).filter((key) => {
      const digest = keyPattern.exec(key)?.[1];
      return digest !== undefined && !isKnown(digest);
    });
    const found: Ranked[] = [];
    for (const key of keys) {
      const kept = await this.#bucket.get(key);
      if (kept === null || kept.value.length > documentBytesMax) continue;
      const name = `${key}@${kept.revision}`;
      if (!isRefused(name)) found.push(ranked(name, kept.value));
    }
    return inOrder(found);
  }

  /** Over whatever stands under the name of this document. @throws BusError */
  async keep(document: OfferedDocument, digest: string): Promise<void> {
    const { body } = document;
    const place = body.kind === 'revocation' ? body.agent_id : String(body.version);
    const key = `${body.kind}.${place}.${digest}`;
    const bytes = utf8(JSON.stringify(document));
    for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
      const kept = await this.#bucket.get(key);
      if (kept !== null && Buffer.compare(kept.value, bytes) === 0) return;
      const outcome = await this.#bucket.put(key, bytes, kept?.revision ?? 0);
      if (outcome.status === 'stored') return;
    }
    throw new BusError('BUS_REJECTED', `${key} is contended`);
  }
}

/** Documents of any origin in the order in which `KeptDocuments.unknown` gives them. */
export function inDocumentOrder(documents: readonly Uint8Array[]): readonly KeptDocument[] {
  return inOrder(documents.map((bytes, index) => ranked(String(index), bytes)));
}

function inOrder(found: readonly Ranked[]): readonly KeptDocument[] {
  return found.toSorted((one, other) => {
    if (one.isRoot !== other.isRoot) return one.isRoot ? 1 : -1;
    if (one.isRoot) return one.version - other.version;
    if (one.issuedAt !== other.issuedAt) return one.issuedAt < other.issuedAt ? -1 : 1;
    return one.version - other.version;
  });
}

/** What cannot be read comes first, and is refused by who adopts. */
function ranked(name: string, bytes: Uint8Array): Ranked {
  const { kind, version, issued_at: issuedAt } = bodyIn(bytes);
  return {
    name,
    bytes,
    isRoot: kind === 'root',
    version: typeof version === 'number' ? version : 0,
    issuedAt: typeof issuedAt === 'string' ? issuedAt : '',
  };
}

function bodyIn(bytes: Uint8Array): Partial<Record<string, unknown>> {
  try {
    const document = JSON.parse(new TextDecoder().decode(bytes)) as { body?: object } | null;
    return { ...document?.body };
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}
