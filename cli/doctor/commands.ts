/** `gyre doctor`: every check, its verdict, and what to do. */
import type { CommandSpec } from '../command.ts';
import { inSession, type Context } from '../context.ts';
import { exitCodes } from '../fault.ts';
import { findMesh, outdated, type MeshFile } from '../mesh/mesh-file.ts';
import { runningSupervisor } from '../mesh/supervisor-record.ts';
import { toolEnvironment } from '../mesh/tools.ts';
import { collectStatus, isHealthy, type Status } from '../status/collect.ts';
import { table, typed, type Style } from '../style.ts';
import { translateFault } from '../translate-fault.ts';
import {
  checkDisk,
  checkNatsServer,
  checkNode,
  checkPermissions,
  checkPkcs11Binding,
  checkPort,
  checkSoftHsm,
  type Finding,
  type Verdict,
} from './checks.ts';
import { checkTrust } from './trust-check.ts';

export const doctorCommand: CommandSpec = {
  name: 'doctor',
  summary: 'check this machine and the mesh, and say what to do about what is wrong',
  details: 'Ends with 0 when no check fails, 1 when one does. Nothing is changed.',
  examples: ['gyre doctor', 'gyre doctor --dir ./mesh --json'],
  run: async (context) => {
    const findings = [...(await checkMachine(context)), ...(await checkMesh(context))];
    const healthy = findings.every(({ verdict }) => verdict !== 'fail');
    context.output.result({ healthy, checks: findings }, (style) =>
      renderFindings(findings, style),
    );
    return healthy ? exitCodes.done : exitCodes.failed;
  },
};

export function renderFindings(findings: readonly Finding[], style: Style): string {
  const paint: Readonly<Record<Verdict, (text: string) => string>> = {
    ok: style.good,
    warn: style.warning,
    fail: style.failed,
  };
  const rows = findings.flatMap(({ check, verdict, found, hint }) => [
    [paint[verdict](verdict), check, found],
    ...(hint === undefined ? [] : [['', '', style.dim(hint)]]),
  ]);
  return table(rows);
}

async function checkMachine({ layout }: Context): Promise<Finding[]> {
  const environment = await toolEnvironment();
  const [natsServer, binding, disk] = await Promise.all([
    checkNatsServer(environment),
    checkPkcs11Binding(),
    checkDisk(layout.root),
  ]);
  return [checkNode(process.versions), natsServer, binding, checkSoftHsm(environment), disk];
}

async function checkMesh(context: Context): Promise<Finding[]> {
  const { layout } = context;
  const mesh = await findMesh(layout.root);
  if (mesh === null) {
    const found = `no mesh in ${layout.root}`;
    return [
      {
        check: 'mesh',
        verdict: 'ok',
        found,
        hint: `Make one: gyre up --dir ${typed(layout.root)}`,
      },
    ];
  }
  return [
    await checkPermissions(layout.root),
    await checkTrust(layout, mesh),
    await checkPort(layout, mesh),
    await checkHealth(context, mesh),
  ];
}

async function checkHealth(context: Context, mesh: MeshFile): Promise<Finding> {
  const { layout } = context;
  if ((await runningSupervisor(layout)) === null) {
    const old = outdated(mesh, layout.root);
    if (old !== undefined) {
      return { check: 'mesh', verdict: 'fail', found: old.reason, hint: old.hint };
    }
    const hint = `Start it: gyre up --detach --dir ${typed(layout.root)}`;
    return { check: 'mesh', verdict: 'ok', found: 'not running', hint };
  }
  try {
    const status = await inSession(context, (session) => collectStatus(session, layout, mesh));
    return healthOf(status);
  } catch (error) {
    // Whatever is wrong with the mesh is a finding, and the other findings are shown beside it.
    const { code, reason, hint } = translateFault(error);
    return { check: 'mesh', verdict: 'fail', found: `${code}: ${reason}`, hint };
  }
}

function healthOf(status: Status): Finding {
  const notice = status.signer.ok ? status.signer.value.notice : 'the signer does not answer';
  if (isHealthy(status)) {
    const found = `${status.processes.length} processes ready; ${notice}`;
    return { check: 'mesh', verdict: 'ok', found };
  }
  const down = status.processes.filter(({ alive, ready }) => !alive || !ready).map(({ id }) => id);
  const found = down.length > 0 ? `not ready: ${down.join(', ')}` : `not healthy; ${notice}`;
  return {
    check: 'mesh',
    verdict: 'fail',
    found,
    hint: `See gyre status --dir ${typed(status.dir)}`,
  };
}
