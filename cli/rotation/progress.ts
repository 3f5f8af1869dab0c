/**
 * A rotation as it happens: on a terminal the grid, drawn over itself; elsewhere one line per change.
 * Moving the cursor is all that this file adds to the pure renderer.
 */
import type { RotationDetails } from '../answers.ts';
import type { Output } from '../output.ts';
import type { Watcher } from './actions.ts';
import { renderChanges, renderGrid } from './render.ts';

export function progressOf(output: Output): Watcher {
  return output.redraws ? drawing(output) : telling(output);
}

function drawing(output: Output): Watcher {
  let drawnLines = 0;
  return (details) => {
    const text = renderGrid(details, output.progressStyle);
    const up = drawnLines === 0 ? '' : `\u001b[${drawnLines}A\r`;
    // Clears to the end of each line, so that a shorter text leaves nothing of a longer one.
    output.draw(`${up}${text.replaceAll('\n', '\u001b[K\n')}\u001b[K\n`);
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
