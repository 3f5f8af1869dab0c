/** The status of a mesh as text. The signer is never shown without what its token is. */
import type { MeshStatus } from '../answers.ts';
import { standingText } from '../rotation/render.ts';
import { clockTime, fingerprint, span, table, type Style } from '../style.ts';
import type { Answered } from './answered.ts';
import { isHealthy, type ProcessStatus, type Status } from './collect.ts';

const rotationsShown = 5;
/** Of the longest label, `orchestrator`; one space parts it from what follows. */
const labelWidth = 12;

export function renderStatus(status: Status, style: Style, nowMs = Date.now()): string {
  const verdict = isHealthy(status) ? style.good('healthy') : style.failed('not healthy');
  return [
    `${style.strong(status.dir)}  ${verdict}`,
    `  root digest  ${status.rootDigest}`,
    ...section(status.mesh, style, 'orchestrator', (mesh) => [
      ...documentLines(mesh, style),
      ...orchestratorLines(mesh, status, style),
      ...layerLines(mesh, style),
    ]),
    ...networkLines(status),
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
    renderProcesses(status, style, nowMs),
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

function layerLines(mesh: MeshStatus, style: Style): string[] {
  const { layers, askedAtMs, documents: newest } = mesh;
  return [
    `  layers       ${layers.filter(({ ready }) => ready).length} of ${layers.length} ready, as they said at ${clockTime(askedAtMs)}`,
    ...layers
      .filter(({ ready, frozen }) => !ready || frozen > 0)
      .map(({ agentId, reason, frozen }) =>
        style.failed(`               ${agentId}: ${reason ?? `${frozen} slots frozen`}`),
      ),
    ...layers
      .filter(({ adapter }) => !isOfGyre(adapter))
      .map(
        ({ agentId, adapter }) => `               ${agentId}: turns what is attached, ${adapter}`,
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

/** Keys in the agent, in a service of gyre's, or nobody knows: the agent does not answer. */
function isOfGyre(adapter: string): boolean {
  return adapter === 'embedded' || adapter === 'unknown' || /-service(-|$)/.test(adapter);
}

function networkLines({ network }: Status): string[] {
  if (network === undefined) return [];
  const { host, port, by, roots } = network;
  const whose = by === 'service' ? "layer 3's service" : 'the server that is attached to layer 3';
  const url = `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
  return [`  network      ${url}, ${whose}`, `               clients trust ${roots}`];
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

function renderProcesses(
  { processes, supervisorPid }: Status,
  style: Style,
  nowMs: number,
): string {
  const head = ['process', 'pid', 'state', 'for', 'restarts'].map((name) => style.dim(name));
  const supervisor = [
    'supervisor',
    supervisorPid === null ? '–' : String(supervisorPid),
    supervisorPid === null ? style.failed('not running') : style.good('running'),
    '',
    '',
  ];
  const rows = processes.map((each) => [
    each.id,
    each.pid === null ? '–' : String(each.pid),
    stateText(each, style),
    lastingText(each, nowMs),
    String(each.restarts),
  ]);
  return table([head, supervisor, ...rows], 2);
}

/** Nothing where it has just ended and the supervisor has not written that down yet. */
function lastingText({ alive, pid, sinceMs }: ProcessStatus, nowMs: number): string {
  const isKnown = sinceMs !== undefined && (alive || pid === null);
  return isKnown ? span(Math.max(0, nowMs - sinceMs)) : '';
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
