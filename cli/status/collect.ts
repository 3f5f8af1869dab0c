/**
 * How a mesh is: its processes as this machine sees them, and what orchestrator, signer and auditor
 * answer. An agent that does not answer is part of the status, not a reason to say nothing.
 */
import type { AuditHead, LockoutsShown, SignerDescription } from '#schemas/queries.ts';
import type { KeyCustody } from '#agents/layers/service/service.ts';
import { checks, type MeshStatus } from '../answers.ts';
import { CliFault } from '../fault.ts';
import type { LoggedFault } from '../mesh/agent-log.ts';
import type { MeshLayout } from '../mesh/layout.ts';
import type { MeshFile } from '../mesh/mesh-file.ts';
import { isRunning, isSuspended } from '../mesh/process-identity.ts';
import { readProcesses, runningSupervisor } from '../mesh/supervisor-record.ts';
import type { OperatorSession } from '../operator-session.ts';
import type { Answered } from './answered.ts';
import { networkAddress, type NetworkAddress } from './network-address.ts';
import { rootKeyStatus } from './root-key.ts';

export interface ProcessStatus {
  readonly id: string;
  readonly pid: number | null;
  readonly alive: boolean;
  /** Stopped by a signal: it is there and does nothing. */
  readonly suspended: boolean;
  readonly ready: boolean;
  readonly restarts: number;
  /** When it was started, became ready or ended, whichever came last. */
  readonly sinceMs?: number;
  /** Why its last run ended, where it has not become ready since. */
  readonly fault?: LoggedFault;
}

/** Who offered a bad document, and until when nothing new is taken from it. */
export interface LockoutStatus {
  readonly sender: string;
  readonly code: string;
  /** The latest of what those say who answer. */
  readonly untilMs: number;
  readonly by: readonly string[];
}

export type OrchestratorStatus = { readonly agentId: string } & (
  { readonly ok: true } | { readonly ok: false; readonly code: string; readonly reason: string }
);

export interface Status {
  readonly dir: string;
  readonly rootDigest: string;
  readonly supervisorPid: number | null;
  readonly processes: readonly ProcessStatus[];
  /** Each of them was asked; empty where nobody could be. */
  readonly orchestrators: readonly OrchestratorStatus[];
  /** As those who answer have them, by sender: each agent locks out by itself. */
  readonly lockouts: readonly LockoutStatus[];
  /** As the first orchestrator that answers has it. */
  readonly mesh: Answered<MeshStatus>;
  readonly signer: Answered<SignerDescription>;
  readonly audit: Answered<AuditHead>;
  /** Of meshes whose layers are services: where layer 4 has its root KEK. */
  readonly rootKey?: Answered<KeyCustody>;
  /** Where clients reach layer 3; absent where it serves none. */
  readonly network?: NetworkAddress;
}

const notEnrolled = {
  ok: false,
  code: 'NOT_ENROLLED',
  reason: 'no orchestrator is enrolled in this mesh',
} as const;

export async function collectStatus(
  session: OperatorSession,
  layout: MeshLayout,
  { rootDigest, services }: MeshFile,
): Promise<Status> {
  const { orchestrators: ids } = session;
  const [meshes, signer, audit, processes, supervisor, rootKey] = await Promise.all([
    Promise.all(
      ids.map((id) => answered(session.askAgent(id, { ask: 'mesh-status' }, checks.meshStatus))),
    ),
    answered(
      session.askAgent(
        session.agentOf('signer'),
        { ask: 'signer-describe' },
        checks.signerDescription,
      ),
    ),
    answered(session.askAgent(session.agentOf('auditor'), { ask: 'audit-head' }, checks.auditHead)),
    processStatus(layout),
    runningSupervisor(layout),
    services === true ? rootKeyStatus(layout) : undefined,
  ]);
  return {
    dir: layout.root,
    rootDigest,
    supervisorPid: supervisor?.pid ?? null,
    processes,
    orchestrators: ids.map((agentId, index) => {
      const answer = meshes[index] ?? notEnrolled;
      return answer.ok ? { agentId, ok: true } : { agentId, ...answer };
    }),
    lockouts: lockoutsOf(meshes, [
      { by: session.agentOf('signer'), answer: signer },
      { by: session.agentOf('auditor'), answer: audit },
    ]),
    mesh: meshes.find(({ ok }) => ok) ?? meshes[0] ?? notEnrolled,
    signer,
    audit,
    ...(rootKey === undefined ? {} : { rootKey }),
    ...networkOf(layout, services),
  };
}

