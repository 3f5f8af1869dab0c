/**
 * Where the time of a rotation goes, read from the audit: the saga's entries are folded again by
 * `stepRotation`, so that each moment has the phase in which it passed, and every step is taken apart
 * into its parts. All times are those that the agents wrote; they share one machine and one clock.
 */
import type { StepCommanded, StepReported } from '#schemas/steps.ts';
import { eventTypes } from '#schemas/events.ts';
import type { RotationPhase, SagaEntry } from '#schemas/saga.ts';
import type { AuditRecord } from '#schemas/queries.ts';
import type { PolicyBody } from '#schemas/policy.ts';
import { beginRotation } from '#shared/core/rotation/begin.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import { stepRotation } from '#shared/core/rotation/step.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { decodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { parseFrame, statementHashOf } from '#shared/crypto/envelope.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { documentDigest } from '#shared/crypto/signed-document.ts';
import type { AddressedTimes } from './timeline-parts.ts';

/** From the entry that recorded the request to the entry that decided. */
export interface RotationTimes {
  readonly planId: string;
  readonly totalMs: number;
  /** Milliseconds spent in each phase on the way to the commit. */
  readonly phases: ReadonlyMap<RotationPhase, number>;
  /** Entries from the request to the commit: each one is held twice before anything follows it. */
  readonly entries: number;
  readonly steps: readonly AddressedTimes[];
}

interface Moment {
  readonly hash: string;
  readonly timeMs: number;
}

interface Events {
  readonly entries: (Moment & { readonly body: Extract<SagaEntry, { saga: 'rotation' }> })[];
  readonly commands: (Moment & { readonly body: StepCommanded })[];
  readonly reports: Map<string, Moment & { readonly body: StepReported }>;
}

/** Every rotation in the records that was committed. */
export function rotationTimes(
  crypto: CryptoProvider,
  records: Iterable<AuditRecord>,
  policy: PolicyBody,
): RotationTimes[] {
  const sagas = new Map<string, Events>();
  for (const record of records) collect(crypto, record, sagas);
  return [...sagas].flatMap(
    ([planId, events]) => timesOf(crypto, { planId, events, policy }) ?? [],
  );
}

function collect(crypto: CryptoProvider, record: AuditRecord, sagas: Map<string, Events>): void {
  const parsed = parseFrame(record.frame);
  if (!parsed.ok || record.verdict !== 'accepted' || record.body === undefined) return;
  const decoded = decodeCanonical(record.body, { floats: true });
  if (!decoded.ok) return;
  const { type, timeMs } = parsed.frame.header;
  const moment = { hash: toHex(statementHashOf(crypto, parsed.frame)), timeMs };
  const body: unknown = decoded.value;
  const eventsOf = (sagaId: string): Events => {
    const events = sagas.get(sagaId) ?? { entries: [], commands: [], reports: new Map() };
    sagas.set(sagaId, events);
    return events;
  };
  if (type === 'saga-entry' && eventTypes[type].body.check(body) && body.saga === 'rotation') {
    eventsOf(body.sagaId).entries.push({ ...moment, body });
  } else if (type === 'step-commanded' && eventTypes[type].body.check(body)) {
    eventsOf(body.sagaId).commands.push({ ...moment, body });
  } else if (type === 'step-reported' && eventTypes[type].body.check(body)) {
    eventsOf(body.sagaId).reports.set(moment.hash, { ...moment, body });
  }
}

function timesOf(
  crypto: CryptoProvider,
  input: { planId: string; events: Events; policy: PolicyBody },
): RotationTimes | undefined {
  const { planId, events, policy } = input;
  const { entries } = events;
  const from = entries.findIndex(({ body }) => body.event.type === 'execution-requested');
  const to = entries.findIndex(({ body }) => body.event.type === 'commit-decided');
  if (from < 0 || to < from) return undefined;
  const phases = new Map<RotationPhase, number>();
  let state: RotationState | undefined;
  for (const [index, { body, hash }] of entries.slice(0, to).entries()) {
    state = folded(crypto, { state, entry: body, hash, policy });
    const next = entries[index + 1];
    if (state === undefined || next === undefined) return undefined;
    if (index < from) continue;
    const spentMs = next.body.event.atMs - body.event.atMs;
    phases.set(state.phase, (phases.get(state.phase) ?? 0) + spentMs);
  }
  const [first, last] = [entries[from], entries[to]];
  if (first === undefined || last === undefined) return undefined;
  return {
    planId,
    totalMs: last.body.event.atMs - first.body.event.atMs,
    phases,
    entries: to - from + 1,
    steps: stepsOf(events, to),
  };
}

function folded(
  crypto: CryptoProvider,
  input: {
    readonly state: RotationState | undefined;
    readonly entry: Extract<SagaEntry, { saga: 'rotation' }>;
    readonly hash: string;
    readonly policy: PolicyBody;
  },
): RotationState | undefined {
  const { state, entry, hash, policy } = input;
  const { sagaId, index, consumed, event } = entry;
  if (state === undefined) {
    if (event.type !== 'plan-drafted') return undefined;
    const planDigest = documentDigest(crypto, event.plan.body);
    return beginRotation({ sagaId, planDigest, entryHash: hash }, { index: 0, consumed, event });
  }
  const step = stepRotation(state, { index, consumed, event }, policy);
  return 'rejected' in step ? undefined : step.state;
}

/** Each step whose report was consumed by an entry up to the commit. */
function stepsOf({ entries, commands, reports }: Events, to: number): AddressedTimes[] {
  return entries.slice(0, to + 1).flatMap((taken) => {
    if (taken.body.event.type !== 'reports-received') return [];
    return taken.body.consumed.flatMap((hash) => {
      const report = reports.get(hash);
      if (report === undefined) return [];
      const { commandId, sagaIndex, operation, durationMs } = report.body;
      const command = commands.find(({ body }) => body.commandId === commandId);
      const cause = entries.find(({ body }) => body.index === sagaIndex);
      if (command === undefined || cause === undefined) return [];
      return {
        operation,
        heldMs: command.timeMs - cause.body.event.atMs,
        deliveryMs: Math.max(0, report.timeMs - durationMs - command.timeMs),
        effectMs: durationMs,
        returnMs: taken.body.event.atMs - report.timeMs,
      };
    });
  });
}
