/** The status of a mesh as text. The signer is never shown without what its token is. */
import type { MeshStatus } from '../answers.ts';
import { phaseText } from '../rotation/render.ts';
import { fingerprint, table, type Style } from '../style.ts';
import { isHealthy, type Answered, type Status } from './collect.ts';

const rotationsShown = 5;

export function renderStatus(status: Status, style: Style): string {
  const verdict = isHealthy(status) ? style.good('healthy') : style.failed('not healthy');
  return [
    `${style.strong(status.dir)}  ${verdict}`,
    `  root digest  ${status.rootDigest}`,
    ...section(status.mesh, style, 'orchestrator', (mesh) => meshLines(mesh, style)),
    ...section(
      status.signer,
      style,
      'signer',
      ({ notice, label, keys, canaryOk, childRestarts }) => [
        `  signer       ${style.warning(notice)}`,
        `               token ${label}, ${keys.length} keys, canary ${canaryOk ? 'ok' : style.failed('failed')}, ${childRestarts} restarts of its process`,
      ],
    ),
    ...section(
      status.audit,
      style,
      'auditor',
      ({ treeSize, rootHash, restored, refused, checkpoint, trouble }) => [
        `  audit        ${treeSize} records, root ${fingerprint(rootHash)}, ${restored} restored, ${refused} refused`,
        `               checkpoint ${checkpoint === undefined ? 'none yet' : `over ${checkpoint.checkpoint.body.tree_size}`}`,
        ...(trouble === undefined
          ? []
          : [style.failed(`               takes nothing in: ${trouble}`)]),
      ],
    ),
    '',
    renderProcesses(status, style),
    ...renderRotations(status, style),
  ].join('\n');
}

function meshLines(mesh: MeshStatus, style: Style): string[] {
  const { orchestrator, registry, policy, layers, refusals } = mesh;
  const refused = Object.entries(refusals).map(([code, count]) => `${count} ${code}`);
  return [
    `  registry     version ${registry.version}  ${fingerprint(registry.digest)}`,
    `  policy       version ${policy.version}  ${fingerprint(policy.digest)}`,
    `  asked        ${orchestrator}`,
    ...(refused.length === 0
      ? []
      : [style.warning(`               it refused events: ${refused.join(', ')}`)]),
    `  layers       ${layers.filter(({ ready }) => ready).length} of ${layers.length} ready`,
    ...layers
      .filter(({ ready, frozen }) => !ready || frozen > 0)
      .map(({ agentId, reason, frozen }) =>
        style.failed(`               ${agentId}: ${reason ?? `${frozen} slots frozen`}`),
      ),
  ];
}

function section<Value>(
  answer: Answered<Value>,
  style: Style,
  who: string,
  lines: (value: Value) => string[],
): string[] {
  if (answer.ok) return lines(answer.value);
  return [`  ${who.padEnd(11)}  ${style.failed(answer.code)} ${answer.reason}`];
}

function renderProcesses({ processes, supervisorPid }: Status, style: Style): string {
  const head = ['process', 'pid', 'state', 'restarts'].map((name) => style.dim(name));
  const supervisor = [
    'supervisor',
    supervisorPid === null ? '–' : String(supervisorPid),
    supervisorPid === null ? style.failed('not running') : style.good('running'),
    '',
  ];
  const rows = processes.map(({ id, pid, alive, ready, restarts }) => [
    id,
    pid === null ? '–' : String(pid),
    alive ? (ready ? style.good('ready') : style.busy('starting')) : style.failed('not running'),
    String(restarts),
  ]);
  return table([head, supervisor, ...rows], 2);
}

function renderRotations({ mesh }: Status, style: Style): string[] {
  if (!mesh.ok || mesh.value.rotations.length === 0) return [];
  const rows = mesh.value.rotations
    .slice(-rotationsShown)
    .map(({ planId, phase, layers }) => [
      planId,
      phaseText(phase, style),
      `layers ${layers.join(',')}`,
    ]);
  return ['', style.dim('  latest rotations'), table(rows, 2)];
}
