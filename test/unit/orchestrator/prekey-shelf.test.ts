/** Which prekeys an orchestrator may use: the last ones that each agent published, and none twice. */

import { expect, it } from 'vitest';
import { PrekeyShelf } from '#agents/orchestrator/prekey-shelf.ts';
import type { ReceivedEvent } from '#shared/runtime/exchange.ts';

const channel = 'mesh';

function published(prekeyId: string, sequence: number, timeMs: number) {
  const prekeys = [{ channel, prekeyId, publicKey: new Uint8Array(1600) }];
  return {
    sender: { agentId: 'auditor' },
    header: { timeMs },
    sequence,
    disclosure: {},
    body: { prekeys },
  } as unknown as ReceivedEvent<'prekeys-published'>;
}

const found = (shelf: PrekeyShelf): string | undefined => shelf.find('auditor', channel)?.prekeyId;

it('the last publication counts, whichever comes first', () => {
  const shelf = new PrekeyShelf();
  shelf.keep(published('second', 7, 2_000));
  shelf.keep(published('first', 3, 1_000));
  expect(found(shelf)).toBe('second');
  // The publisher's clock was put back meanwhile.
  shelf.keep(published('third', 9, 500));
  expect(found(shelf)).toBe('third');
});

it('what comes at a lower place and a later time was published after the stream began anew', () => {
  const shelf = new PrekeyShelf();
  shelf.keep(published('before', 700, 1_000));
  shelf.keep(published('after', 2, 2_000));
  expect(found(shelf)).toBe('after');
});

it('what was used or is forgotten is not found, and what is published then is', () => {
  const shelf = new PrekeyShelf();
  shelf.keep(published('one', 1, 1_000));
  const capsule = { agentId: 'auditor', prekeyId: 'one' };
  shelf.use([
    { ...capsule, kemCiphertext: new Uint8Array(1600), sealedSecret: new Uint8Array(48) },
  ]);
  expect(found(shelf)).toBeUndefined();
  shelf.keep(published('two', 2, 2_000));
  const shown = shelf.find('auditor', channel);
  shelf.forget(shown === undefined ? [] : [shown]);
  expect(found(shelf)).toBeUndefined();
  shelf.keep(published('two', 3, 3_000));
  expect(found(shelf)).toBe('two');
});
