/** Mistakes of an orchestrator about work that is outstanding, and of what agents remember of lockouts. */

import { lines, type PlantedBug } from '../mutation.ts';

const driver = 'agents/orchestrator/rotation-driver.ts';

export const orchestratorBugs: readonly PlantedBug[] = [
  {
    name: 'timers-are-lost-at-a-restart',
    invariant: 13,
    what: 'A timer is started by the entry that asks for it, and by nobody who takes over or starts later.',
    edits: [
      {
        file: driver,
        find: 'for (const command of state.outstanding) this.#start(command);',
        replace: lines(
          'for (const command of state.outstanding) {',
          "        const isTimer = command.type === 'start-timer';",
          '        if (!isTimer || command.sagaIndex === state.index) this.#start(command);',
          '      }',
        ),
      },
    ],
    seeds: [5],
    needs: {
      faults: ['crash', 'crash-at-point', 'pause'],
      story:
        'The orchestrator that drives a rotation dies while a timer runs: the overlap, the soak, answers that are due.',
    },
  },
  {
    name: 'a-failed-command-is-given-up',
    invariant: 13,
    what: 'A command that failed because the bus or an agent did not answer is not tried again.',
    edits: [
      {
        file: driver,
        find: lines('failed for now: ${error.message}`);', '      this.#carryOutLater(key);'),
        replace: 'failed for now: ${error.message}`);',
      },
    ],
    seeds: [9, 14],
    needs: {
      extent: 'whole',
      activities: ['rotation'],
      faults: ['token-down', 'token-timeout'],
      faultsMin: 2,
      longChance: 0.7,
      story:
        'The token is away while a statement is asked for, for so long that the other orchestrator fails too.',
    },
  },
  {
    name: 'lockouts-are-forgotten-at-a-start',
    invariant: 14,
    what: 'Who offered a bad document is locked out until the receiver starts again.',
    edits: [
      {
        file: 'shared/runtime/trust-desk.ts',
        find: 'LockoutLedger.fromJSON(store.lockouts) ?? new LockoutLedger()',
        replace: 'new LockoutLedger()',
      },
    ],
    needs: {
      faults: ['crash'],
      activities: ['bad offers'],
      story:
        'Somebody who is enrolled offers a bad document, and an agent that refused it starts again within 900 s; then the same sender asks for something new, or another lockout is written down.',
    },
  },
];
