/**
 * One layer agent's credentials in the wrong hands, on a real nats-server. The server keeps them to
 * the agent's own subjects, consumers and inbox; what they may publish there is refused with its own
 * code when it is forged, replayed, expired or meant for another, is counted, and changes nothing
 * (invariant 12). A rotation that runs meanwhile goes on to its commit.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checks } from '#cli/answers.ts';
import type { StepCommanded, StepReported } from '#schemas/steps.ts';
import {
  durableName,
  followConsumerName,
  inboxPrefix,
  jetstreamSubjects as api,
} from '#shared/bus/subjects.ts';
import { Administrator } from '../administrator.ts';
import { Thief } from '../thief.ts';
import { drive } from './mesh.ts';
import { hangMs, until } from '../../support/patience.ts';

/** Of the layer that is activated last. */
const victim = 'self-healing-a';
const strayAnswers = 5;

let administrator: Administrator;
let thief: Thief;

/** What each orchestrator refused so far, by code. */
function refusals(): Promise<Record<string, number>[]> {
  return drive.as('op-1', (op) =>
    Promise.all(
      ['orchestrator-a', 'orchestrator-b'].map(async (agentId) => {
        const status = await op.askAgent(agentId, { ask: 'mesh-status' }, checks.meshStatus);
        return status.refusals;
      }),
    ),
  );
}

function auditHead() {
  return drive.as('op-1', (op) =>
    op.askAgent(op.agentOf('auditor'), { ask: 'audit-head' }, checks.auditHead),
  );
}

/** The step that the victim, which sleeps, has not answered yet. */
async function openStep(planId: string): Promise<StepCommanded> {
  const subject = thief.subjects.step(thief.layer, victim);
  const look = async () => {
    const last = await administrator.lastOf('GYRE_CONTROL', subject);
    return last === undefined ? undefined : (thief.read(last.data) as StepCommanded);
  };
  const isIt = (step?: StepCommanded) => step?.sagaId === planId && step.operation === 'activate';
  const step = await until(look, isIt, 'the victim is told to activate while it sleeps');
  if (step === undefined) throw new Error('assertion: it was seen');
  return step;
}

function failureOf({ commandId, sagaId, sagaIndex, planDigest, operation }: StepCommanded) {
  const about = { commandId, sagaId, sagaIndex, planDigest, operation, durationMs: 1, slots: [] };
  return { ...about, status: 'failed', code: 'ORCH-8005', reason: 'says the thief' } as const;
}

