/**
 * A process of one hunt: it runs the seeds that it is sent, one after the other, with the bug in it that
 * the hook has planted, or with none. It ends when nobody sends any more.
 */

import { runWorld, type Profile } from '../run.ts';
import type { RunResult } from '../results.ts';

export interface Shot {
  readonly seed: number;
  readonly profile: Profile;
}

let turn: Promise<unknown> = Promise.resolve();

process.on('message', (message) => {
  const { seed, profile } = message as Shot;
  turn = turn.then(async () => process.send?.((await runWorld(seed, profile)) satisfies RunResult));
});
