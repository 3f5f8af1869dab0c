/** Lives of processes and their clocks: nothing after death, nothing while standing still, in order. */
import { beforeEach, describe, expect, test } from 'vitest';
import { SimulatedClock } from '../../sim/clock.ts';
import { running, SimulatedLife } from '../../sim/lives.ts';
import { SimulatedCrash } from '../../sim/model.ts';
import { SimulatedTime, worldBeginsMs } from '../../sim/time.ts';

let time: SimulatedTime;
let life: SimulatedLife;
let met: string[];
beforeEach(() => {
  time = new SimulatedTime();
  life = new SimulatedLife({ agentId: 'a', number: 1, time });
  met = [];
});

const note = (what: string) => () => {
  met.push(`${what} at ${time.monotonicMs()}`);
};

describe('a life', () => {
  test('runs at once what is due, and never again after its death', () => {
    life.whenRunning(note('alive'));
    life.onDeath(note('death'));
    life.crash();
    life.crash();
    life.whenRunning(note('dead'));
    expect(met).toEqual(['alive at 0', 'death at 0']);
    expect(life.isAlive).toBe(false);
    life.onDeath(note('late'));
    expect(met.at(-1)).toBe('late at 0');
    expect(() => life.assertAlive()).toThrow(SimulatedCrash);
  });

  test('keeps what comes while it stands still, in order and before what comes later', async () => {
    life.pause();
    life.whenRunning(() => {
      note('first')();
      life.whenRunning(note('from the first'));
    });
    life.whenRunning(note('second'));
    expect([met, life.isPaused]).toEqual([[], true]);
    time.after(5, () => {
      life.resume();
      life.whenRunning(note('third'));
    });
    await time.run(10);
    expect(met).toEqual(['first at 5', 'second at 5', 'third at 5', 'from the first at 5']);
    life.whenRunning(note('after'));
    expect(met.at(-1)).toBe('after at 10');
  });

  test('may stand still again, or die, in the middle of what it missed', async () => {
    life.pause();
    life.whenRunning(() => life.pause());
    life.whenRunning(note('first'));
    life.whenRunning(() => {
      life.crash();
      throw new SimulatedCrash('dead');
    });
    life.whenRunning(note('never'));
    life.resume();
    life.resume();
    await time.run(10);
    expect([met, life.isPaused]).toEqual([[], true]);
    life.resume();
    await time.run(20);
    expect(met).toEqual(['first at 10']);
  });
});

describe('who runs', () => {
  test('is known in callbacks, in timers, and in what follows from them', async () => {
    const other = new SimulatedLife({ agentId: 'b', number: 1, time });
    const clock = new SimulatedClock({ life: other, time });
    const say = (what: string): void => {
      met.push(`${what}: ${running.getStore()?.agentId ?? 'nobody'}`);
    };
    life.whenRunning(() => {
      clock.after(1, () => {
        say('timer');
        void Promise.resolve().then(() => say('promise'));
        setImmediate(() => say('immediate'));
      });
      say('callback');
    });
    say('outside');
    await time.run(10);
    expect(met).toEqual([
      'callback: a',
      'outside: nobody',
      'timer: b',
      'promise: b',
      'immediate: b',
    ]);
  });

  test('is known of a rejection that nobody catches', async () => {
    const heard: unknown[] = [];
    const before = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection');
    process.on('unhandledRejection', (fault) => heard.push(fault, running.getStore()?.agentId));
    try {
      const fault = new RangeError('nobody');
      life.whenRunning(() => void Promise.resolve().then(() => Promise.reject(fault)));
      await time.run(10);
      expect(heard).toEqual([fault, 'a']);
    } finally {
      process.removeAllListeners('unhandledRejection');
      for (const listener of before) process.on('unhandledRejection', listener);
    }
  });

  test('what a callback throws goes to its process, or out where nobody wants it', () => {
    const heard: unknown[] = [];
    const onFault = (fault: unknown): void => void heard.push(fault);
    const guarded = new SimulatedLife({ agentId: 'b', number: 1, time, onFault });
    const fault = new RangeError('a fault');
    const fail = (): void => {
      throw fault;
    };
    guarded.whenRunning(fail);
    expect(heard).toEqual([fault]);
    expect(() => life.whenRunning(fail)).toThrow(fault);
    guarded.whenRunning(() => {
      guarded.crash();
      guarded.assertAlive();
    });
    expect(heard).toHaveLength(1);
  });
});

describe('a clock', () => {
  test('jumps on the wall, never in its spans, and counts from the start of its process', async () => {
    await time.run(1000);
    const clock = new SimulatedClock({ life, time, skewMs: -300 });
    expect([clock.nowMs(), clock.monotonicMs()]).toEqual([worldBeginsMs + 700, 0]);
    clock.after(50, note('timer'));
    clock.jump(10_000);
    await time.run(1100);
    expect(met).toEqual(['timer at 1050']);
    expect([clock.nowMs(), clock.monotonicMs()]).toEqual([worldBeginsMs + 10_800, 100]);
    expect(clock.skewMs).toBe(9700);
  });

  test('may run fast or slow, its timers with it', async () => {
    const fast = new SimulatedClock({ life, time, driftPpm: 1_000_000 });
    fast.after(100, note('fast'));
    await time.run(1000.25);
    expect(met).toEqual(['fast at 50']);
    expect([fast.nowMs(), fast.monotonicMs()]).toEqual([worldBeginsMs + 2000, 2000.5]);
    expect(fast.skewMs).toBe(1000.25);
  });

  test('has the timers of Node: a millisecond at the least, whole, none too long', async () => {
    const clock = new SimulatedClock({ life, time });
    clock.after(0, note('none'));
    clock.after(-5, note('negative'));
    clock.after(2.9, note('fraction'));
    expect(() => clock.after(2 ** 31, note('long'))).toThrow(RangeError);
    expect(() => clock.after(Number.NaN, note('nan'))).toThrow(RangeError);
    await time.run(10);
    expect(met).toEqual(['none at 1', 'negative at 1', 'fraction at 2']);
  });

  test('fires nothing after death, and late after standing still', async () => {
    const clock = new SimulatedClock({ life, time });
    clock.after(5, note('waits'));
    const cancelled = clock.after(6, note('cancelled meanwhile'));
    clock.after(50, note('never'));
    time.after(1, () => life.pause());
    time.after(20, () => {
      cancelled.cancel();
      life.resume();
    });
    time.after(40, () => life.crash());
    await time.run(100);
    expect(met).toEqual(['waits at 20']);
  });
});
