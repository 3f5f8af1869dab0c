/**
 * The checkpoint that was signed last, kept durably: a tree head is signed only if it extends that
 * one, shown by an RFC 9162 consistency proof. So not even a stolen auditor gets two heads signed
 * that tell different stories.
 */

import type { DatabaseSync } from 'node:sqlite';
import type { OrchCode } from '#schemas/errors.ts';
import type { AuditCheckpointBody } from '#schemas/plan.ts';
import { verifyConsistency } from '#shared/core/merkle.ts';
import { fromHex } from '#shared/crypto/bytes.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { translated } from '#shared/runtime/outbox-store.ts';

export class CheckpointMemory {
  readonly #database: DatabaseSync;
  readonly #crypto: CryptoProvider;

  constructor(database: DatabaseSync, crypto: CryptoProvider) {
    this.#database = database;
    this.#crypto = crypto;
    database.exec(
      `CREATE TABLE IF NOT EXISTS checkpoint (
         auditor TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, root_hash TEXT NOT NULL
       ) STRICT`,
    );
  }

  /** Why the head does not extend the one before, or undefined. */
  refusalOf(
    head: AuditCheckpointBody,
    proof: readonly string[],
  ): { readonly code: OrchCode; readonly reason: string } | undefined {
    const last = this.#database
      .prepare('SELECT tree_size, root_hash FROM checkpoint WHERE auditor = ?')
      .get(head.auditor);
    if (last === undefined) return undefined;
    const hashes = proof.map((hash) => fromHex(hash) ?? new Uint8Array(0));
    const extended = verifyConsistency((bytes) => this.#crypto.sha256(bytes), {
      first: { size: Number(last['tree_size']), root: bytesOf(String(last['root_hash'])) },
      second: { size: head.tree_size, root: bytesOf(head.root_hash) },
      proof: hashes,
    });
    if (extended) return undefined;
    return { code: 'ORCH-8015', reason: 'the tree does not extend the one that was signed last' };
  }

  /** Before the head is signed: from now on nothing is that does not extend it. @throws OutboxError */
  remember(head: AuditCheckpointBody): void {
    translated(() =>
      this.#database
        .prepare(
          `INSERT INTO checkpoint (auditor, tree_size, root_hash) VALUES (?, ?, ?)
           ON CONFLICT (auditor) DO UPDATE SET tree_size = excluded.tree_size,
             root_hash = excluded.root_hash`,
        )
        .run(head.auditor, head.tree_size, head.root_hash),
    );
  }
}

function bytesOf(hex: string): Uint8Array {
  return fromHex(hex) ?? new Uint8Array(0);
}
