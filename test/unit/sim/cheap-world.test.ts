/**
 * The production code over the simulated provider and virtual time: documents, roots and their anchors,
 * frames from seal to receipt. Everything is accepted that should be, nothing that was changed.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import {
  checkArtefact,
  generateKey,
  makeArtefact,
  probe,
} from '#agents/layers/embedded/key-kinds.ts';
import type { TrustBundle } from '#schemas/trust.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { newHybridKey, openCapsule, sealCapsule } from '#shared/crypto/epoch-capsule.ts';
import { openFrame, parseFrame, verifyFrame } from '#shared/crypto/envelope.ts';
import type { VerifyKey } from '#shared/crypto/key-handle.ts';
import { StaticKeyring } from '#shared/crypto/keyring.ts';
import { SenderChain } from '#shared/crypto/sender-chain.ts';
import { openTrust } from '#shared/crypto/trust.ts';
import { simulatedCrypto } from '../../sim/cheap-crypto.ts';
import { drawsFrom } from '../../sim/seed.ts';
import { SimulatedTime } from '../../sim/time.ts';
import { makeGenesis, makeWorld, type World } from '../../support/world.ts';
import { body, channelSecret, event } from '../crypto/fixtures.ts';

const worldOf = async (seed: number) => {
  const time = new SimulatedTime();
  const ports = { crypto: simulatedCrypto(drawsFrom(seed)), clock: time, brokerClock: time };
  return await makeWorld({}, ports);
};

let world: World<SimulatedTime>;
beforeAll(async () => {
  world = await worldOf(1);
});

describe('a genesis', () => {
  const open = (change: (bundle: TrustBundle) => void) => {
    const bundle = structuredClone(world.bundle);
    change(bundle);
    const { rootDigest, clock } = world;
    const provider = simulatedCrypto(drawsFrom(2));
    const opening = openTrust(provider, { bundle, rootDigest, nowMs: clock.nowMs() });
    return opening.status === 'ok' ? 'ok' : opening.code;
  };
  const spoil = (signatures: { signature: string }[] | undefined): void => {
    const [first] = signatures ?? [];
    if (first === undefined) throw new Error('nobody signed');
    const at = first.signature.length - 2;
    const letter = first.signature[at] === 'A' ? 'B' : 'A';
    first.signature = first.signature.slice(0, at) + letter + first.signature.slice(at + 1);
  };

  test('holds, and with a changed signature anywhere it does not', () => {
    expect(open(() => undefined)).toBe('ok');
    expect(open(({ root }) => spoil(root.signatures))).toBe('ROOT_INVALID');
    const anchored = open(({ root: { signatures } }) =>
      spoil(signatures.filter(({ algorithm }) => algorithm === 'SLH-DSA-SHAKE-256s')),
    );
    expect(anchored).toBe('ROOT_INVALID');
    expect(open(({ registry }) => spoil(registry.signatures))).toBe('REGISTRY_INVALID');
    expect(open(({ policy }) => spoil(policy.signatures))).toBe('POLICY_INVALID');
    expect(open(({ enrolments }) => spoil(enrolments[3]?.signatures))).toBe('ENROLMENT_INVALID');
    const weakened = open(({ policy }) => {
      policy.body.policies.rotation.approvals.scheduled = 0;
    });
    expect(weakened).toBe('POLICY_INVALID');
  });

  test('is the same from the same seed, and may serve many worlds', async () => {
    expect((await worldOf(1)).bundle).toEqual(world.bundle);
    expect((await worldOf(2)).rootDigest).not.toBe(world.rootDigest);
    const time = new SimulatedTime();
    const crypto = simulatedCrypto(drawsFrom(3));
    const genesis = await makeGenesis({}, { crypto, clock: time });
    const ports = {
      crypto: simulatedCrypto(drawsFrom(4)),
      clock: time,
      brokerClock: time,
      genesis,
    };
    const [first, second] = [await makeWorld({}, ports), await makeWorld({}, ports)];
    expect([first.bundle, second.bundle]).toEqual([genesis.bundle, genesis.bundle]);
    expect(first.broker).not.toBe(second.broker);
  });
});

describe('a frame', () => {
  const crypto = simulatedCrypto(drawsFrom(5));
  const signingKey = crypto.importSigningSeed(crypto.randomBytes(32));
  const keyring = new StaticKeyring([{ channel: 'saga', epoch: 1, secret: channelSecret }]);
  const chain = new SenderChain({ crypto, sender: 'orchestrator-1', signingKey, keyring });
  const receiver = simulatedCrypto(drawsFrom(6));

  const received = (
    bytes: Uint8Array,
    secret = channelSecret,
    key: VerifyKey = signingKey.publicKey,
  ) => {
    const parsed = parseFrame(bytes);
    if (!parsed.ok) return parsed.code;
    const verified = verifyFrame(receiver, parsed.frame, key);
    if (!verified.ok) return verified.code;
    const opened = openFrame(receiver, parsed.frame, secret);
    return opened.ok ? opened.body : opened.code;
  };

  test('opens for the channel, and for nobody else', () => {
    const pending = chain.seal({ ...event, body });
    pending.accepted();
    expect(received(pending.frame)).toEqual(body);
    expect(received(pending.frame, new Uint8Array(32))).toBeTypeOf('string');
    const other = crypto.importSigningSeed(crypto.randomBytes(32)).publicKey;
    expect(received(pending.frame, channelSecret, other)).toBeTypeOf('string');
  });

  test('is refused after a change of any of its bytes', () => {
    const pending = chain.seal({ ...event, body });
    pending.accepted();
    const { frame } = pending;
    for (let at = 0; at < frame.length; at += 1) {
      const byte = frame[at] ?? 0;
      frame[at] = byte ^ (1 << (at % 8));
      if (typeof received(frame) !== 'string') expect.fail(`byte ${at}`);
      frame[at] = byte;
    }
    expect(received(frame)).toEqual(body);
  });
});

describe('keys of layers and epochs', () => {
  const crypto = simulatedCrypto(drawsFrom(9));

  test.each(['signature', 'kem', 'hybrid-kem', 'mac', 'aead'] as const)(
    '%s keys take back what they made, unchanged',
    (kind) => {
      const [key, other] = [generateKey(crypto, kind, 'slot'), generateKey(crypto, kind, 'slot')];
      expect(probe(crypto, key)).toBe(true);
      expect(checkArtefact(crypto, other, makeArtefact(crypto, key))).toBe(false);
      expect(key.keyId).not.toBe(other.keyId);
    },
  );

  test('capsules open for their member, with their prekey, unchanged', () => {
    const name = { mesh: 'test', channel: 'saga', epoch: 7 };
    const secret = crypto.randomBytes(32);
    const prekey = newHybridKey(crypto);
    const shown = { prekeyId: prekey.keyId, publicKey: prekey.publicKey };
    const capsule = sealCapsule(crypto, { ...name, agentId: 'auditor', prekey: shown, secret });
    const receiver = simulatedCrypto(drawsFrom(10));
    expect(openCapsule(receiver, { ...name, capsule, prekey })).toEqual(secret);
    expect(openCapsule(receiver, { ...name, epoch: 8, capsule, prekey })).toBeUndefined();
    const stolen = { ...capsule, agentId: 'signer' };
    expect(openCapsule(receiver, { ...name, capsule: stolen, prekey })).toBeUndefined();
    for (const part of ['kemCiphertext', 'sealedSecret'] as const) {
      const bytes = capsule[part].with(5, (capsule[part][5] ?? 0) ^ 1);
      const changed = { ...capsule, [part]: bytes };
      expect(openCapsule(receiver, { ...name, capsule: changed, prekey })).toBeUndefined();
    }
  });
});

test('principals ask and answer over the bus in virtual time, and the same world does the same', async () => {
  const stories = [];
  for (const seed of [7, 7, 8]) {
    const asked = await worldOf(seed);
    const [signer, orchestrator] = [asked.principal('signer'), asked.principal('orchestrator-b')];
    await signer.answer((query) => Promise.resolve({ ok: true, result: query.ask }));
    const target = { agentId: 'signer', channel: 'saga' };
    let answer: unknown;
    void orchestrator.ask(target, { ask: 'signer-describe' }, 5_000).then((reply) => {
      answer = reply;
    });
    expect(await asked.clock.run(1_000, () => answer !== undefined)).toBe(true);
    expect(answer).toEqual({ ok: true, result: 'signer-describe' });
    const sealed = orchestrator.seal({
      type: 'query-asked',
      subject: subjectsOf(asked.mesh).query('signer'),
      channel: 'saga',
      audience: 'signer',
      body: { queryId: 'q', query: new Uint8Array(1) },
    });
    stories.push({ frame: toHex(sealed.frame), atMs: asked.clock.monotonicMs() });
  }
  expect(stories[0]).toEqual(stories[1]);
  expect(stories[2]).not.toEqual(stories[0]);
});
