/** `gyre up` and `gyre down`: the life of a development mesh. */
import { textOption, type CommandSpec, type Options } from '../command.ts';
import { parseWhole, type Context } from '../context.ts';
import { exitCodes, usageFault, type ExitCode } from '../fault.ts';
import { typed } from '../style.ts';
import { heartbeatBounds, natsAddress } from './agent-configs.ts';
import { operators } from './members.ts';
import { tokenKinds, type TokenKind } from './mesh-file.ts';
import { rotationTimeMsMax, type RotationTimes } from './policy-body.ts';
import { isMeshName } from './provisioning.ts';
import { startDetached, startHere, type Started, type StartRequest } from './start.ts';
import { stopMesh } from './stop.ts';

export const up: CommandSpec = {
  name: 'up',
  summary: 'start a development mesh, making it first where the directory holds none',
  options: [
    ['--detach', 'return when the mesh is ready, and leave it running'],
    ['--port <port>', 'port of the nats-server on 127.0.0.1; 0 takes any free one'],
    ['--name <name>', "new mesh: what it is called (default: its folder's name, or dev)"],
    ['--token <kind>', 'softhsm, or file: a token in a file, which is not an HSM'],
    ['--services', "new mesh: the layers are services of their own, which hold the layers' keys"],
    ['--soak <ms>', 'new mesh: how long triggers are watched before a commit (default: 0)'],
    ['--overlap <ms>', 'new mesh: how long old keys stay valid after a commit (default: 10000)'],
    ['--heartbeat <ms>', 'new mesh: how often layer agents say that they live (default: 1000)'],
    [
      '--emergency-approvals <n>',
      'new mesh: how many approve an emergency, 0 or 1 (default: 1); with 0 it runs at once',
    ],
  ],
  details:
    'A new mesh has two operators (op-1, op-2), two orchestrators, a signer, an auditor and one agent\n' +
    'for each of the seven layers. All keys lie in its directory. Without --detach it runs until\n' +
    'Ctrl-C.\n' +
    'Layer 7 asks for an emergency rotation when keys do not work as they should; an operator approves\n' +
    'it (gyre rotation list, gyre rotation approve), or nobody has to: --emergency-approvals 0.',
  examples: ['gyre up --detach --dir ./mesh'],
  run: async (context, options) => {
    const request = startRequest(context, options);
    return options['detach'] === true ? detached(context, request) : attached(context, request);
  },
};

export const down: CommandSpec = {
  name: 'down',
  summary: 'stop the mesh and wait until nothing of it runs; its keys and its log stay',
  examples: ['gyre down --dir ./mesh'],
  run: async ({ output, layout, timeoutMs }) => {
    const stopped = await stopMesh(layout, timeoutMs);
    output.result({ dir: layout.root, ...stopped }, () =>
      stopped.wasRunning ? `stopped the mesh in ${layout.root}` : 'nothing was running',
    );
    return exitCodes.done;
  },
};

async function detached({ output, layout }: Context, request: StartRequest): Promise<ExitCode> {
  const started = await startDetached(request);
  output.result(documentOf(layout.root, started), () => textOf(layout.root, started));
  return exitCodes.done;
}

async function attached({ output, layout }: Context, request: StartRequest): Promise<ExitCode> {
  const interruption = new AbortController();
  const interrupted = Promise.withResolvers<void>();
  const interrupt = (): void => {
    interruption.abort();
    interrupted.resolve();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  try {
    const { supervisor, ...started } = await startHere(request, interruption.signal);
    output.result(documentOf(layout.root, started), () => textOf(layout.root, started));
    output.progress('Ctrl-C stops it.');
    await interrupted.promise;
    output.progress('stopping');
    await supervisor.stop();
    return exitCodes.done;
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
}

function startRequest({ output, layout }: Context, options: Options): StartRequest {
  const port = textOption(options, 'port');
  const token = textOption(options, 'token');
  const name = textOption(options, 'name');
  const times = timesOf(options);
  const approvals = textOption(options, 'emergencyApprovals');
  const heartbeat = textOption(options, 'heartbeat');
  return {
    root: layout.root,
    ...(port === undefined
      ? {}
      : { port: parseWhole(port, { name: '--port', min: 0, max: 65_535 }) }),
    ...(token === undefined ? {} : { token: parseToken(token) }),
    ...(name === undefined ? {} : { name: parseName(name) }),
    ...(Object.keys(times).length === 0 ? {} : { times }),
    ...(approvals === undefined ? {} : { emergencyApprovals: parseApprovals(approvals) }),
    ...(heartbeat === undefined
      ? {}
      : { heartbeatMs: parseWhole(heartbeat, { name: '--heartbeat', ...heartbeatBounds }) }),
    ...(options['services'] === true ? { services: true } : {}),
    onProgress: (line) => output.progress(line),
  };
}

function timesOf(options: Options): Partial<RotationTimes> {
  const [soak, overlap] = [textOption(options, 'soak'), textOption(options, 'overlap')];
  const bounds = { min: 0, max: rotationTimeMsMax };
  return {
    ...(soak === undefined ? {} : { soakMs: parseWhole(soak, { name: '--soak', ...bounds }) }),
    ...(overlap === undefined
      ? {}
      : { overlapMs: parseWhole(overlap, { name: '--overlap', ...bounds }) }),
  };
}

/** The one who asks does not approve: more than the others can give would never come together. */
function parseApprovals(text: string): number {
  return parseWhole(text, { name: '--emergency-approvals', min: 0, max: operators.length - 1 });
}

function parseName(text: string): string {
  if (isMeshName(text)) return text;
  throw usageFault(
    `"${text.slice(0, 40)}" is not the name of a mesh`,
    'Up to 63 lower-case letters and digits in words joined by hyphens, a letter first.',
  );
}

function parseToken(text: string): TokenKind {
  const kind = tokenKinds.find((known) => known === text);
  if (kind !== undefined) return kind;
  throw usageFault(
    `there is no token kind "${text.slice(0, 40)}"`,
    'Kinds: softhsm (the default), file (not an HSM).',
  );
}

function documentOf(root: string, { mesh, created, supervisorPid }: Started) {
  return {
    dir: root,
    mesh: mesh.mesh,
    rootDigest: mesh.rootDigest,
    nats: natsAddress(mesh.port),
    token: mesh.token,
    isHsm: false,
    created,
    supervisorPid,
  };
}

function textOf(root: string, { mesh, created }: Started): string {
  const token = mesh.token === 'file' ? 'file token' : 'software token (SoftHSM2)';
  return [
    `the mesh ${mesh.mesh} in ${root} is ${created ? 'made and ' : ''}ready`,
    `  root digest  ${mesh.rootDigest}`,
    `  nats-server  ${natsAddress(mesh.port)}`,
    `  signer       ${token}: not an HSM`,
    `  next         gyre status --dir ${typed(root)}`,
  ].join('\n');
}
