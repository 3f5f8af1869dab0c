/** Mistakes about what layer 7 asks for: how often, and how many at a time. */

import type { PlantedBug } from '../mutation.ts';

const healing = 'shared/core/healing.ts';

export const healingBugs: readonly PlantedBug[] = [
  {
    name: 'a-healed-layer-is-turned-again',
    invariant: 10,
    what: 'Only a plan that was refused keeps a layer from being turned again by the next anomaly.',
    edits: [
      {
        file: healing,
        find: 'return lately === undefined',
        replace: "return lately?.phase !== 'refused'",
      },
    ],
    needs: {
      faults: [],
      hasHealing: true,
      rules: 'prompt',
      extent: 'few',
      story:
        'Layer 7 asks for the rotation of one layer several times, and nobody has to approve an emergency.',
    },
  },
  {
    name: 'healings-run-at-a-time',
    invariant: 10,
    what: 'A healing is begun while another one runs, and while its layers have just been turned.',
    edits: [
      {
        file: healing,
        find: 'if (running !== undefined) return conflict(',
        replace: "if (running?.phase === 'drafted') return conflict(",
      },
      {
        file: healing,
        find: 'return lately === undefined',
        replace: "return lately?.phase !== 'refused'",
      },
    ],
    needs: {
      faults: [],
      hasHealing: true,
      rules: 'prompt',
      extent: 'few',
      story: 'A storm of anomalies: layer 7 asks for many rotations within seconds.',
    },
  },
];
