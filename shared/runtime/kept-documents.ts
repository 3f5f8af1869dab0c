/**
 * The documents that orchestrators keep on the bus for whoever comes late: one key per document, named
 * by its kind, version and digest, in the order in which they were written. Anything may stand there,
 * because the bus is not trusted: who reads it verifies every document himself.
 */

import type { OfferedDocument } from '#schemas/trust.ts';
import { documentBytesMax } from '#schemas/document.ts';
import { BusError, type Bucket } from '#shared/bus/bus.ts';
import { utf8 } from '#shared/crypto/bytes.ts';

export interface KeptDocument {
  /** Of this very writing: what is written over it has another name. */
  readonly name: string;
  readonly revision: number;
  readonly bytes: Uint8Array;
}

const keyPattern = /^(?:root|registry|policy|revocation)\.[a-z0-9-]{1,64}\.([0-9a-f]{64})$/;
/** Documents that are fetched at once, at the most; the rest at the next look. */
const fetchedMax = 64;
const attemptsMax = 3;

export class KeptDocuments {
  readonly #bucket: Bucket;

  constructor(bucket: Bucket) {
    this.#bucket = bucket;
  }

  /** What is not known yet, in the order in which it was written. @throws BusError */
  async unknown(
    isKnown: (digest: string) => boolean,
    isRefused: (name: string) => boolean,
  ): Promise<KeptDocument[]> {
    const keys = (await this.#bucket.keys()).filter((key) => {
      const digest = keyPattern.exec(key)?.[1];
      return digest !== undefined && !isKnown(digest);
    });
    const found: KeptDocument[] = [];
    for (const key of keys) {
      const kept = await this.#bucket.get(key);
      if (kept === null || kept.value.length > documentBytesMax) continue;
      const { revision, value: bytes } = kept;
      const name = `${key}@${revision}`;
      if (!isRefused(name)) found.push({ name, revision, bytes });
      if (found.length === fetchedMax) break;
    }
    return found.toSorted((one, other) => one.revision - other.revision);
  }

  /** Over whatever stands under the name of this document. @throws BusError */
  async keep(document: OfferedDocument, digest: string): Promise<void> {
    const { body } = document;
    const place = body.kind === 'revocation' ? body.agent_id : String(body.version);
    const key = `${body.kind}.${place}.${digest}`;
    const bytes = utf8(JSON.stringify(document));
    for (let attempt = 1, revision = 0; ; attempt += 1) {
      const outcome = await this.#bucket.put(key, bytes, revision);
      if (outcome.status === 'stored') return;
      const kept = await this.#bucket.get(key);
      if (kept !== null && Buffer.compare(kept.value, bytes) === 0) return;
      if (attempt === attemptsMax) throw new BusError('BUS_REJECTED', `${key} is contended`);
      revision = kept?.revision ?? 0;
    }
  }
}
