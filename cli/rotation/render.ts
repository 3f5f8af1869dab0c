/** Rotations as text: plans, results, lists and the grid of layers and steps. Pure functions. */
import { layerNames, type LayerNumber } from '#schemas/layers.ts';
import { gridSteps, type GridStatus } from '#shared/core/rotation/grid.ts';
import type { RotationDetails, RotationSummary } from '../answers.ts';
import { fingerprint, plainStyle, span, table, usesText, words, type Style } from '../style.ts';
import { heldLines, userLines, waitText, type Held } from './holding.ts';
import type { DependentLayer, RotationResult } from './result.ts';

const marks: Readonly<Record<GridStatus, string>> = {
  waiting: '·',
  running: '▸',
  done: '✔',
  failed: '✘',
  skipped: '–',
};

/** Phases that alternate while layer after layer goes through them: its own lines say more. */
const perLayerPhases: ReadonlySet<string> = new Set(['activating', 'verifying']);

export type GridView = Held & Pick<RotationDetails, 'grid'>;

/** One row per layer in the order in which it is turned, one column per step. */
export function renderGrid(view: GridView, style: Style): string {
  const { planId, phase, grid } = view;
  const head = ['', 'layer', ...gridSteps].map((name) => style.dim(name));
  const rows = grid.map(({ layer, name, steps }) => [
    String(layer),
    name,
    ...gridSteps.map((step) => mark(steps[step], style)),
  ]);
  const top = `${style.strong(planId)}  ${phaseText(phase, style)}${waitText(view)}`;
  const held = heldLines(view).map((line) => `  ${line}`);
  return [top, table([head, ...rows], 2), ...held].join('\n');
}

/** What has changed between two looks at a rotation, one line each. */
export function renderChanges(before: GridView | undefined, after: GridView): string[] {
  const isNewPhase = before?.phase !== after.phase && !perLayerPhases.has(after.phase);
  const lines = isNewPhase ? [`${after.planId}: ${words(after.phase)}${waitText(after)}`] : [];
  const seen = new Map(before?.grid.map((row) => [row.layer, row.steps]));
  const news = after.grid.flatMap(({ layer, name, steps }) =>
    gridSteps.flatMap((step) => {
      const status = steps[step];
      const isOutcome = step !== 'commit' && (status === 'done' || status === 'failed');
      const isNews = isOutcome && seen.get(layer)?.[step] !== status;
      return isNews ? [`${after.planId}: layer ${layer} ${name}: ${step} ${status}`] : [];
    }),
  );
  const heldBefore = new Set(before === undefined ? [] : heldLines(before));
  const held = heldLines(after)
    .filter((line) => !heldBefore.has(line))
    .map((line) => `${after.planId}: ${line}`);
  return [...news, ...lines, ...held];
}

/** A line for each layer that the plan turns because another one is turned. */
export function togetherLines(layers: readonly DependentLayer[]): string[] {
  return layers.map(
    ({ layer, turnedWith, reason }) =>
      `layer ${layer} (${layerNames[layer]}) is turned with layer ${turnedWith}: ${reason}`,
  );
}

/** What an operator is about to sign, before it is signed. */
export function approvalLines({
  planId,
  sequence,
  slots,
  dependentLayers,
}: RotationResult): string[] {
  const layers = sequenceText(sequence);
  const what = `approving ${planId}: ${slots.length} slots of layers ${layers}`;
  return [what, ...togetherLines(dependentLayers)];
}

export function renderPlan(result: RotationResult, style: Style): string {
  const needed = result.approvalsRequired;
  const lines = [
    `${style.strong(result.planId)}  ${phaseText(result.phase, style)}`,
    `  type      ${words(result.rotationType)}, asked for by ${result.requestedBy}`,
    `  sequence  ${sequenceText(result.sequence)}`,
    ...togetherLines(result.dependentLayers).map((line) => `            ${line}`),
    `  keys      ${result.slots.length} slots, estimated ${span(result.estimatedDurationMs)}`,
    `  approvals ${result.approvals.length} of ${needed}${approvers(result)}`,
    `  digest    ${result.planDigest}`,
    `  window    ${result.window.start} to ${result.window.end}, for the rotation as a whole`,
    `  expires   ${result.expiresAt}: it has to be executed before`,
    ...(result.stale === undefined
      ? []
      : [style.failed(`  stale     it can no longer be executed: ${result.stale.reason}`)]),
  ];
  return lines.join('\n');
}

function sequenceText(sequence: readonly LayerNumber[]): string {
  return sequence.map((layer) => `${layer} ${layerNames[layer]}`).join(' → ');
}

