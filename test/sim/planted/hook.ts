/**
 * For `node --import ./test/sim/planted/hook.ts …`: plants the bug that the environment names. Children
 * that are forked with the same flags have it too. Nothing is planted where none is named.
 */

import { bugs } from './list.ts';
import { plant, plantingFailed } from './plant.ts';

const name = process.env['GYRE_PLANTED_BUG'];
if (name !== undefined && name !== '') {
  const bug = bugs.find((each) => each.name === name);
  if (bug === undefined) {
    process.stderr.write(`there is no planted bug ${name}\n`);
    process.exit(plantingFailed);
  }
  plant(bug);
}
