/** Circuit breakers: when they open, whom they let through to try, and what they tell. */

import fc from 'fast-check';
import { expect, it } from 'vitest';
import { CircuitBreaker, GuardedClient } from '#agents/layers/service/circuit-breaker.ts';
import { ServiceError, type ServiceAnswer } from '#agents/layers/service/service-client.ts';
import { admitCall, closedCircuit, noteCall, type Circuit } from '#shared/core/circuit.ts';

const rules = { failuresMax: 3, openMs: 100, openMsMax: 1_000 };

it('never lets more than one call through in the time in which it is not closed', () => {
  const events = fc.array(
    fc.record({ waitMs: fc.nat(300), outcome: fc.constantFrom('done', 'failed', 'pending') }),
    { maxLength: 80 },
  );
  fc.assert(
    fc.property(events, (steps) => {
      let circuit: Circuit = closedCircuit;
      let nowMs = 0;
      let triedAtMs = -Infinity;
      const wrong: string[] = [];
      for (const { waitMs, outcome } of steps) {
        nowMs += waitMs;
        const was = circuit.standing;
        const asked = admitCall(circuit, nowMs, rules);
        circuit = asked.circuit;
        if (!asked.admitted && was === 'closed') wrong.push('refused while it was closed');
        if (asked.admitted && was === 'half-open' && nowMs - triedAtMs < rules.openMsMax) {
          wrong.push('a second call while one was tried');
        }
        if (asked.admitted && was !== 'closed') triedAtMs = nowMs;
        if (!asked.admitted || outcome === 'pending') continue;
        circuit = noteCall(circuit, outcome as 'done', nowMs, rules);
        if (outcome === 'done' && circuit.standing !== 'closed') wrong.push('not closed again');
      }
      expect(wrong).toEqual([]);
    }),
  );
});

it('opens for longer each time, up to a bound, and is as new after a success', () => {
  let circuit: Circuit = closedCircuit;
  let nowMs = 0;
  const spans: number[] = [];
  for (let failures = 0; failures < 3; failures += 1)
    circuit = noteCall(circuit, 'failed', 0, rules);
  for (let round = 0; round < 6 && circuit.standing === 'open'; round += 1) {
    spans.push(circuit.untilMs - nowMs);
    nowMs = circuit.untilMs;
    circuit = noteCall(admitCall(circuit, nowMs, rules).circuit, 'failed', nowMs, rules);
  }
  expect(spans).toEqual([100, 200, 400, 800, 1_000, 1_000]);
  circuit = noteCall({ standing: 'half-open', untilMs: 0, opened: 6 }, 'done', nowMs, rules);
  expect(circuit).toEqual(closedCircuit);
});

it('around a peer: faults open it, refusals do not, and the peer is left alone meanwhile', async () => {
  let nowMs = 0;
  let asked = 0;
  let answer: ServiceAnswer | ServiceError = { status: 'done', body: {} };
  const client = {
    ask: async () => {
      asked += 1;
      if (answer instanceof ServiceError) throw answer;
      return answer;
    },
  };
  const guarded = new GuardedClient(client, { clock: { monotonicMs: () => nowMs }, rules });
  const ask = async () =>
    guarded.ask({ method: 'GET', path: '/v1/health' }).then(
      ({ status }) => status,
      (error: unknown) => (error instanceof ServiceError ? error.code : 'other'),
    );
  answer = { status: 'refused', code: 'SOME_CODE', reason: 'no', retryable: false };
  for (let call = 0; call < 5; call += 1) expect(await ask()).toBe('refused');
  answer = new ServiceError('TIMEOUT', 'too late');
  for (let call = 0; call < 3; call += 1) expect(await ask()).toBe('TIMEOUT');
  expect([await ask(), asked, guarded.standing]).toEqual(['UNREACHABLE', 8, 'open']);
  expect(guarded.metrics('identity')).toEqual({
    'circuit-identity': 2,
    'circuit-identity-refused': 1,
  });
  nowMs = 100;
  answer = { status: 'done', body: {} };
  expect([await ask(), guarded.standing]).toEqual(['done', 'closed']);
});

it('passes on what is no fault of the dependency, and does not count it', async () => {
  const breaker = new CircuitBreaker({ clock: { monotonicMs: () => 0 }, rules });
  const about = { isFault: () => false, otherwise: () => new Error('open') };
  for (let call = 0; call < 5; call += 1) {
    await expect(breaker.run(() => Promise.reject(new RangeError('mine')), about)).rejects.toThrow(
      'mine',
    );
  }
  expect(breaker.standing).toBe('closed');
});