/** A dry run looks at the layers, not at the approvals, which an execution needs as well. */
export function renderDryRun(result: RotationResult, style: Style): string {
  const missing = result.approvalsRequired - result.approvals.length;
  const rest =
    missing > 0
      ? `before it can be executed it needs ${missing} more approval${missing === 1 ? '' : 's'}`
      : 'an execution would go on from here';
  return style.good(`dry run: everything is as the plan has it; ${rest}`);
}

/** Old and new key of every slot, and how it ended. */
export function renderResult(result: RotationResult, style: Style): string {
  const head = `${style.strong(result.planId)}  ${phaseText(result.phase, style)}${took(result)}`;
  const rows = result.slots.map(({ slot, old, new: fresh }) => [
    slot,
    `${fingerprint(old.keyId)} v${old.version}`,
    ...(fresh === undefined
      ? ['no new key']
      : ['→', `${fingerprint(fresh.keyId)} v${fresh.version}`]),
  ]);
  const faults = [result.failure, result.lockout].flatMap((fault) =>
    fault === undefined ? [] : [`  ${style.failed(fault.code)} ${fault.reason}`],
  );
  const revoked = (result.revoked ?? []).map(
    (agentId) => `  ${style.warning('revoked')} ${agentId}: the rotation went on without it`,
  );
  const held = userLines(result.phase, result.slots).map((line) => `  ${line}`);
  return [head, ...faults, ...revoked, table(rows, 2), ...held, ...wayOut(result)].join('\n');
}

export function renderList(rotations: readonly RotationSummary[], style: Style): string {
  if (rotations.length === 0) return 'no rotations yet: gyre rotation plan --layers 1-7';
  const head = ['plan', 'phase', 'type', 'layers', 'asked for by', 'last change'].map((name) =>
    style.dim(name),
  );
  const rows = rotations.map((rotation) => [
    rotation.planId,
    standingText(rotation, style),
    words(rotation.rotationType),
    rotation.layers.join(','),
    rotation.requestedBy,
    new Date(rotation.atMs).toISOString(),
  ]);
  return table([head, ...rows]);
}

/** The phase, how many approvals it waits for or why in vain, and how much still uses the old keys. */
export function standingText(
  {
    phase,
    awaitsApprovals = 0,
    usesLeft = 0,
    stale,
  }: Pick<RotationSummary, 'phase' | 'awaitsApprovals' | 'usesLeft' | 'stale'>,
  style: Style = plainStyle,
): string {
  if (stale !== undefined) return style.failed(`${words(phase)}, but stale: plan anew`);
  if (usesLeft > 0) {
    return `${phaseText(phase, style)}: ${usesText(usesLeft)} of keys that are to go`;
  }
  if (awaitsApprovals === 0) return phaseText(phase, style);
  const count = awaitsApprovals === 1 ? 'an approval' : `${awaitsApprovals} approvals`;
  return style.warning(`${words(phase)}: waits for ${count}`);
}

export function phaseText(phase: string, style: Style = plainStyle): string {
  const text = words(phase);
  switch (phase) {
    case 'committed':
    case 'retiring':
    case 'retired':
    case 'approved':
    case 'validated':
      return style.good(text);
    case 'rolled_back':
    case 'rolling_back':
      return style.warning(text);
    case 'locked_out':
    case 'refused':
      return style.failed(text);
    default:
      return style.busy(text);
  }
}

/** A lockout does not end by itself: whoever sees it is told how it does. */
function wayOut({ phase, planId }: RotationResult): string[] {
  if (phase !== 'locked_out') return [];
  return [
    '  signing with these slots is frozen; repair what made the rollback fail, then:',
    `    gyre rotation recover ${planId}`,
    `    gyre rotation recover ${planId} --approve --as op-2`,
  ];
}

/** From the request to execute to the decision; the overlap that follows is not part of it. */
function took({ phase, timings }: RotationResult): string {
  const { executeToCommittedMs, executeToRolledBackMs } = timings;
  if (executeToRolledBackMs !== undefined) return ` in ${span(executeToRolledBackMs)}`;
  if (executeToCommittedMs === undefined) return '';
  return `${phase === 'committed' ? '' : ', committed'} in ${span(executeToCommittedMs)}`;
}

function approvers({ approvals }: RotationResult): string {
  return approvals.length === 0 ? '' : ` (${approvals.join(', ')})`;
}

function mark(status: GridStatus, style: Style): string {
  const text = marks[status];
  switch (status) {
    case 'done':
      return style.good(text);
    case 'running':
      return style.busy(text);
    case 'failed':
      return style.failed(text);
    case 'waiting':
    case 'skipped':
      return style.dim(text);
  }
}
