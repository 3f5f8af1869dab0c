/** The thief at the bus: whatever he plants, a receiver of the production code refuses all of it. */

import { beforeAll, describe, expect, it } from 'vitest';
import type { RefusalCode } from '#schemas/errors.ts';
import type { BusMessage } from '#shared/bus/bus.ts';
import { provisionPlan } from '#shared/bus/streams.ts';
import { parseFrame } from '#shared/crypto/envelope.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { crypto, makeWorld, type World } from '../../support/world.ts';
import { SimulatedNetwork } from '../../sim/network.ts';
import { drawsFrom } from '../../sim/seed.ts';
import { SimulatedTime } from '../../sim/time.ts';
import { WorldTrace } from '../../sim/trace.ts';
import {
  attack,
  poisonFrame,
  smuggle,
  wireAttacks,
  type ThiefPorts,
} from '../../sim/wire-attacks.ts';

let world: World;

beforeAll(async () => {
  world = await makeWorld();
});

class Scene {
  readonly planted: BusMessage[] = [];
  readonly ports: ThiefPorts;
  readonly receiver: Principal;
  readonly sender: Principal;

  constructor(seed: number) {
    const time = new SimulatedTime();
    const trace = new WorldTrace({ time });
    const principals = world.trust.agents().map(({ agentId: id, kind, layer }) => ({
      id,
      kind,
      ...(layer === undefined ? {} : { layer }),
    }));
    const network = new SimulatedNetwork({
      plan: provisionPlan({ mesh: world.mesh, principals }),
      time,
      trace,
      draws: drawsFrom(seed).fork('network'),
      crashes: { pass: () => undefined },
      onStored: (_, message) => this.planted.push(message),
    });
    this.ports = { network, trace, crypto, draws: drawsFrom(seed).fork('thief') };
    this.receiver = world.principal('auditor', { observesAll: true });
    this.sender = world.principal('op-1');
    const others = { 'op-1': this.sender, 'op-2': world.principal('op-2') };
    for (let count = 0; count < 6; count += 1) {
      const operatorId = count % 2 === 0 ? 'op-1' : 'op-2';
      const subject = network.subjects.trust(operatorId);
      const body = { document: Uint8Array.of(count) };
      const offer = { type: 'document-offered', subject, channel: 'notices', body } as const;
      smuggle(this.ports, others[operatorId].seal(offer));
    }
    for (const message of this.planted) {
      if (this.receiver.open(message).status !== 'opened') throw new Error('not opened');
    }
    this.planted.length = 0;
  }

  /** What the receiver makes of each message that was planted. */
  refusals(): (RefusalCode | 'opened' | 'redelivered')[] {
    return this.planted.map((message) => {
      const opening = this.receiver.open({ ...message, data: message.data.slice() });
      return opening.status === 'refused' ? opening.code : opening.status;
    });
  }
}

describe('attacks on streams', () => {
  it.each(wireAttacks.filter(({ name }) => !name.includes('question')).map(({ name }) => name))(
    '%s: is refused',
    (name) => {
      const one = wireAttacks.find((each) => each.name === name);
      const seen = new Set<string>();
      let applied = 0;
      for (let seed = 1; seed <= 15; seed += 1) {
        const scene = new Scene(seed);
        if (one?.apply(scene.ports) !== true) continue;
        applied += 1;
        for (const code of scene.refusals()) seen.add(code);
      }
      expect(applied).toBeGreaterThan(0);
      expect(seen.size).toBeGreaterThan(0);
      expect([...seen]).not.toContain('opened');
      expect([...seen]).not.toContain('redelivered');
    },
  );

  it('a replay is one, a changed bit is found wherever it is', () => {
    const codesOf = (name: string): Set<string> => {
      const codes = new Set<string>();
      for (let seed = 1; seed <= 15; seed += 1) {
        const scene = new Scene(seed);
        wireAttacks.find((each) => each.name === name)?.apply(scene.ports);
        for (const code of scene.refusals()) codes.add(code);
      }
      return codes;
    };
    expect([...codesOf('replay')]).toEqual(['EVENT_REPLAYED']);
    expect([...codesOf('without a signature')]).toEqual(['SIGNATURE_INVALID']);
    expect([...codesOf('a key of his own')]).toEqual(['SIGNATURE_INVALID']);
    expect(codesOf('a part changed')).toContain('SIGNATURE_INVALID');
    expect([...codesOf('garbage')]).toEqual(['FRAME_MALFORMED']);
  });

  it('a body that is none, under the key of an enrolled agent, is refused as that', () => {
    const scene = new Scene(1);
    const signingKey = world.keys.get('op-1');
    const subject = scene.ports.network.subjects.trust('op-1');
    const body = { document: Uint8Array.of(9) };
    const offer = { type: 'document-offered', subject, channel: 'notices', body } as const;
    const sealed = scene.sender.seal(offer);
    const parsed = parseFrame(sealed.frame);
    if (!parsed.ok || signingKey === undefined) throw new Error('no frame');
    const frame = poisonFrame(scene.ports, { header: parsed.frame.header, signingKey });
    smuggle(scene.ports, { ...sealed, frame });
    expect(scene.refusals()).toEqual(['BODY_MALFORMED']);
  });
});

describe('attacks on those who answer', () => {
  it('carry what was overheard, changed or not', () => {
    const names = wireAttacks.filter(({ name }) => name.includes('question'));
    expect(names.length).toBeGreaterThan(2);
    for (const one of names) {
      const scene = new Scene(3);
      const { network, draws } = scene.ports;
      const subject = network.subjects.query('auditor');
      expect(one.apply(scene.ports)).toBe(false);
      const heard: Uint8Array[] = [];
      network.broker.addResponder(subject, (data) => heard.push(data));
      network.overhear({ subject, data: draws.bytes(100) });
      expect(one.apply(scene.ports)).toBe(true);
      expect(heard).toHaveLength(1);
    }
  });
});

describe('an attack', () => {
  it('is drawn from those that there is something for, the same for the same seed', () => {
    const told = (seed: number): (string | undefined)[] => {
      const scene = new Scene(seed);
      return Array.from({ length: 20 }, () => attack(scene.ports));
    };
    expect(told(5)).toEqual(told(5));
    expect(new Set(told(5)).size).toBeGreaterThan(5);
    const scene = new Scene(1);
    scene.ports.network.forget('GYRE_CONTROL', 'oldest', 10);
    expect(attack(scene.ports)).toBeUndefined();
  });
});