function networkOf(layout: MeshLayout, services = false): Pick<Status, 'network'> {
  const network = networkAddress(layout, services);
  return network === undefined ? {} : { network };
}

/** The status of a mesh whose processes are there and whose bus is not: nobody can be asked. */
export async function silentStatus(
  layout: MeshLayout,
  { rootDigest, services }: MeshFile,
  { code, reason }: { readonly code: string; readonly reason: string },
): Promise<Status> {
  const [processes, supervisor, rootKey] = await Promise.all([
    processStatus(layout),
    runningSupervisor(layout),
    services === true ? rootKeyStatus(layout) : undefined,
  ]);
  const none = { ok: false, code, reason } as const;
  const supervisorPid = supervisor?.pid ?? null;
  const [mesh, signer, audit] = [none, none, none];
  const [orchestrators, lockouts] = [[], []] as const;
  return {
    dir: layout.root,
    rootDigest,
    supervisorPid,
    processes,
    orchestrators,
    lockouts,
    mesh,
    signer,
    audit,
    ...(rootKey === undefined ? {} : { rootKey }),
    ...networkOf(layout, services),
  };
}

interface Keeper {
  readonly by: string;
  readonly answer: Answered<{ readonly lockouts?: LockoutsShown }>;
}

/** Of layer agents as the first orchestrator that reached them tells. */
export function lockoutsOf(
  meshes: readonly Answered<MeshStatus>[],
  others: readonly Keeper[],
): LockoutStatus[] {
  const found = new Map<string, LockoutStatus>();
  const note = (by: string, lockouts: MeshStatus['lockouts']): void => {
    for (const { sender, code, untilMs } of lockouts) {
      const known = found.get(sender);
      const knowers = known?.by ?? [];
      found.set(sender, {
        sender,
        code: known?.code ?? code,
        untilMs: Math.max(untilMs, known?.untilMs ?? 0),
        by: knowers.includes(by) ? knowers : [...knowers, by],
      });
    }
  };
  const answers = meshes.flatMap((answer) => (answer.ok ? [answer.value] : []));
  for (const { orchestrator, lockouts } of answers) note(orchestrator, lockouts);
  for (const { by, answer } of others) if (answer.ok) note(by, answer.value.lockouts ?? []);
  for (const { layers } of answers) {
    for (const { agentId, lockouts } of layers) note(agentId, lockouts ?? []);
  }
  return [...found.values()].toSorted((one, other) => (one.sender < other.sender ? -1 : 1));
}

/** Whether anybody answers. */
export function isAnswering({ mesh, signer, audit }: Status): boolean {
  return mesh.ok || signer.ok || audit.ok;
}

/** Whether everything runs and answers; an agent that was revoked does neither, and need not. */
export function isHealthy({ processes, orchestrators, mesh, signer, audit }: Status): boolean {
  return (
    processes.every(({ alive, ready }) => alive && ready) &&
    orchestrators.every(({ ok }) => ok) &&
    mesh.ok &&
    mesh.value.layers.every(
      ({ agentId, ready }) => ready || mesh.value.revoked.includes(agentId),
    ) &&
    signer.ok &&
    signer.value.canaryOk &&
    audit.ok &&
    audit.value.trouble === undefined
  );
}

async function processStatus(layout: MeshLayout): Promise<ProcessStatus[]> {
  const records = await readProcesses(layout);
  return records.map(({ id, pid, mark, ready: saidReady, restarts, sinceMs, fault }) => {
    const alive = pid !== null && mark !== null && isRunning({ pid, mark });
    const suspended = alive && isSuspended(pid);
    const ready = alive && saidReady && !suspended;
    return {
      id,
      pid,
      alive,
      suspended,
      ready,
      restarts,
      ...(sinceMs === undefined ? {} : { sinceMs }),
      ...(fault === undefined ? {} : { fault }),
    };
  });
}

async function answered<Value>(answer: Promise<Value>): Promise<Answered<Value>> {
  try {
    return { ok: true, value: await answer };
  } catch (error) {
    if (!(error instanceof CliFault)) throw error;
    return { ok: false, code: error.code, reason: error.reason };
  }
}
