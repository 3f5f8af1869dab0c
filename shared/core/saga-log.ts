/**
 * The chain of a saga's entries: each names its saga, its index and the statement hash of the entry
 * before it, so that a log has no gap and no fork (invariants 2, 5). What the entries mean is not
 * asked here.
 */

import type { SagaEntry } from '#schemas/saga.ts';

export type SagaChainCode = 'SAGA_MISMATCH' | 'INDEX_MISMATCH' | 'PREVIOUS_MISMATCH';

export interface ChainedEntry {
  /** Statement hash of the event that carries the entry. */
  readonly hash: string;
  readonly entry: Pick<SagaEntry, 'saga' | 'sagaId' | 'index' | 'previous'>;
}

export interface SagaHead {
  readonly saga: SagaEntry['saga'];
  readonly sagaId: string;
  /** Index of the last entry; -1 when there is none. */
  readonly index: number;
  readonly hash: string;
}

export type ChainVerdict =
  | { readonly ok: true; readonly head: SagaHead }
  | { readonly ok: false; readonly code: SagaChainCode; readonly index: number };

/** What the first entry names as the one before it. */
export const noPreviousEntry = '0'.repeat(64);

export function emptySaga(saga: SagaEntry['saga'], sagaId: string): SagaHead {
  return { saga, sagaId, index: -1, hash: noPreviousEntry };
}

/** Whether an entry is the next one after `head`. */
export function followHead(head: SagaHead, { hash, entry }: ChainedEntry): ChainVerdict {
  const refuse = (code: SagaChainCode): ChainVerdict => ({ ok: false, code, index: entry.index });
  if (entry.saga !== head.saga || entry.sagaId !== head.sagaId) return refuse('SAGA_MISMATCH');
  if (entry.index !== head.index + 1) return refuse('INDEX_MISMATCH');
  if (entry.previous !== head.hash) return refuse('PREVIOUS_MISMATCH');
  return { ok: true, head: { ...head, index: entry.index, hash } };
}

/** Whether entries follow `head` one by one; on failure, the first that does not. */
export function followChain(head: SagaHead, entries: readonly ChainedEntry[]): ChainVerdict {
  let verdict: ChainVerdict = { ok: true, head };
  for (const entry of entries) {
    if (!verdict.ok) break;
    verdict = followHead(verdict.head, entry);
  }
  return verdict;
}
