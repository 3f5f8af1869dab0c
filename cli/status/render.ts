/** The status of a mesh as text. The signer is never shown without what its token is. */
import type { MeshStatus } from '../answers.ts';
import { standingText } from '../rotation/render.ts';
import { fingerprint, span, table, type Style } from '../style.ts';
import type { Answered } from './answered.ts';
import { isHealthy, type ProcessStatus, type Status } from './collect.ts';

const rotationsShown = 5;
/** Of the longest label, `orchestrator`; one space parts it from what follows. */
const labelWidth = 12;

export function renderStatus(status: Status, style: Style): string {
  const verdict = isHealthy(status) ? style.good('healthy') : style.failed('not healthy');
  return [
    `${style.strong(status.dir)}  ${verdict}`,
    `  root digest  ${status.rootDigest}`,
    ...section(status.mesh, style, 'orchestrator', (mesh) => [
      ...documentLines(mesh, style),
      ...orchestratorLines(mesh, status, style),
      ...layerLines(mesh, style),
    ]),
    ...(status.mesh.ok ? [] : silentLines(status.orchestrators.slice(1), style)),
    ...section(
      status.signer,
      style,
      'signer',
      ({ notice, label, keys, canaryOk, childRestarts }) => [
        `  signer       ${style.warning(notice)}`,
        `               token ${label}, ${keys.length} keys, canary ${canaryOk ? 'ok' : style.failed('failed')}, ${childRestarts} restarts of its process`,
      ],
    ),
    ...(status.rootKey === undefined
      ? []
      : section(status.rootKey, style, 'root KEK', ({ notice }) => [
          `  root KEK     ${style.warning(notice)}`,
        ])),
    ...section(
      status.audit,
      style,
      'auditor',
      ({ treeSize, rootHash, restored, refused, checkpoint, trouble }) => [
        `  audit        ${treeSize} records, tree hash ${fingerprint(rootHash)}, ${restored} restored, ${refused} refused`,
        `               checkpoint ${checkpoint === undefined ? 'none yet' : `over ${checkpoint.checkpoint.body.tree_size}`}`,
        ...(trouble === undefined
          ? []
          : [style.failed(`               takes nothing in: ${trouble}`)]),
      ],
    ),
    ...lockoutLines(status, style),
    '',
    renderProcesses(status, style),
    ...faultLines(status, style),
    ...renderRotations(status, style),
  ].join('\n');
}

function documentLines({ documents, stale }: MeshStatus, style: Style): string[] {
  return (['root', 'registry', 'policy'] as const).map((kind, index) => {
    const { version, digest } = documents[kind];
    const label = (index === 0 ? 'documents' : '').padEnd(labelWidth);
    const line = `  ${label} ${kind} ${version}  ${fingerprint(digest)}`;
    return stale.includes(kind)
      ? `${line}  ${style.failed('expired: nothing new is begun')}`
      : line;
  });
}

function orchestratorLines(
  { orchestrator, refusals }: MeshStatus,
  { orchestrators }: Status,
  style: Style,
): string[] {
  const answering = orchestrators.filter(({ ok }) => ok).map(({ agentId }) => agentId);
  const refused = Object.entries(refusals).map(([code, count]) => `${count} ${code}`);
  return [
    `  asked        ${answering.join(', ')}`,
    ...silentLines(orchestrators, style),
    ...(refused.length === 0
      ? []
      : [style.warning(`               ${orchestrator} refused events: ${refused.join(', ')}`)]),
  ];
}

function silentLines(orchestrators: Status['orchestrators'], style: Style): string[] {
  return orchestrators.flatMap((each) =>
    each.ok ? [] : [`               ${style.failed(each.code)} ${each.reason}`],
  );
}

function layerLines({ layers, documents: newest }: MeshStatus, style: Style): string[] {
  return [
    `  layers       ${layers.filter(({ ready }) => ready).length} of ${layers.length} ready`,
    ...layers
      .filter(({ ready, frozen }) => !ready || frozen > 0)
      .map(({ agentId, reason, frozen }) =>
        style.failed(`               ${agentId}: ${reason ?? `${frozen} slots frozen`}`),
      ),
    ...layers.flatMap(({ agentId, silentMs }) =>
      silentMs === undefined
        ? []
        : [style.warning(`               ${agentId}: no heartbeat for ${span(silentMs)}`)],
    ),
    ...layers.flatMap(({ agentId, documents }) =>
      (['registry', 'policy'] as const).flatMap((kind) =>
        documents === undefined || documents[kind] >= newest[kind].version
          ? []
          : [style.warning(`               ${agentId}: still works by ${kind} ${documents[kind]}`)],
      ),
    ),
  ];
}

function lockoutLines({ lockouts }: Status, style: Style): string[] {
  return lockouts.map(({ sender, code, untilMs, by }, index) => {
    const label = (index === 0 ? 'locked out' : '').padEnd(labelWidth);
    const until = new Date(untilMs).toISOString();
    const line = `${sender} until ${until} (${code}: it offered a bad document), by ${by.join(', ')}`;
    return `  ${label} ${style.warning(line)}`;
  });
}

function faultLines({ processes }: Status, style: Style): string[] {
  const faulty = processes.filter(({ ready, fault }) => !ready && fault !== undefined);
  if (faulty.length === 0) return [];
  const lines = faulty.flatMap(({ id, fault }) => [
    `  ${style.failed(`${id}: ${fault?.code} ${fault?.message}`)}`,
    ...(fault?.remedy === undefined ? [] : [`    ${fault.remedy}`]),
  ]);
  return ['', ...lines];
}

function section<Value>(
  answer: Answered<Value>,
  style: Style,
  who: string,
  lines: (value: Value) => string[],
): string[] {
  if (answer.ok) return lines(answer.value);
  return [`  ${who.padEnd(labelWidth)} ${style.failed(answer.code)} ${answer.reason}`];
}

function renderProcesses({ processes, supervisorPid }: Status, style: Style): string {
  const head = ['process', 'pid', 'state', 'restarts'].map((name) => style.dim(name));
  const supervisor = [
    'supervisor',
    supervisorPid === null ? '–' : String(supervisorPid),
    supervisorPid === null ? style.failed('not running') : style.good('running'),
    '',
  ];
  const rows = processes.map((each) => [
    each.id,
    each.pid === null ? '–' : String(each.pid),
    stateText(each, style),
    String(each.restarts),
  ]);
  return table([head, supervisor, ...rows], 2);
}

function stateText({ alive, suspended, ready }: ProcessStatus, style: Style): string {
  if (!alive) return style.failed('not running');
  if (suspended) return style.failed('suspended');
  return ready ? style.good('ready') : style.busy('starting');
}

function renderRotations({ mesh }: Status, style: Style): string[] {
  if (!mesh.ok || mesh.value.rotations.length === 0) return [];
  const rows = mesh.value.rotations
    .slice(-rotationsShown)
    .map((rotation) => [
      rotation.planId,
      standingText(rotation, style),
      `layers ${rotation.layers.join(',')}`,
    ]);
  return ['', style.dim('  latest rotations'), table(rows, 2)];
}
