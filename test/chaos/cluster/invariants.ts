/**
 * The reckoning, once nothing fails any more: every rotation at its end and told alike by both
 * orchestrators (2, 13), every slot on the key of the last rotation that committed (2, 4), the audit
 * whole and valid offline (5, 12), every event that a server acknowledged in it and none twice (15),
 * and one key made and kept for each command, no more (8).
 */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { checks, type RotationDetails, type RotationSummary } from '#cli/answers.ts';
import type { Exported } from '#cli/audit/actions.ts';
import type { OperatorSession } from '#cli/operator-session.ts';
import type { RotationPhase } from '#schemas/saga.ts';
import type { AuditVerdict } from '#shared/core/audit-verdict.ts';
import { readExport } from '#shared/crypto/audit-export.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { parseFrame, statementHashOf } from '#shared/crypto/envelope.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { gyreJson } from '../../support/gyre.ts';
import type { ClusterMesh } from './cluster.ts';
import type { Drive } from './drive.ts';
import { pause } from './nodes.ts';
import { storedEffects } from './effects.ts';

export interface Reckoning {
  /** What does not hold; empty where everything does. */
  readonly violations: readonly string[];
  readonly rotations: Readonly<Record<string, number>>;
  /** Events in the audit. */
  readonly events: number;
  /** Control events that a server acknowledged to a producer. */
  readonly acknowledged: number;
  /** Of those, the ones that are not in the audit. */
  readonly lost: number;
  /** Events that are in the audit twice, and keys that no command or more than one made. */
  readonly doubled: number;
}

interface Story {
  readonly details: RotationDetails;
  readonly hashes: string;
}

const slotCount = 14;
const patienceMs = 60_000;
const pollMs = 300;
const commandMs = 120_000;
/** An event is acknowledged by the bus a moment before the auditor has it. */
const intakeMs = 5_000;

/** Ends the agents: their stores can be read only then. */
export async function reckon(mesh: ClusterMesh, drive: Drive): Promise<Reckoning> {
  const violations: string[] = [];
  const summaries = await drive.settle();
  const stories = await storiesOf(drive, summaries, violations);
  violations.push(...commitsOf(stories));
  violations.push(...(await keysOf(drive, stories)));
  const audit = await auditOf(mesh, violations);
  violations.push(...phasesOf(audit.verdict, stories));
  await mesh.stopAgents();
  const effects = storedEffects(mesh, stories);
  violations.push(...effects.violations);
  return {
    violations,
    rotations: countBy(summaries.map(({ phase }) => phase)),
    events: audit.events,
    acknowledged: audit.acknowledged,
    lost: audit.lost,
    doubled: audit.repeated + effects.doubled,
  };
}

/** What both orchestrators tell of each rotation; they may need a moment to agree. */
async function storiesOf(
  drive: Drive,
  summaries: readonly RotationSummary[],
  violations: string[],
): Promise<RotationDetails[]> {
  const stories = new Map<string, RotationDetails>();
  const deadlineMs = performance.now() + patienceMs;
  for (;;) {
    const missing = summaries.map(({ planId }) => planId).filter((id) => !stories.has(id));
    if (missing.length === 0) break;
    if (performance.now() > deadlineMs) {
      violations.push(...missing.map((id) => `the orchestrators tell ${id} differently`));
      break;
    }
    await drive.persistently(() =>
      drive.as('op-1', async (op) => {
        for (const planId of missing) {
          const [first, second] = await bothOf(op, planId);
          if (first.hashes === second.hashes) stories.set(planId, first.details);
        }
      }),
    );
    await pause(pollMs);
  }
  return [...stories.values()];
}

async function bothOf(op: OperatorSession, planId: string): Promise<[Story, Story]> {
  const query = { ask: 'rotation-show', planId, waitMs: 0 } as const;
  const tell = async (agentId: string): Promise<Story> => {
    const details = await op.askAgent(agentId, query, checks.rotationDetails);
    return { details, hashes: details.timeline.map(({ hash }) => hash).join(' ') };
  };
  return Promise.all([tell('orchestrator-a'), tell('orchestrator-b')]);
}

/** One commit decision at the most, and none where it ended otherwise. */
export function commitsOf(
  stories: readonly Pick<RotationDetails, 'planId' | 'phase' | 'timeline' | 'state'>[],
): string[] {
  return stories.flatMap(({ planId, phase, timeline, state }) => {
    const commits = timeline.filter(({ event }) => event === 'commit-decided').length;
    const expected = phase === 'retired' ? 1 : 0;
    if (commits === expected && (state.decision === 'commit') === (expected === 1)) return [];
    return [`${planId} is ${phase} with ${commits} commit decisions`];
  });
}

