/**
 * What an operator can do with negotiations: have two agents negotiate, and compute the result again.
 * What an orchestrator shows is folded here from the events that the agents signed; nothing of it is
 * taken on its word, and an audit is verified as a whole first.
 */
import { createReadStream } from 'node:fs';
import type { OrchCode } from '#schemas/errors.ts';
import type { NegotiationConstraints } from '#schemas/negotiation.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import type { AuditVerdict } from '#shared/core/audit-verdict.ts';
import { readExport } from '#shared/crypto/audit-export.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { NegotiationReplay } from '#shared/crypto/negotiation-replay.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { openTrust, type TrustView } from '#shared/crypto/trust.ts';
import { checks } from '../answers.ts';
import { verifyFile, verifyMesh } from '../audit/actions.ts';
import { CliFault, exitCodes } from '../fault.ts';
import { longPollMs, type OperatorSession } from '../operator-session.ts';
import { orchestrationFault } from '../orchestration-fault.ts';
import {
  eventResults,
  negotiationResult,
  type NegotiationEventResult,
  type NegotiationResult,
} from './result.ts';

export interface NegotiationWish {
  readonly client: string;
  readonly server: string;
  readonly constraints: NegotiationConstraints;
}

export interface Recomputation {
  readonly negotiationId: string;
  /** The audit holds, the operator's request is in it, and the agents came to an end that follows. */
  readonly ok: boolean;
  /** Why not. */
  readonly reason?: string;
  readonly negotiation?: NegotiationResult;
  readonly audit: AuditVerdict;
}

export type EventWatcher = (event: NegotiationEventResult) => void;

const idBytes = 8;

/** Has two agents negotiate and waits for the end. Faults with the code of a failure. */
export async function negotiate(
  session: OperatorSession,
  wish: NegotiationWish,
  watcher: EventWatcher,
): Promise<NegotiationResult> {
  const negotiationId = `neg-${toHex(session.crypto.randomBytes(idBytes))}`;
  try {
    return await negotiated(session, { negotiationId, ...wish }, watcher);
  } catch (error) {
    // Whoever asked has no other way to know which one it was.
    throw error instanceof CliFault ? error.of({ negotiationId }) : error;
  }
}

async function negotiated(
  session: OperatorSession,
  wish: NegotiationWish & { readonly negotiationId: string },
  watcher: EventWatcher,
): Promise<NegotiationResult> {
  const { negotiationId } = wish;
  await advised(() => session.request('negotiation-requested', wish));
  const seen = new Set<string>();
  for (;;) {
    const query = { ask: 'negotiation-show', negotiationId, waitMs: longPollMs } as const;
    const shown = await session.askOrchestrator(query, checks.negotiationShown);
    const { log } = replayOf(session.crypto, session.trust, negotiationId, shown.events);
    for (const event of eventResults(log)) {
      if (!seen.has(event.hash)) watcher(event);
      seen.add(event.hash);
    }
    const result = negotiationResult(log);
    if (result !== undefined && log.isOver) return ended(result);
    if (shown.isOver) throw unproven(negotiationId);
    if (performance.now() > session.deadlineMs) throw unfinished(negotiationId);
  }
}

/** Computes a negotiation again from an export: no mesh, no bus, no secret. */
export async function verifyInFile(
  file: string,
  rootDigest: string,
  negotiationId: string,
): Promise<Recomputation> {
  const audit = await verifyFile(file, rootDigest);
  if (!audit.integrity.ok) return unfounded(negotiationId, audit);
  const crypto = createNativeProvider();
  let replay: NegotiationReplay | undefined;
  for await (const reading of readExport(createReadStream(file))) {
    if ('fault' in reading) break;
    const { item } = reading;
    if (item.kind === 'header') {
      const opening = openTrust(crypto, { bundle: item.bundle, rootDigest });
      if (opening.status === 'ok') replay = replayOf(crypto, opening.trust, negotiationId);
    } else if (item.kind === 'record') {
      replay?.addRecord(item);
    }
  }
  return replay === undefined ? unfounded(negotiationId, audit) : recomputed(replay, audit);
}

/** The same from what the auditor answers now. */
export async function verifyInMesh(
  session: OperatorSession,
  { rootDigest, negotiationId }: { readonly rootDigest: string; readonly negotiationId: string },
  onProgress: (line: string) => void,
): Promise<Recomputation> {
  const replay = replayOf(session.crypto, session.trust.atGenesis(), negotiationId);
  const audit = await verifyMesh(session, rootDigest, onProgress, (record) =>
    replay.addRecord(record),
  );
  return recomputed(replay, audit);
}

