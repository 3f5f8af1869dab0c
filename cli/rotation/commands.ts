/** `gyre rotation …`: from a plan to turned keys, and back. */
import type { CommandSpec } from '../command.ts';
import { positionalAt, textOption } from '../command.ts';
import { inSession, type Context } from '../context.ts';
import { exitCodes, usageFault, type ExitCode } from '../fault.ts';
import { orchestrationFault } from '../orchestration-fault.ts';
import type { RotationDetails } from '../answers.ts';
import {
  approveRecovery,
  approveRotation,
  dryRunRotation,
  executeRotation,
  listRotations,
  planRotation,
  requestRecovery,
  rollbackRotation,
  showRotation,
  watchRotation,
} from './actions.ts';
import {
  parseLayers,
  parsePlanId,
  parseReason,
  parseRotationType,
  parseWindow,
} from './arguments.ts';
import { interruptible, progressOf } from './progress.ts';
import {
  approvalLines,
  renderDryRun,
  renderGrid,
  renderList,
  renderPlan,
  renderResult,
  togetherLines,
} from './render.ts';
import { detailsResult, exitCodeOf, resultOf } from './result.ts';

const planArgument = [['<plan-id>', 'id of the plan, as plan prints it']] as const;

const plan: CommandSpec = {
  name: 'plan',
  summary: 'have a rotation planned, stated by the signer and checked against the live layers',
  options: [
    ['--layers <layers>', 'layers to turn: 1-7, or 1,3'],
    ['--type <type>', 'scheduled, emergency or policy_change (default: scheduled)'],
    ['--window <start/end>', 'when it may run, two RFC 3339 times (default: from now on)'],
    ['--reason <text>', 'why, for the audit'],
  ],
  details:
    'A scheduled rotation needs a window in which the rotation_schedule of the policy comes round (UTC);\n' +
    'an emergency must be over within emergency_rotation_sla_minutes of being asked for. Layer 1 is\n' +
    'turned by operators who are enrolled with the capability mfa. Layers that depend on one of\n' +
    'those named are turned with it, and the plan says so: 2 with 1, and 5 with 4. The window is that\n' +
    'of the rotation as a whole: it begins, and every layer is activated, inside it. The\n' +
    'rotation_window of each key in the signed plan is its part of that: it gives an order, and is\n' +
    'not kept by itself.',
  examples: ['gyre rotation plan --layers 1-7 --reason "quarterly rotation"'],
  run: async (context, options) => {
    const layers = textOption(options, 'layers');
    if (layers === undefined) {
      throw usageFault('a plan needs --layers', 'Write gyre rotation plan --layers 1-7.');
    }
    const window = textOption(options, 'window');
    const request = {
      layers: parseLayers(layers),
      rotationType: parseRotationType(textOption(options, 'type') ?? 'scheduled'),
      reason: parseReason(textOption(options, 'reason') ?? 'asked for on the command line'),
      ...(window === undefined ? {} : { window: parseWindow(window) }),
    };
    const details = await inSession(context, (session) => planRotation(session, request));
    const result = resultOf(details);
    const added = result.dependentLayers.filter(({ layer }) => !request.layers.includes(layer));
    for (const line of togetherLines(added)) context.output.progress(line);
    const addedLayers = [...new Set(added.map(({ layer }) => layer))];
    context.output.result({ ...result, addedLayers }, (style) => renderPlan(result, style));
    return exitCodes.done;
  },
};

const approve: CommandSpec = {
  name: 'approve',
  summary: 'sign a plan as another operator than the one who asked for it',
  arguments: planArgument,
  details:
    'The plan is fetched, its signature and digest are checked, and what it turns is told, before\n' +
    'anything is signed. A plan that can no longer be executed is not signed (PLAN_STALE): its time is\n' +
    'over, or another rotation has turned its keys since. An approval that does not count, by the one\n' +
    'who asked or by the same operator again, ends with 6 and says who is still needed. On a rotation\n' +
    'that is locked out it approves the recovery that somebody else has asked for.',
  examples: ['gyre rotation approve rot-0123456789abcdef --as op-2'],
  run: async (context, _options, positional) => {
    const planId = parsePlanId(positionalAt(positional, 0));
    const beforehand = (details: RotationDetails): void => {
      for (const line of approvalLines(resultOf(details))) context.output.progress(line);
    };
    const details = await inSession(context, (session) =>
      approveRotation(session, planId, beforehand),
    );
    return printed(context, details, renderPlan);
  },
};

const execute: CommandSpec = {
  name: 'execute',
  summary: 'turn the keys of an approved plan and watch until it is decided',
  arguments: planArgument,
  options: [['--dry-run', 'check everything against the live agents, and change nothing']],
  details:
    'Ends with 0 when the rotation is committed, 6 when approvals are missing, 7 when it was rolled\n' +
    'back, 8 when it is locked out, 9 when it is not decided within --timeout and goes on by itself.\n' +
    'Old keys are retired after the overlap; rotation watch shows that.',
  examples: [
    'gyre rotation execute rot-0123456789abcdef --dry-run',
    'gyre rotation execute rot-0123456789abcdef --json',
  ],
  run: async (context, options, positional) => {
    const planId = parsePlanId(positionalAt(positional, 0));
    if (options['dryRun'] === true) return dryRun(context, planId);
    const watcher = progressOf(context.output);
    return ended(
      context,
      await inSession(context, (session) =>
        interruptible(planId, executeRotation(session, planId, watcher)),
      ),
    );
  },
};

