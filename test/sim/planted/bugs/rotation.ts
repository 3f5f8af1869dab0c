/** Mistakes in the machine of a rotation: when a layer may go on, what a rollback leads to, what is retired. */

import { lines, type PlantedBug } from '../mutation.ts';

const rotation = 'shared/core/rotation';
const stepEvidence = 'shared/core/step-evidence.ts';

export const rotationBugs: readonly PlantedBug[] = [
  {
    name: 'activated-by-a-half',
    invariant: 1,
    what: 'A layer is activated once half of the members of each slot have accepted, and agents count likewise.',
    edits: [
      {
        file: `${rotation}/advance.ts`,
        find: 'if (isIdle(state)) beginActivating(draft);',
        replace: lines(
          'if (state.slots.every((slot) => slot.accepted.length >= slot.verifiers.length / 2)) {',
          '        beginActivating(draft);',
          '      }',
        ),
      },
      {
        file: `${rotation}/activate.ts`,
        find: 'membersOf(slot).every((agentId) => accepted.has(agentId))',
        replace: 'accepted.size >= slot.verifiers.length / 2',
      },
      {
        file: stepEvidence,
        find: '!accepted.some(({ agentId }) => agentId === member.agent_id),',
        replace: '2 * accepted.length < membersOf(plan, slot).length - 1,',
      },
    ],
    seeds: [3],
    needs: {
      extent: 'whole',
      faults: ['delay', 'loss', 'pause'],
      victims: ['layers'],
      faultsMin: 6,
      activities: ['rotation'],
      hasSecond: true,
      story:
        'Any rotation of a slot with verifiers: acknowledgements come one by one. Several agents in a layer, or layers 1 or 4.',
    },
  },
  {
    name: 'committed-before-the-last-verification',
    invariant: 2,
    what: 'One member that has used the new key stands for all of them, and the signer asks for the uses of owners only.',
    edits: [
      {
        file: `${rotation}/advance.ts`,
        find: 'if (isIdle(state)) leaveLayer(draft);',
        replace: lines(
          'if (state.slots.every((slot) => slot.activated.length === 0 || slot.verified.length > 0)) {',
          '        leaveLayer(draft);',
          '      }',
        ),
      },
      {
        file: 'shared/core/commit-evidence.ts',
        find: 'if ((took && used) || mayBeFenced(plan, check.policy, member)) continue;',
        replace: 'if (took || mayBeFenced(plan, check.policy, member)) continue;',
      },
    ],
    seeds: [5],
    needs: {
      extent: 'several',
      faults: ['delay', 'pause', 'loss'],
      activities: ['rotation'],
      hasSecond: true,
      story:
        'The layer that comes last in the sequence has a slot with verifiers, and one of them is slower than the owner.',
    },
  },
  {
    name: 'called-back-after-the-commit',
    invariant: 2,
    what: 'A rollback that an operator asks for is held against the rollback decision only, not against the commit.',
    edits: [
      {
        file: `${rotation}/approve.ts`,
        find: "if (state.decision !== 'none') {",
        replace: "if (state.decision === 'rollback') {",
      },
    ],
    needs: {
      faults: [],
      activities: ['rotation that is called back'],
      story: 'The activity that calls a rotation back does so a moment after it was committed.',
    },
  },
  {
    name: 'rollback-stops-a-layer-short',
    invariant: 2,
    what: 'A rollback goes through its sequence but for the last layer, the one that was activated first.',
    edits: [
      {
        file: `${rotation}/rollback.ts`,
        find: 'for (; state.cursor < order.length; state.cursor += 1) {',
        replace: 'for (; state.cursor < order.length - 1; state.cursor += 1) {',
      },
    ],
    seeds: [6],
    needs: {
      extent: 'whole',
      faults: [],
      activities: ['rotation that is called back'],
      story: 'A rotation goes back after its first layer was activated: called back, or any fault.',
    },
  },
  {
    name: 'rollback-given-up-and-called-done',
    invariant: 2,
    what: 'An owner that does not answer its rollback counts as rolled back after the last attempt: no lockout.',
    edits: [
      {
        file: `${rotation}/failures.ts`,
        find: lines(
          "  if (operation === 'rollback') {",
          '    lockOut(draft, { reason, command });',
          '    return;',
        ),
        replace: lines(
          "  if (operation === 'rollback') {",
          '    for (const slot of state.slots) {',
          "      if (command.slots.includes(slot.slot)) slot.rolledBack.push({ agentId, report: '' });",
          '    }',
          '    return;',
        ),
      },
    ],
    needs: {
      faults: [],
      activities: ['rotation that cannot go back'],
      rules: 'impatient',
      story:
        'An owner is out of reach for all attempts of its rollback: attempts times step timeout is shorter than the fault. It shows at rest, or only while the owner is away.',
    },
  },
  {
    name: 'slots-kept-after-an-early-rollback',
    invariant: 13,
    what: 'Slots are released after a rollback only where a key had been turned.',
    edits: [
      {
        file: `${rotation}/rollback.ts`,
        find: "if (state.reserved) issueSlotsCommand(draft, 'release-slots');",
        replace: lines(
          'if (state.reserved && state.slots.some(({ touched }) => touched)) {',
          "    issueSlotsCommand(draft, 'release-slots');",
          '  }',
        ),
      },
    ],
    seeds: [2],
    needs: {
      faults: [],
      activities: ['rotation that is called back'],
      story:
        'A rotation goes back before its first activation: called back at once, or an owner is away while it prepares.',
    },
  },
  {
    name: 'new-keys-of-a-rollback-stay',
    invariant: 4,
    what: 'The order to drop the new keys after a rollback is forgotten where slots are released too.',
    edits: [
      {
        file: `${rotation}/rollback.ts`,
        find: lines(
          "issueSlotsCommand(draft, 'release-slots');",
          '  if (state.slots.some((slot) => slot.discardDue.length > 0)) {',
        ),
        replace: lines(
          "issueSlotsCommand(draft, 'release-slots');",
          '  else if (state.slots.some((slot) => slot.discardDue.length > 0)) {',
        ),
      },
    ],
    seeds: [0],
    needs: {
      faults: [],
      activities: ['rotation that is called back'],
      rules: 'impatient',
      quietMs: 60_000,
      story:
        'A rotation goes back after an activation; at the end its new keys are still withdrawn at owners and known to verifiers.',
    },
  },
  {
    name: 'retired-without-the-overlap',
    invariant: 9,
    what: 'The overlap counts from nothing: old keys are retired at once, and agents do not look at the time.',
    edits: [
      {
        file: `${rotation}/commit.ts`,
        find: "ensureTimer(draft, 'overlap', state.plan.body.timing.overlap_ms);",
        replace: "ensureTimer(draft, 'overlap', 0);",
      },
      {
        file: stepEvidence,
        find: "instantMs(commit?.issued_at ?? '') + plan.timing.overlap_ms;",
        replace: "Math.min(instantMs(commit?.issued_at ?? ''), instantMs(plan.expires_at));",
      },
    ],
    needs: {
      faults: [],
      activities: ['rotation'],
      story: 'Any rotation that is retired, under a policy with an overlap.',
    },
  },
  {
    name: 'retired-with-the-first-release',
    invariant: 9,
    what: 'One member that lets go of the old key is taken for all of them, by the rotation and by agents.',
    edits: [
      {
        file: `${rotation}/retire.ts`,
        find: 'slots.every((slot) => hasAll(slot, slot.released))',
        replace: 'slots.every((slot) => slot.released.length > 0)',
      },
      {
        file: stepEvidence,
        find: '!released.includes(member.agent_id) &&',
        replace: 'released.length === 0 &&',
      },
    ],
    seeds: [7],
    needs: {
      extent: 'whole',
      faults: ['delay', 'pause', 'loss'],
      activities: ['rotation'],
      hasSecond: true,
      story: 'Any rotation that is retired and has a slot with verifiers; more easily with delays.',
    },
  },
  {
    name: 'new-keys-dropped-while-going-back',
    invariant: 9,
    what: 'A rollback has all new keys dropped at once, also those that were in use, without their overlap.',
    edits: [
      {
        file: `${rotation}/rollback.ts`,
        find: 'state.slots.filter((slot) => !slot.touched),',
        replace: 'state.slots,',
      },
    ],
    seeds: [6],
    needs: {
      extent: 'whole',
      faults: [],
      activities: ['rotation that is called back'],
      story:
        'A rotation goes back after an activation, and the withdrawn key was not used in the usage window.',
    },
  },
  {
    name: 'recovery-without-approval',
    invariant: 14,
    what: 'A locked-out rotation goes on as soon as an operator asks for its recovery.',
    edits: [
      {
        file: `${rotation}/recover.ts`,
        find: 'state.recoveryRequest = { operatorId, event, approvals: [] };',
        replace: lines(
          'state.recoveryRequest = { operatorId, event, approvals: [] };',
          '  resumeRollback(draft);',
        ),
      },
    ],
    needs: {
      faults: [],
      activities: ['rotation that cannot go back'],
      rules: 'impatient',
      story: 'A rollback fails as often as it may (an owner is away), and operators recover it.',
    },
  },
  {
    name: 'a-held-slot-is-given-away',
    invariant: 13,
    what: 'The ledger fences by the index across rotations: a slot goes to whoever asks at no lower index than its holder.',
    edits: [
      {
        file: 'shared/core/slots.ts',
        find: 'if (hold !== undefined) {',
        replace: 'if (hold !== undefined && hold.sagaIndex > sagaIndex) {',
      },
    ],
    needs: {
      extent: 'whole',
      faults: [],
      activities: ['two plans for one layer'],
      story: 'Two plans with a layer in common are executed one shortly after the other.',
    },
  },
];
