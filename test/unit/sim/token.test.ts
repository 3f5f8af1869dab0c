/** The simulated token: it signs as the world's keys do, and fails as a token of a child process does. */

import { describe, expect, it } from 'vitest';
import type { SimulatedToken } from '../../sim/token.ts';
import { SimulatedClock } from '../../sim/clock.ts';
import { simulatedCrypto } from '../../sim/cheap-crypto.ts';
import { SimulatedLife } from '../../sim/lives.ts';
import { SimulatedCrash, type CrashPoint } from '../../sim/model.ts';
import { drawsFrom } from '../../sim/seed.ts';
import { SimulatedTime } from '../../sim/time.ts';
import { TokenDevice } from '../../sim/token.ts';
import { WorldTrace } from '../../sim/trace.ts';

const message = Uint8Array.of(1, 2, 3);
const context = Uint8Array.of(4);

class TokenWorld {
  readonly time = new SimulatedTime();
  readonly trace = new WorldTrace({ time: this.time });
  readonly crypto = simulatedCrypto(drawsFrom(1).fork('crypto'));
  readonly points: CrashPoint[] = [];
  readonly keys = new Map(
    ['orchestration', 'audit', 'enrolment'].map((name) => [
      name,
      this.crypto.importSigningSeed(this.crypto.randomBytes(32)),
    ]),
  );
  readonly device: TokenDevice;
  life = new SimulatedLife({ agentId: 'signer', number: 1, time: this.time });
  deathAt: CrashPoint['when'] | undefined;

  constructor(seed = 1) {
    this.device = new TokenDevice({
      crypto: this.crypto,
      keys: this.keys,
      draws: drawsFrom(seed).fork('token'),
      trace: this.trace,
      crashes: {
        pass: (_life, point) => {
          this.points.push(point);
          if (point.when !== this.deathAt) return;
          this.life.crash();
          throw new SimulatedCrash(point.what);
        },
      },
    });
  }

  open(): SimulatedToken {
    const { life, time } = this;
    return this.device.open(life, new SimulatedClock({ life, time }));
  }

  verifies(signature: Uint8Array): boolean {
    const key = this.keys.get('audit');
    if (key === undefined) throw new Error('no key');
    return this.crypto.verify(key.publicKey, { message, context, signature });
  }

  async until<Result>(promise: Promise<Result>): Promise<Result> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    void promise.then(over, over);
    await this.time.run(this.time.monotonicMs() + 60_000, () => isOver);
    if (!isOver) throw new Error('unsettled after a minute');
    return await promise;
  }
}

describe('the simulated token', () => {
  it('signs and wraps, after a while', async () => {
    const world = new TokenWorld();
    const token = world.open();
    expect(world.verifies(await world.until(token.sign('audit', message, context)))).toBe(true);
    expect(world.time.monotonicMs()).toBeGreaterThanOrEqual(1);
    const wrapped = await world.until(token.wrap(message, context));
    expect(await world.until(token.unwrap(wrapped, context))).toEqual(message);
    const foreign = token.unwrap(wrapped, Uint8Array.of(5));
    await expect(world.until(foreign)).rejects.toMatchObject({ code: 'WRAPPING_INVALID' });
    const unknown = token.sign('nobody', message, context);
    await expect(world.until(unknown)).rejects.toMatchObject({ code: 'KEY_UNKNOWN' });
    expect(await world.until(token.canary())).toMatchObject({ ok: true });
  });

  it('gives no answer twice: a time-out, and nobody knows what was signed', async () => {
    let made = 0;
    for (let seed = 1; seed <= 20; seed += 1) {
      const world = new TokenWorld(seed);
      const token = world.open();
      const heal = world.device.disturb({ silence: 1 });
      const signing = token.sign('audit', message, context);
      await expect(world.until(signing)).rejects.toMatchObject({ code: 'TOKEN_TIMEOUT' });
      expect(world.time.monotonicMs()).toBeGreaterThan(4_000);
      made += world.device.signatures;
      heal();
      const again = await world.until(token.sign('audit', message, context));
      expect(world.verifies(again)).toBe(true);
    }
    expect(made).toBeGreaterThan(5);
    expect(made).toBeLessThan(35);
  });

  it('is asked once more in a new child after its session was lost', async () => {
    const world = new TokenWorld();
    const token = world.open();
    const heal = world.device.disturb({ sessionLoss: 1 });
    const signing = token.sign('audit', message, context);
    await world.time.run(20);
    heal();
    expect(world.verifies(await world.until(signing))).toBe(true);
    expect(token.restarts).toBe(1);
  });

  it('is down for a while', async () => {
    const world = new TokenWorld();
    const token = world.open();
    const heal = world.device.disturb({ isDown: true });
    const signing = token.sign('audit', message, context);
    await expect(world.until(signing)).rejects.toMatchObject({ code: 'TOKEN_UNREACHABLE' });
    const asking = token.publicKey('audit');
    await expect(world.until(asking)).rejects.toMatchObject({ code: 'TOKEN_UNREACHABLE' });
    heal();
    expect(await world.until(token.publicKey('audit'))).toHaveLength(2592);
  });

  it('signs wrongly, which the canary shows', async () => {
    const world = new TokenWorld();
    const token = world.open();
    const heal = world.device.disturb({ signatures: 'invalid' });
    expect(await world.until(token.canary())).toMatchObject({ reason: 'signature-invalid' });
    expect(world.verifies(await world.until(token.sign('audit', message, context)))).toBe(false);
    heal();
    const ignoring = world.device.disturb({ signatures: 'context-ignored' });
    expect(await world.until(token.canary())).toMatchObject({ reason: 'context-ignored' });
    ignoring();
    expect(await world.until(token.canary())).toMatchObject({ ok: true });
  });

  it('answers one after the other, and nobody once it is closed', async () => {
    const world = new TokenWorld();
    const token = world.open();
    const order: number[] = [];
    const requests = [1, 2, 3].map(async (number) => {
      await token.sign('audit', message, context);
      order.push(number);
    });
    await world.until(Promise.all(requests));
    expect(order).toEqual([1, 2, 3]);
    await world.until(token.close());
    const late = token.sign('audit', message, context);
    await expect(world.until(late)).rejects.toMatchObject({ code: 'TOKEN_UNREACHABLE' });
  });

  it.each(['before', 'after'] as const)(
    'is where the signer may die: %s it signed',
    async (when) => {
      const world = new TokenWorld();
      const token = world.open();
      world.deathAt = when;
      let isSettled = false;
      const settled = (): void => {
        isSettled = true;
      };
      void token.sign('audit', message, context).then(settled, settled);
      await world.time.run(60_000);
      expect(isSettled).toBe(false);
      expect(world.device.signatures).toBe(when === 'before' ? 0 : 1);
      expect(world.points.map(({ what }) => what)).toContain('token sign');
      world.deathAt = undefined;
      world.life = new SimulatedLife({ agentId: 'signer', number: 2, time: world.time });
      const next = await world.until(world.open().sign('audit', message, context));
      expect(world.verifies(next)).toBe(true);
    },
  );

  it('does the same for the same seed', async () => {
    const told = async (seed: number): Promise<string> => {
      const world = new TokenWorld(seed);
      const token = world.open();
      const heal = world.device.disturb({ silence: 0.3, sessionLoss: 0.3 });
      for (let count = 0; count < 20; count += 1) {
        const signing = token.sign('audit', message, context).catch(() => undefined);
        await world.until(signing);
      }
      heal();
      return world.trace.digest();
    };
    expect(await told(3)).toBe(await told(3));
    expect(await told(3)).not.toBe(await told(4));
  });
});
