/**
 * Coordinated rotations of seven layers on a real mesh: processes, nats-server with every write
 * synced, SoftHSM2. Timed from the operator's call to execute an approved plan until that operator
 * has seen the commit decision and checked the signer's statement; plan, dry run and approval come
 * before. Soak is zero, and the overlap is longer than the run, so that no retirement falls into it.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { layerNumbers } from '#schemas/layers.ts';
import { AuditRecords, type AuditRecord } from '#schemas/queries.ts';
import { List, compile } from '#schemas/primitives.ts';
import { Disclosure } from '#schemas/frame.ts';
import type { RotationPlan } from '#schemas/plan.ts';
import { rotationPhases } from '#schemas/saga.ts';
import { invariant } from '#shared/crypto/errors.ts';
import { bootAgent } from '#shared/runtime/boot.ts';
import { OperatorSession } from '#cli/operator-session.ts';
import { layoutOf, type MeshLayout } from '#cli/mesh/layout.ts';
import { agents } from '#cli/mesh/members.ts';
import type { MeshFile, TokenKind } from '#cli/mesh/mesh-file.ts';
import { startHere } from '#cli/mesh/start.ts';
import { readProcesses } from '#cli/mesh/supervisor-record.ts';
import { approveRotation, executeRotation, planRotation } from '#cli/rotation/actions.ts';
import { measure, summarise, type Summary } from './measure.ts';
import { processorMs, type ProcessGroups } from './processor-time.ts';
import type { Row } from './report.ts';
import { rotationTimes, type RotationTimes } from './timeline.ts';
import { partSummaries, stepParts } from './timeline-parts.ts';

/** Accepted key versions of a slot are bounded by 64; two runs warm up. */
export const rotationRunsMax = 50;
const warmupRuns = 2;
const overlapMs = 3_600_000;
const commandTimeoutMs = 60_000;
const budgetMs = 240_000;
const signedStatementRuns = 50;
const signTimeoutMs = 8_000;

const recordsCheck = compile(AuditRecords);
const disclosuresCheck = compile(List(Disclosure, { itemsMax: 64 }));

export interface RotationBench {
  readonly runs: number;
  readonly token: TokenKind;
  /** Meshes are made below it; its disk is the one that is measured. */
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly onProgress: (line: string) => void;
}

interface Bench extends RotationBench {
  readonly layout: MeshLayout;
  readonly mesh: MeshFile;
}

/** Leaves no process and no folder behind, whatever happens. */
export async function rotationRows(options: RotationBench): Promise<Row[]> {
  mkdirSync(options.folder, { recursive: true });
  const root = join(mkdtempSync(join(options.folder, 'bench-')), 'mesh');
  const { token, signal, onProgress } = options;
  const removeRoot = (): void => rmSync(join(root, '..'), { recursive: true, force: true });
  try {
    const request = { root, port: 0, token, times: { soakMs: 0, overlapMs }, onProgress };
    const { mesh, supervisor } = await startHere(request, signal);
    try {
      return await measured({ ...options, layout: layoutOf(root), mesh });
    } finally {
      await supervisor.stop();
    }
  } finally {
    removeRoot();
  }
}

async function measured(bench: Bench): Promise<Row[]> {
  const requester = await openSession(bench, 'op-1');
  const approver = await openSession(bench, 'op-2');
  try {
    const executed: Execution[] = [];
    const groups = await processGroups(bench.layout);
    let plan: RotationPlan | undefined;
    const deadlineMs = performance.now() + budgetMs;
    for (let run = 0; run < bench.runs + warmupRuns; run += 1) {
      if (bench.signal.aborted) throw bench.signal.reason;
      if (run > warmupRuns && performance.now() > deadlineMs) break;
      const execution = await rotateOnce({ requester, approver, groups });
      plan = execution.plan;
      if (run >= warmupRuns) executed.push(execution);
      bench.onProgress(`rotation ${run + 1}: ${execution.wallMs.toFixed(0)} ms`);
    }
    invariant(plan !== undefined, 'at least one rotation ran');
    const signing = await signingSummary(bench, requester, plan);
    const records = await readRecords(requester);
    const timed = new Set(executed.map(({ planId }) => planId));
    const times = rotationTimes(requester.crypto, records, requester.trust.policy).filter(
      ({ planId }) => timed.has(planId),
    );
    return [...rowsOf(executed, times), ...processorRows(executed), signingRow(signing)];
  } finally {
    await approver.close();
    await requester.close();
  }
}

function openSession({ layout, mesh }: Bench, operatorId: string): Promise<OperatorSession> {
  const timeoutMs = budgetMs + commandTimeoutMs;
  return OperatorSession.open({ layout, mesh, operatorId, timeoutMs });
}

interface Execution {
  readonly planId: string;
  readonly plan: RotationPlan;
  readonly wallMs: number;
  /** Processor time by group of processes; this one and the token's are not among them. */
  readonly computedMs: ReadonlyMap<string, number>;
}

