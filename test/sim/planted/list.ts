/** Every planted bug, by the part of the code that it is planted into. */

import { approvalBugs } from './bugs/approvals.ts';
import { auditBugs } from './bugs/audit.ts';
import { healingBugs } from './bugs/healing.ts';
import { layerBugs } from './bugs/layers.ts';
import { orchestratorBugs } from './bugs/orchestrator.ts';
import { rotationBugs } from './bugs/rotation.ts';
import { trustBugs } from './bugs/trust.ts';
import type { PlantedBug } from './mutation.ts';

export const bugs: readonly PlantedBug[] = [
  ...rotationBugs,
  ...approvalBugs,
  ...layerBugs,
  ...auditBugs,
  ...trustBugs,
  ...orchestratorBugs,
  ...healingBugs,
];
