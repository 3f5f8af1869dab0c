import { describe, expect, it } from 'vitest';
import {
  emptySaga,
  followChain,
  noPreviousEntry,
  type ChainedEntry,
} from '#shared/core/saga-log.ts';
import { digestOf } from './mesh.ts';

const chain: ChainedEntry[] = Array.from({ length: 5 }, (_, index) => ({
  hash: digestOf(`entry ${index}`),
  entry: {
    saga: 'rotation',
    sagaId: 'rot-1',
    index,
    previous: index === 0 ? noPreviousEntry : digestOf(`entry ${index - 1}`),
  },
}));
const start = emptySaga('rotation', 'rot-1');

describe('the chain of a saga', () => {
  it('is followed from the first entry and from any head', () => {
    const whole = followChain(start, chain);
    expect(whole).toMatchObject({ ok: true, head: { index: 4, hash: digestOf('entry 4') } });
    const half = followChain(start, chain.slice(0, 2));
    if (!half.ok) throw new Error(half.code);
    expect(followChain(half.head, chain.slice(2))).toEqual(whole);
    expect(followChain(start, [])).toEqual({ ok: true, head: start });
  });

  it('shows a gap, a swap, a repetition, a fork and another saga at the first wrong entry', () => {
    const [zero, one, two, three] = chain as [
      ChainedEntry,
      ChainedEntry,
      ChainedEntry,
      ChainedEntry,
    ];
    const code = (entries: ChainedEntry[]) => {
      const verdict = followChain(start, entries);
      return verdict.ok ? 'ok' : `${verdict.code} ${verdict.index}`;
    };
    expect(code([zero, two, three])).toBe('INDEX_MISMATCH 2');
    expect(code([one, zero])).toBe('INDEX_MISMATCH 1');
    expect(code([zero, one, one])).toBe('INDEX_MISMATCH 1');
    const fork = { ...two, entry: { ...two.entry, previous: digestOf('other') } };
    expect(code([zero, one, fork, three])).toBe('PREVIOUS_MISMATCH 2');
    const other = { ...one, entry: { ...one.entry, sagaId: 'rot-2' } };
    expect(code([zero, other])).toBe('SAGA_MISMATCH 1');
    const ledger = { ...one, entry: { ...one.entry, saga: 'slots' as const } };
    expect(code([zero, ledger])).toBe('SAGA_MISMATCH 1');
  });
});
