/**
 * How somebody who comes late takes many documents at once, whoever shows them and in whatever order:
 * all that can stand under the root in force, then the next root, and so on. Who shows documents may
 * leave some out, but cannot bring one too late for the keys that signed it.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Adoption } from '#shared/crypto/trust.ts';
import type { KeptDocument } from './kept-documents.ts';

export type RefusedAdoption = Extract<Adoption, { status: 'refused' }>;

export interface Unfit {
  readonly kept: KeptDocument;
  readonly adoption: RefusedAdoption;
}

/** `no-room`: nothing speaks against it, but this agent could not keep it, so it does not adopt it. */
export type Taking = Adoption | { readonly status: 'no-room' };

type Adopt = (bytes: Uint8Array) => Taking;

/** `found` as `KeptDocuments` orders it. Returns what stands nowhere. */
export async function adoptInOrder(
  found: readonly KeptDocument[],
  adopt: Adopt,
): Promise<readonly Unfit[]> {
  let roots = found.filter(({ isRoot }) => isRoot);
  let others = found.filter(({ isRoot }) => !isRoot);
  for (;;) {
    const unfit = await adoptUntilNone(others, adopt);
    const [root, unfitRoots] = await firstThatStands(roots, adopt);
    if (root === undefined) return [...unfit, ...unfitRoots];
    roots = roots.filter((each) => each !== root);
    others = unfit.map(({ kept }) => kept);
  }
}

/** Again, while one of them lets another one stand. */
async function adoptUntilNone(
  documents: readonly KeptDocument[],
  adopt: Adopt,
): Promise<readonly Unfit[]> {
  for (let open = documents; ;) {
    const unfit: Unfit[] = [];
    let adopted = 0;
    for (const kept of open) {
      await nextTurn();
      const adoption = adopt(kept.bytes);
      if (adoption.status === 'refused') unfit.push({ kept, adoption });
      else if (adoption.status === 'adopted') adopted += 1;
    }
    if (adopted === 0 || unfit.length === 0) return unfit;
    open = unfit.map(({ kept }) => kept);
  }
}

async function firstThatStands(
  roots: readonly KeptDocument[],
  adopt: Adopt,
): Promise<[KeptDocument | undefined, readonly Unfit[]]> {
  const unfit: Unfit[] = [];
  for (const kept of roots) {
    await nextTurn();
    const adoption = adopt(kept.bytes);
    if (adoption.status === 'adopted') return [kept, unfit];
    if (adoption.status === 'refused') unfit.push({ kept, adoption });
  }
  return [undefined, unfit];
}