/** Plan and approval, then the timed part. */
async function rotateOnce({
  requester,
  approver,
  groups,
}: {
  readonly requester: OperatorSession;
  readonly approver: OperatorSession;
  readonly groups: ProcessGroups;
}): Promise<Execution> {
  const request = { layers: layerNumbers, rotationType: 'scheduled', reason: 'benchmark' } as const;
  const { planId, plan } = await planRotation(requester, request);
  await approveRotation(approver, planId);
  const computedBefore = processorMs(groups);
  const startMs = performance.now();
  const { state } = await executeRotation(requester, planId, () => undefined);
  const wallMs = performance.now() - startMs;
  const computedAfter = processorMs(groups);
  invariant(state.decision === 'commit', 'the rotation is committed');
  const computedMs = new Map(
    [...(computedAfter ?? [])].map(([name, ms]) => [name, ms - (computedBefore?.get(name) ?? 0)]),
  );
  return { planId, plan, wallMs, computedMs };
}

async function processGroups(layout: MeshLayout): Promise<ProcessGroups> {
  const groups = new Map<string, number[]>();
  for (const { id, pid } of await readProcesses(layout)) {
    if (pid === null) continue;
    const kind = agents.find((agent) => agent.id === id)?.kind ?? id;
    const name = kind === 'layer' || kind === 'orchestrator' ? `${kind} agents` : kind;
    groups.set(name, [...(groups.get(name) ?? []), pid]);
  }
  return groups;
}

/** A plan stated again, asked of the signer over the bus as an orchestrator asks. */
async function signingSummary(
  { layout }: Bench,
  requester: OperatorSession,
  plan: RotationPlan,
): Promise<Summary> {
  const auditor = requester.agentOf('auditor');
  const evidence = await requester.askAgent(
    auditor,
    { ask: 'audit-disclosures', events: [plan.body.request] },
    disclosuresCheck,
  );
  const config = layout.configFile({ id: 'orchestrator-a', kind: 'orchestrator' });
  const { exchange, bus, signingKey, epochs } = await bootAgent(config);
  try {
    await epochs.start();
    await epochs.ready();
    const to = { agentId: requester.agentOf('signer'), channel: 'saga' };
    const query = { ask: 'sign-statement', statement: plan.body, evidence } as const;
    const signOnce = async (): Promise<void> => {
      const answer = await exchange.ask(to, query, signTimeoutMs);
      if (!answer.ok) throw new Error(`the signer refused: ${answer.code} ${answer.reason}`);
    };
    return await measure(signOnce, { runs: signedStatementRuns, warmupRuns: 3, budgetMs: 30_000 });
  } finally {
    await epochs.stop();
    await bus.close();
    signingKey.wipe();
  }
}

async function readRecords(session: OperatorSession): Promise<AuditRecord[]> {
  const auditor = session.agentOf('auditor');
  const records: AuditRecord[] = [];
  for (;;) {
    const query = { ask: 'audit-records', from: records.length, recordsMax: 256 } as const;
    const page = await session.askAgent(auditor, query, recordsCheck);
    records.push(...page.records);
    if (page.records.length === 0 || records.length >= page.treeSize) return records;
  }
}

function rowsOf(executed: readonly Execution[], times: readonly RotationTimes[]): Row[] {
  const group = 'rotation of seven layers, 14 slots';
  const wall = summarise(executed.map(({ wallMs }) => wallMs));
  const rows: Row[] = [
    {
      group,
      name: 'execute → committed',
      summary: wall,
      note: 'operator’s call to checked commit',
    },
  ];
  if (times.length === 0) return rows;
  const logged = summarise(times.map(({ totalMs }) => totalMs));
  const entries = summarise(times.map((each) => each.entries)).medianMs;
  const note = `by the log; ${entries} entries, each held twice`;
  rows.push({ group, name: 'request → commit entry', summary: logged, note });
  for (const phase of rotationPhases) {
    const spent = times.flatMap(({ phases }) => phases.get(phase) ?? []);
    if (spent.length === 0) continue;
    rows.push({ group, name: `  in phase ${phase}`, summary: summarise(spent) });
  }
  const steps = times.flatMap((each) => each.steps);
  const parts = partSummaries(steps, ['activate', 'verify']);
  for (const part of parts === undefined ? [] : stepParts) {
    const summary = parts?.[part];
    if (summary === undefined) continue;
    rows.push({ group, name: `  per step: ${partNames[part]}`, summary });
  }
  return rows;
}

/** What was computed during the timed part, all processes together and by kind. */
function processorRows(executed: readonly Execution[]): Row[] {
  const group = 'processor time of one rotation';
  const names = [...(executed[0]?.computedMs.keys() ?? [])];
  if (names.length === 0) return [];
  const total = executed.map(({ computedMs }) =>
    [...computedMs.values()].reduce((sum, each) => sum + each, 0),
  );
  const row = (name: string, samples: readonly number[]): Row => ({
    group,
    name,
    summary: summarise(samples),
  });
  return [
    { ...row('all processes of the mesh', total), note: 'of all cores together, in 10 ms steps' },
    ...names.map((name) =>
      row(
        `  ${name}`,
        executed.map(({ computedMs }) => computedMs.get(name) ?? 0),
      ),
    ),
  ];
}

const partNames = {
  heldMs: 'entry → command (held twice)',
  deliveryMs: 'command → effect',
  effectMs: 'effect, by the agent',
  returnMs: 'report → next entry',
} as const;

function signingRow(summary: Summary): Row {
  const group = 'signer, through the bus';
  return { group, name: 'one plan stated', summary, note: 'checks, token, record in the outbox' };
}