function recomputed(replay: NegotiationReplay, audit: AuditVerdict): Recomputation {
  const { log } = replay;
  const { negotiationId } = log;
  const negotiation = negotiationResult(log);
  const reason = flawOf(replay, audit);
  return {
    negotiationId,
    ok: reason === undefined,
    ...(reason === undefined ? {} : { reason }),
    ...(negotiation === undefined ? {} : { negotiation }),
    audit,
  };
}

function flawOf(
  { log, unreadable, isRequestRecorded }: NegotiationReplay,
  audit: AuditVerdict,
): string | undefined {
  if (!audit.ok) return auditFlaw(audit);
  if (unreadable > 0) return `the audit does not disclose ${unreadable} of its events`;
  if (log.state === null) return 'the audit has no such negotiation';
  if (!isRequestRecorded) return 'the request of the operator is not in the audit';
  return log.isOver ? undefined : 'the negotiation has not ended in this audit';
}

/** The first of the three results that does not hold. */
function auditFlaw({ integrity, content, meaning }: AuditVerdict): string {
  const failure = [integrity, content, meaning].find(({ ok }) => !ok);
  const why = failure === undefined || failure.ok ? '' : ` (${failure.code}: ${failure.reason})`;
  return `the audit does not hold${why}`;
}

function unfounded(negotiationId: string, audit: AuditVerdict): Recomputation {
  return { negotiationId, ok: false, reason: auditFlaw(audit), audit };
}

function replayOf(
  crypto: CryptoProvider,
  trust: TrustView,
  negotiationId: string,
  events: Parameters<NegotiationReplay['add']>[0][] = [],
): NegotiationReplay {
  const subject = subjectsOf(trust.mesh).negotiation(negotiationId);
  const replay = new NegotiationReplay(crypto, { trust, negotiationId, subject });
  for (const event of events) replay.add(event);
  return replay;
}

function ended(result: NegotiationResult): NegotiationResult {
  const { failure, negotiationId } = result;
  if (failure === undefined) return result;
  throw negotiationFault(failure.code, `${negotiationId}: ${failure.reason}`);
}

async function advised(request: () => Promise<string>): Promise<void> {
  try {
    await request();
  } catch (error) {
    if (!(error instanceof CliFault) || !isAdvised(error.code)) throw error;
    const { code, reason, exitCode } = error;
    throw new CliFault({ code, reason, hint: hints[code], exitCode, cause: error });
  }
}

/** What to do where a negotiation is what failed. */
const hints = {
  'ORCH-8001': 'Compare what both offer (gyre capabilities), or ask with fewer constraints.',
  'ORCH-8002': 'Compare what both offer (gyre capabilities) with gyre policy show.',
  'ORCH-8003': 'Compare what both offer (gyre capabilities) with gyre registry show.',
  'ORCH-8007': 'Wait until other negotiations have ended, then ask again.',
  'ORCH-8012': 'See which agents there are, and what they offer: gyre capabilities.',
  'ORCH-8015': 'Wait until the lockout is over: gyre status says when.',
} as const satisfies Partial<Record<OrchCode, string>>;

function isAdvised(code: string): code is keyof typeof hints {
  return Object.hasOwn(hints, code);
}

function negotiationFault(code: OrchCode, reason: string): CliFault {
  const fault = orchestrationFault(code, reason);
  if (!isAdvised(code)) return fault;
  const { exitCode } = fault;
  return new CliFault({ code, reason: fault.reason, hint: hints[code], exitCode });
}

function unproven(negotiationId: string): CliFault {
  return new CliFault({
    code: 'NEGOTIATION_UNPROVEN',
    reason: `what the orchestrator shows of ${negotiationId} does not come to an end`,
    hint: `Compute it again from the audit: gyre negotiate verify ${negotiationId}.`,
  });
}

function unfinished(negotiationId: string): CliFault {
  return new CliFault({
    code: 'TIMEOUT',
    reason: `${negotiationId} has not ended yet`,
    hint: `An orchestrator ends it; see how: gyre negotiate verify ${negotiationId}.`,
    exitCode: exitCodes.unreachable,
  });
}
