/**
 * A rotation as it happens: on a terminal the grid, drawn over itself; elsewhere one line per change.
 * Moving the cursor and ending at Ctrl-C is what this file adds to the pure renderer.
 */
import type { RotationDetails } from '../answers.ts';
import { CliFault } from '../fault.ts';
import type { Output } from '../output.ts';
import type { Watcher } from './actions.ts';
import { renderChanges, renderGrid } from './render.ts';

/** Ctrl-C ends the watching and not the rotation: whoever leaves is told so. */
export async function interruptible<Result>(
  planId: string,
  work: Promise<Result>,
): Promise<Result> {
  const interrupted = Promise.withResolvers<never>();
  const interrupt = (): void =>
    interrupted.reject(
      new CliFault({
        code: 'INTERRUPTED',
        reason: `${planId} is no longer watched; what was asked for goes on`,
        hint: `Follow it: gyre rotation watch ${planId}.`,
      }),
    );
  process.on('SIGINT', interrupt);
  try {
    return await Promise.race([work, interrupted.promise]);
  } finally {
    process.off('SIGINT', interrupt);
  }
}

export function progressOf(output: Output): Watcher {
  return output.redraws ? drawing(output) : telling(output);
}

function drawing(output: Output): Watcher {
  let drawnLines = 0;
  return (details) => {
    const text = renderGrid(details, output.progressStyle);
    const up = drawnLines === 0 ? '' : `\u001b[${drawnLines}A\r`;
    // Clears to the end of each line, so that a shorter text leaves nothing of a longer one.
    // And to the end of the screen, where there were more lines before.
    output.draw(`${up}${text.replaceAll('\n', '\u001b[K\n')}\u001b[K\n\u001b[J`);
    drawnLines = text.split('\n').length;
  };
}

function telling(output: Output): Watcher {
  let before: RotationDetails | undefined;
  return (details) => {
    for (const line of renderChanges(before, details)) output.progress(line);
    before = details;
  };
}
