/**
 * Turns of the event loop, cheaply. After each step of a world every promise has to settle and every
 * `setImmediate` of the production code has to come, before the next step. One turn of Node's loop costs
 * most of a microsecond, and a world has tens of thousands of steps; so a handful of immediates is asked
 * for at a time. Node runs them in one turn and settles all promises between two of them; where something
 * else has asked for an immediate meanwhile, those left of the handful do nothing, and a new handful gets
 * behind it.
 *
 * Only the first of a handful keeps the loop going, so that Node's own list of what does so tells whether
 * there is an immediate of somebody else.
 */

const handful = 32;
/** Turns between two steps; more are a loop that never comes to an end. */
const turnsMax = 10_000;

export class Turns {
  /** Calls `step` when all is settled, again and again while it returns true, and resolves when settled. */
  each(step: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      let left = 0;
      let turnsWaited = 0;
      let isBehind = false;
      let goesOn = true;
      const ask = (): void => {
        left = handful;
        isBehind = false;
        setImmediate(turn);
        for (let count = 1; count < handful; count += 1) setImmediate(turn).unref();
      };
      const proceed = (): void => {
        isBehind ||= !isSettled();
        if (!isBehind) {
          turnsWaited = 0;
          goesOn = step();
          if (!goesOn) resolve();
        } else if (left === 0) {
          turnsWaited += 1;
          if (turnsWaited > turnsMax)
            throw new Error('immediates that follow each other endlessly');
        }
      };
      const turn = (): void => {
        left -= 1;
        if (!goesOn) return;
        try {
          proceed();
        } catch (fault) {
          goesOn = false;
          reject(fault instanceof Error ? fault : new Error(String(fault)));
        }
        if (goesOn && left === 0) ask();
      };
      ask();
    });
  }
}

function isSettled(): boolean {
  return !process.getActiveResourcesInfo().includes('Immediate');
}