/** Every slot has the key of the last rotation that committed it, and all of a rotation's slots do. */
async function keysOf(drive: Drive, stories: readonly RotationDetails[]): Promise<string[]> {
  const expected = lastCommitted(stories);
  const deadlineMs = performance.now() + patienceMs;
  for (;;) {
    const { layers } = await drive.persistently(() =>
      drive.as('op-1', (op) => op.askOrchestrator({ ask: 'keys-list' }, checks.keysList)),
    );
    const slots = layers.flatMap((layer) => layer.slots);
    const wrong = slots.flatMap(({ slot, keyId, version, frozen, reservedBy }) => {
      const wanted = expected.get(slot);
      if (frozen) return [`${slot} is frozen`];
      if (reservedBy !== undefined) return [`${slot} is still held by ${reservedBy}`];
      const holds = wanted === undefined ? version === 1 : keyId === wanted;
      return holds ? [] : [`${slot} is on version ${version}, which no commit put there`];
    });
    if (slots.length === slotCount && wrong.length === 0) return [];
    if (performance.now() > deadlineMs) return [...wrong, `${slots.length} slots answer`];
    await pause(pollMs);
  }
}

/** Key id by slot. */
export function lastCommitted(stories: readonly RotationDetails[]): Map<string, string> {
  const committed = stories.filter(({ state }) => state.decision === 'commit');
  const inOrder = committed.toSorted(
    (left, right) => (left.state.decidedAtMs ?? 0) - (right.state.decidedAtMs ?? 0),
  );
  return new Map(
    inOrder.flatMap(({ state }) =>
      state.slots.flatMap(({ slot, candidate }) =>
        candidate === null ? [] : [[slot, candidate.keyId] as const],
      ),
    ),
  );
}

/** As the command line prints it. */
interface PrintedVerdict extends Omit<AuditVerdict, 'rotations'> {
  readonly rotations: readonly { readonly planId: string; readonly phase: RotationPhase }[];
}

interface Audited {
  readonly verdict: PrintedVerdict;
  readonly events: number;
  readonly acknowledged: number;
  readonly lost: number;
  readonly repeated: number;
}

/** Exported and verified by the command line; compared with what passed the proxies. */
async function auditOf(mesh: ClusterMesh, violations: string[]): Promise<Audited> {
  const acknowledged = [...mesh.ledger.acknowledged.values()].filter(
    ({ stream }) => stream === 'GYRE_CONTROL',
  );
  await pause(intakeMs);
  const file = join(mesh.folder, 'audit.gyre');
  const dir = ['--dir', mesh.layout.root];
  await command<Exported>(['audit', 'export', '--out', file, ...dir]);
  const { rootDigest } = mesh.mesh;
  const verdict = await command<PrintedVerdict>(['audit', 'verify', file, '--root', rootDigest]);
  for (const name of ['integrity', 'content', 'meaning'] as const) {
    const result = verdict[name];
    if (!result.ok) violations.push(`audit: ${name}: ${result.code}: ${result.reason}`);
  }
  if (verdict.uncovered > 0) violations.push(`audit: ${verdict.uncovered} records are uncovered`);
  const { names, repeated } = await namesIn(file);
  const lost = acknowledged.filter(({ messageId }) => !names.has(messageId));
  violations.push(
    ...lost.map(
      ({ producer, subject, messageId, sequence }) =>
        `lost: ${messageId.slice(0, 16)}… of ${producer} on ${subject}, stored as ${sequence}`,
    ),
  );
  if (repeated > 0) violations.push(`audit: ${repeated} events are there twice`);
  const counts = { events: names.size, acknowledged: acknowledged.length };
  return { verdict, ...counts, lost: lost.length, repeated };
}

async function command<Shape>(args: readonly string[]): Promise<Shape> {
  const run = await gyreJson<Shape>(args, { timeoutMs: commandMs });
  // A verification that fails says so with 1, and in its document.
  if (run.code <= 1) return run.document;
  throw new Error(`gyre ${args.join(' ')}: ${run.code}: ${run.stdout}`);
}

async function namesIn(file: string): Promise<{ names: Set<string>; repeated: number }> {
  const crypto = createNativeProvider();
  const names = new Set<string>();
  let repeated = 0;
  for await (const reading of readExport(createReadStream(file))) {
    if (!('item' in reading) || reading.item.kind !== 'record') continue;
    const parsed = parseFrame(reading.item.frame);
    if (!parsed.ok) throw new Error(`the audit holds what is no frame: ${parsed.code}`);
    const name = toHex(statementHashOf(crypto, parsed.frame));
    if (names.has(name)) repeated += 1;
    names.add(name);
  }
  return { names, repeated };
}

/** A verifier without the mesh comes to the same ends as those who ran it. */
function phasesOf(verdict: PrintedVerdict, stories: readonly RotationDetails[]): string[] {
  const told = new Map<string, RotationPhase>(stories.map((story) => [story.planId, story.phase]));
  return verdict.rotations.flatMap(({ planId, phase }) => {
    const wanted = told.get(planId);
    return wanted === phase
      ? []
      : [`${planId}: the audit says ${phase}, the mesh ${wanted ?? 'nothing'}`];
  });
}

function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names.toSorted()) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