const show: CommandSpec = {
  name: 'show',
  summary: 'show where a rotation stands',
  arguments: planArgument,
  examples: ['gyre rotation show rot-0123456789abcdef'],
  run: async (context, _options, positional) => {
    const planId = parsePlanId(positionalAt(positional, 0));
    const details = await inSession(context, (session) => showRotation(session, planId));
    context.output.result(detailsResult(details), (style) =>
      [
        renderPlan(resultOf(details), style),
        renderGrid(details, style),
        renderResult(resultOf(details), style),
      ].join('\n\n'),
    );
    return exitCodes.done;
  },
};

const list: CommandSpec = {
  name: 'list',
  summary: 'list the rotations of this mesh',
  examples: ['gyre rotation list --json'],
  run: async (context) => {
    const rotations = await inSession(context, listRotations);
    context.output.result({ rotations }, (style) => renderList(rotations, style));
    return exitCodes.done;
  },
};

const watch: CommandSpec = {
  name: 'watch',
  summary: 'follow a rotation until it rests: retired, rolled back, refused or locked out',
  arguments: planArgument,
  details:
    'Says until when the old keys stay valid, and then who still uses one that is to be destroyed. Ends\n' +
    'with 0 when it is retired, 7 when it was rolled back, 8 when it is locked out, 1 when it was\n' +
    'refused. When --timeout is over first it says what the rotation waits for, and ends with 9 where it\n' +
    'goes on by itself, with 6 where people have to approve or execute the plan, or to plan anew.',
  examples: ['gyre rotation watch rot-0123456789abcdef'],
  run: async (context, _options, positional) => {
    const planId = parsePlanId(positionalAt(positional, 0));
    const watcher = progressOf(context.output);
    return ended(
      context,
      await inSession(context, (session) =>
        interruptible(planId, watchRotation(session, planId, watcher)),
      ),
    );
  },
};

const rollback: CommandSpec = {
  name: 'rollback',
  summary: 'go back to the old keys; possible until the commit decision',
  arguments: planArgument,
  options: [['--reason <text>', 'why, for the audit']],
  details: 'Ends with 0 when the old keys are primary again, 8 when the rollback is locked out.',
  examples: ['gyre rotation rollback rot-0123456789abcdef --reason "clients fail"'],
  run: async (context, options, positional) => {
    const planId = parsePlanId(positionalAt(positional, 0));
    const reason = parseReason(textOption(options, 'reason') ?? 'asked for on the command line');
    const watcher = progressOf(context.output);
    const details = await inSession(context, (session) =>
      interruptible(planId, rollbackRotation(session, planId, { reason, watcher })),
    );
    return wentBack(context, details);
  },
};

const recover: CommandSpec = {
  name: 'recover',
  summary: 'lead a locked-out rotation back to its old keys',
  arguments: planArgument,
  options: [['--approve', 'approve the recovery that another operator has asked for']],
  details:
    'One operator asks, another approves, then the signer allows it and the rollback is tried again.\n' +
    'Repair what made the rollback fail before that. Until then signing with the slots is frozen;\n' +
    'verification goes on. Ends with 0 when the old keys are primary again.',
  examples: [
    'gyre rotation recover rot-0123456789abcdef',
    'gyre rotation recover rot-0123456789abcdef --approve --as op-2',
  ],
  run: async (context, options, positional) => {
    const planId = parsePlanId(positionalAt(positional, 0));
    if (options['approve'] !== true) {
      const details = await inSession(context, (session) => requestRecovery(session, planId));
      context.output.progress(
        `Now another operator: gyre rotation recover ${planId} --approve --as op-2`,
      );
      return printed(context, details, renderPlan);
    }
    const watcher = progressOf(context.output);
    const details = await inSession(context, async (session) => {
      await approveRecovery(session, planId);
      return interruptible(planId, watchRotation(session, planId, watcher));
    });
    return wentBack(context, details);
  },
};

export const rotationCommands: readonly CommandSpec[] = [
  plan,
  approve,
  execute,
  show,
  list,
  watch,
  rollback,
  recover,
];

async function dryRun(context: Context, planId: string): Promise<ExitCode> {
  const details = await inSession(context, (session) => dryRunRotation(session, planId));
  const run = details.state.dryRuns.at(-1);
  if (run?.ok === false)
    throw orchestrationFault(run.code ?? 'ORCH-8004', run.reason ?? 'no reason', planId);
  const result = resultOf(details);
  context.output.result({ ...result, dryRun: { ok: true } }, (style) =>
    [renderPlan(result, style), renderDryRun(result, style)].join('\n'),
  );
  return exitCodes.done;
}

function printed(
  { output }: Context,
  details: RotationDetails,
  render: typeof renderPlan,
): ExitCode {
  const result = resultOf(details);
  output.result(result, (style) => render(result, style));
  return exitCodes.done;
}

/** Prints what it came to; a rotation that went back says so by its exit code. */
function ended({ output }: Context, details: RotationDetails): ExitCode {
  const result = resultOf(details);
  output.result(result, (style) => renderResult(result, style));
  return exitCodeOf(details.phase);
}

/** For commands whose aim is the way back. */
function wentBack(context: Context, details: RotationDetails): ExitCode {
  const code = ended(context, details);
  return code === exitCodes.rolledBack ? exitCodes.done : code;
}
