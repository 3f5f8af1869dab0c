/** Circuit breakers: when they open, whom they let through to try, and what they tell. */

import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  breakerMetrics,
  CircuitBreaker,
  GuardedClient,
  peerRules,
} from '#agents/layers/service/circuit-breaker.ts';
import { ServiceError } from '#agents/layers/service/service-client.ts';
import {
  admitCall,
  closedCircuit,
  noteCall,
  withdrawCall,
  type Circuit,
} from '#shared/core/circuit.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { openCapabilityDesk } from '../../support/capability-desk.ts';
import { RunningService, serviceFolder } from '../../support/layer-service.ts';

const rules = { failuresMax: 3, openMs: 100, openMsMax: 1_000 };

it('never lets more than one call through in the time in which it is not closed', () => {
  const events = fc.array(
    fc.record({
      waitMs: fc.nat(300),
      outcome: fc.constantFrom('done', 'failed', 'pending', 'left'),
    }),
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
        if (outcome === 'left') {
          circuit = withdrawCall(circuit, nowMs);
          // Its place is free, and what was known of the dependency is not forgotten.
          if (was !== 'closed') triedAtMs = -Infinity;
          if ((circuit.standing === 'closed') !== (was === 'closed'))
            wrong.push('closed by nothing');
          continue;
        }
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

it('around a peer: faults open it, refusals do not, and a peer that is back is asked again', async () => {
  const folder = serviceFolder();
  const peer = await RunningService.start({ layer: 2, open: openCapabilityDesk, folder });
  const options = { socketPath: `${folder}/2.service.sock` };
  const guarded = new GuardedClient(options, { clock: systemClock, restartMsMax: 200 });
  const ask = async () =>
    guarded.ask({ method: 'GET', path: '/v1/nothing' }).then(
      ({ status }) => status,
      (error: unknown) => (error instanceof ServiceError ? error.code : 'other'),
    );
  for (let call = 0; call < 6; call += 1) expect(await ask()).toBe('refused');
  expect(guarded.breaker.standing).toBe('closed');
  await peer.stop();
  const calls = await Promise.all(Array.from({ length: 8 }, ask));
  expect(new Set(calls)).toEqual(new Set(['UNREACHABLE']));
  expect(guarded.breaker.standing).not.toBe('closed');
  await peer.start();
  let later = await ask();
  for (let call = 0; call < 5 && later !== 'refused'; call += 1) later = await ask();
  expect([later, guarded.breaker.standing]).toEqual(['refused', 'closed']);
  const metrics = breakerMetrics([['authorization', guarded.breaker]]);
  expect(metrics).toMatchObject({ 'circuit-authorization': 0 });
  guarded.close();
  await peer.end();
});

it('waits for a peer that is started anew, and no longer than that takes', async () => {
  const folder = serviceFolder();
  const peer = await RunningService.start({ layer: 2, open: openCapabilityDesk, folder });
  const options = { socketPath: `${folder}/2.service.sock` };
  const asked = { method: 'GET', path: '/v1/nothing' } as const;
  const guarded = new GuardedClient(options, { clock: systemClock });
  await peer.stop();
  const calls = Array.from({ length: 8 }, () => guarded.ask(asked));
  // For longer than a call waits for anything else.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  await peer.start();
  for (const call of calls) expect(await call).toMatchObject({ status: 'refused' });
  guarded.close();
  await peer.end();
});

it('tries a lost connection once more, and what ends its dependency each time no more often', async () => {
  const breaker = new CircuitBreaker({ clock: { monotonicMs: () => 0 }, rules });
  const losses = ['broken', 'away', 'broken'] as const;
  let calls = 0;
  const error = new Error('lost');
  const about = {
    isFault: () => false,
    lossOf: () => losses[calls - 1],
    otherwise: () => new Error('open'),
  };
  const call = (): Promise<never> => {
    calls += 1;
    return Promise.reject(error);
  };
  await expect(breaker.runPatiently(call, about)).rejects.toBe(error);
  expect(calls).toBe(3);
});

it('forgets nothing, and keeps no place, where callers leave while others wait', async () => {
  class Left extends Error {}
  const away = new Error('away');
  // It stands still but where it is told: so it is known who is let through to try.
  let nowMs = 0;
  const clock = { monotonicMs: () => nowMs };
  const breaker = new CircuitBreaker({ clock, rules: peerRules, restartMsMax: 5_000 });
  const about = {
    isFault: (error: unknown) => error === away,
    lossOf: (error: unknown) => (error === away ? ('away' as const) : undefined),
    isUnasked: (error: unknown) => error instanceof Left,
    otherwise: () => new Error('open'),
  };
  let isBack = false;
  const ask = async (): Promise<string> => (isBack ? 'answered' : await Promise.reject(away));
  const answers = Promise.allSettled(
    Array.from({ length: 8 }, () => breaker.runPatiently(ask, about)),
  );
  await expect.poll(() => breaker.standing).toBe('open');
  const leave = async (): Promise<never> => {
    await new Promise((resolve) => setTimeout(resolve, 200));
    throw new Left();
  };
  nowMs += peerRules.openMsMax;
  // For longer than a call waits for anything but one that is away. Each takes the place of the one before.
  for (let each = 0; each < 7; each += 1) {
    await expect(breaker.runPatiently(leave, about)).rejects.toBeInstanceOf(Left);
    expect(breaker.standing).toBe('open');
  }
  isBack = true;
  const became = (await answers).map((each) =>
    each.status === 'fulfilled' ? each.value : 'refused',
  );
  expect(new Set(became)).toEqual(new Set(['answered']));
  expect(breaker.standing).toBe('closed');
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