/** Executes a plan; while the victim's activation is open, and the victim asleep, does `act`. */
async function whileOpen(act: (failure: StepReported) => Promise<void>) {
  const { planId } = await drive.approvedPlan();
  return drive.executeAnd(planId, async () => {
    const pid = await drive.mesh.pidOf(victim);
    process.kill(pid, 'SIGSTOP');
    try {
      await act(failureOf(await openStep(planId)));
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  });
}

describe('the credentials of one layer agent', () => {
  beforeAll(async () => {
    administrator = await Administrator.of(drive.mesh);
    thief = await Thief.of(drive.mesh, victim);
    await thief.join(drive.mesh);
  }, hangMs);

  afterAll(async () => {
    await thief.close();
    await administrator.close();
  }, hangMs);

  it('open no subject, consumer, stream or inbox of others', { timeout: hangMs }, async () => {
    const { subjects } = thief;
    const shape = await administrator.shapeOf('GYRE_CONTROL');
    const own = durableName(victim, 'steps');
    const foreign = durableName('identity-a', 'steps');
    const closed = [
      subjects.report(1, 'identity-a'),
      subjects.report(thief.layer, 'identity-a'),
      subjects.capability(1, 'identity-a'),
      subjects.step(1, 'identity-a'),
      subjects.step(thief.layer, victim),
      subjects.sagaRotation('rot-0123456789abcdef'),
      subjects.sagaSlots(),
      subjects.sagaRequests(),
      subjects.request('op-1'),
      subjects.signerLog(),
      subjects.auditReceipt(),
      subjects.auditVerdict(),
      subjects.auditCheckpoint(),
      subjects.dead('identity-a'),
      api.consumerNext('GYRE_CONTROL', foreign),
      api.consumerInfo('GYRE_CONTROL', foreign),
      `$JS.ACK.GYRE_CONTROL.${foreign}.1.1.1.1.0`,
      api.consumerCreate('GYRE_CONTROL', 'spy'),
      api.consumerCreate('GYRE_CONTROL', own),
      api.consumerCreate('GYRE_CONTROL', followConsumerName('auditor', 0), '>'),
      api.consumerDelete('GYRE_CONTROL', own),
      api.consumerDelete('GYRE_CONTROL', foreign),
      api.messageGet('GYRE_CONTROL'),
      api.messageDelete('GYRE_CONTROL'),
      api.directGetLast('GYRE_CONTROL', subjects.report(1, 'identity-a')),
      api.streamInfo('GYRE_CONTROL'),
      api.streamCreate('GYRE_OTHER'),
      ...(['GYRE_CONTROL', 'GYRE_AUDIT', 'GYRE_DEAD'] as const).flatMap((stream) => [
        api.streamUpdate(stream),
        api.streamPurge(stream),
        api.streamDelete(stream),
        api.streamRestore(stream),
      ]),
    ];
    for (const subject of closed) {
      expect([subject, await thief.mayPublish(subject)]).toEqual([subject, false]);
    }
    const deaf = ['identity-a', 'signer', 'op-1'].map((id) => `${inboxPrefix(id)}.>`);
    for (const subject of [...deaf, '>', subjects.patterns.saga, subjects.query('signer')]) {
      expect([subject, await thief.maySubscribe(subject)]).toEqual([subject, false]);
    }
    // What they do open: the test would not see a server that denies everything.
    expect(await thief.mayPublish(api.consumerInfo('GYRE_CONTROL', own))).toBe(true);
    expect(await thief.maySubscribe(`${inboxPrefix(victim)}.>`)).toBe(true);
    expect(await administrator.shapeOf('GYRE_CONTROL')).toEqual(shape);
  });

  it(
    'make no frame that counts: refused by its code, counted, and the rotation commits',
    { timeout: hangMs },
    async () => {
      const before = await drive.versions();
      const head = await auditHead();
      const [refusedBefore = {}] = await refusals();
      const run = await whileOpen(async (failure) => {
        const honest = thief.report(failure);
        const earlier = await administrator.lastOf('GYRE_CONTROL', thief.reportSubject);
        const now = Date.now();
        const frames = {
          garbage: new TextEncoder().encode('{"status":"failed"}'),
          forged: Uint8Array.from(honest).fill(0xff, -8),
          impersonated: thief.report(failure, {}, 'network-a'),
          // Within the time of the enrolment, and beyond the clock skew of 30 seconds.
          expired: thief.report(failure, { timeMs: now - 60_000, expiresMs: now - 40_000 }),
          foreign: thief.report(failure, { audience: 'network-a' }),
          fromTheFuture: thief.report(failure, { timeMs: now + 600_000, expiresMs: now + 660_000 }),
          replayed: earlier?.data ?? new Uint8Array(),
        };
        for (const [name, frame] of Object.entries(frames)) {
          expect([name, await thief.put(thief.reportSubject, frame, `thief-${name}`)]).toEqual([
            name,
            true,
          ]);
        }
        // A server answers wherever it is told to, also where the asker may not publish.
        const saga = thief.subjects.sagaRotation(failure.sagaId);
        const asked = api.consumerInfo('GYRE_CONTROL', durableName(victim, 'steps'));
        for (let times = 0; times < strayAnswers; times += 1) await thief.misdirect(asked, saga);
      });
      expect(run.code, run.stdout + run.stderr).toBe(0);
      const after = await drive.versions();
      expect([...after].filter(([slot, at]) => at !== (before.get(slot) ?? 0) + 1)).toEqual([]);
      for (const refused of await refusals()) {
        const counts = Object.entries(refused).map(([code, count]) => [
          code,
          count - (refusedBefore[code] ?? 0),
        ]);
        expect(Object.fromEntries(counts)).toEqual({
          FRAME_MALFORMED: 1 + strayAnswers,
          SIGNATURE_INVALID: 1,
          SUBJECT_MISMATCH: 1,
          EVENT_EXPIRED: 1,
          AUDIENCE_MISMATCH: 1,
          TIME_OUT_OF_RANGE: 1,
          EVENT_REPLAYED: 1,
        });
      }
      // Garbage, the forged one, the impersonated one: the others are authentic, and no more.
      expect((await auditHead()).refused - head.refused).toBe(3 + strayAnswers);
      const status = await drive.gyre('status');
      expect(status.code).toBe(0);
      expect(status.stdout).toContain('1 SIGNATURE_INVALID');
      expect(status.stdout).toContain(`${3 + strayAnswers} refused`);
    },
  );

  it(
    'stop their own layer at the most, as the agent itself could',
    { timeout: hangMs },
    async () => {
      const before = await drive.versions();
      const run = await whileOpen(async (failure) => {
        expect(await thief.put(thief.reportSubject, thief.report(failure), 'thief-stops')).toBe(
          true,
        );
      });
      expect(run.code, run.stdout + run.stderr).toBe(7);
      expect(run.stdout).toContain('says the thief');
      expect(await drive.versions()).toEqual(before);
    },
  );
});
