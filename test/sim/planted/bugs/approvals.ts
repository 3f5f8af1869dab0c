/** Mistakes about who may let a rotation run, and what an approval is bound to. */

import { lines, type PlantedBug } from '../mutation.ts';

export const approvalBugs: readonly PlantedBug[] = [
  {
    name: 'requester-approves-the-own-plan',
    invariant: 10,
    what: 'An approval by the operator who asked for the plan counts.',
    edits: [
      {
        file: 'shared/core/rotation/approve.ts',
        find: 'if (operatorId === requester) {',
        replace: "if (operatorId === '') {",
      },
      {
        file: 'shared/core/verified-event.ts',
        find: '!isBound || event.senderId === plan.requested_by || approvals.has(event.senderId)',
        replace: '!isBound || approvals.has(event.senderId)',
      },
    ],
    needs: {
      faults: [],
      activities: ['approval without right'],
      story: 'An operator approves its own plan, and executes it.',
    },
  },
  {
    name: 'approval-bound-to-the-name-only',
    invariant: 10,
    what: 'Approvals are bound to the id of the plan and not to its digest, wherever they are looked at.',
    edits: [
      {
        file: 'agents/orchestrator/request-desk.ts',
        find: 'if (state.planDigest !== planDigest) {',
        replace: "if (planDigest === '') {",
      },
      {
        file: 'shared/core/audit-evidence.ts',
        find: '    planDigest === context.planDigest &&\n',
        replace: '',
      },
      {
        file: 'shared/core/verified-event.ts',
        find: lines(
          '    const isBound =',
          '      event.body.planDigest === planDigest && event.body.planId === plan.rotation_plan_id;',
        ),
        replace:
          '    const isBound = event.body.planId === plan.rotation_plan_id || planDigest === event.hash;',
      },
    ],
    needs: {
      faults: [],
      activities: ['approval without right'],
      story:
        'An operator approves another digest than the one of the plan, and the plan is executed.',
    },
  },
];
