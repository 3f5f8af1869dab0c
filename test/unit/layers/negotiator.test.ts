/** What a layer agent offers, and how much of a flood of negotiations it takes part in. */
import { expect, test } from 'vitest';
import { algorithmCapabilities, algorithmClaims } from '#agents/layers/algorithm-capabilities.ts';
import { Negotiator, openNegotiationsMax } from '#agents/layers/negotiator.ts';
import { acceleratedAlgorithms } from '#agents/layers/processor-features.ts';
import { AlgorithmCapabilities, nothingAdvertised } from '#schemas/negotiation.ts';
import { compile } from '#schemas/primitives.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import type { AnyReceivedEvent } from '#shared/runtime/exchange.ts';
import { registry } from '../core/negotiation-stage.ts';
import { crypto, makeWorld, quiet } from '../../support/world.ts';

const none: ReadonlySet<string> = new Set();

test('an agent offers what its provider does and the registry knows; its slots prefer', async () => {
  const claims = await algorithmClaims({ layer: 3, crypto, trust: { registry } });
  const { algorithms } = claims();
  expect(compile(AlgorithmCapabilities).check(algorithms)).toBe(true);
  expect(algorithms.kem).toContainEqual(
    expect.objectContaining({ algorithm: 'X25519MLKEM1024', status: 'preferred' }),
  );
  expect(algorithms.signature.map(({ algorithm }) => algorithm)).toEqual(['ML-DSA-87']);
});

test('the tier is what was measured, and nothing is promised of the rest', () => {
  const able = ['X25519MLKEM1024', 'ML-KEM-1024', 'ML-KEM-768'];
  const { kem } = algorithmCapabilities({ layer: 4, able, registry, accelerated: none });
  expect(kem).toEqual([
    { algorithm: 'X25519MLKEM1024', status: 'preferred', performanceTier: 'low' },
    { algorithm: 'ML-KEM-1024', status: 'supported', performanceTier: 'high' },
    { algorithm: 'ML-KEM-768', status: 'supported', performanceTier: 'low' },
  ]);
});

test('hardware is what the kernel says', () => {
  const has = (text: string) => [...acceleratedAlgorithms(() => text)];
  expect(has('flags\t\t: fpu aes pclmulqdq\n')).toEqual(['AES-256-GCM']);
  expect(has('Features\t: fp aes pmull\n')).toEqual(['AES-256-GCM']);
  expect(has('flags\t\t: fpu pclmulqdq\n')).toEqual([]);
  expect(has('')).toEqual([]);
});

test('a flood of openings is answered up to a bound', async () => {
  const world = await makeWorld();
  const subjects = subjectsOf(world.mesh);
  const agentId = 'network-a';
  const exchange = world.principal(agentId);
  const { trust, clock } = world;
  const claims = () => nothingAdvertised;
  const isLockedOut = () => false;
  const ports = { agentId, exchange, subjects, trust, crypto, clock, log: quiet };
  const negotiator = new Negotiator({ ...ports, claims, isLockedOut });
  const [operator, orchestrator] = [world.principal('op-1'), world.principal('orchestrator-a')];
  const channel = 'mesh';
  for (let count = 0; count < openNegotiationsMax + 4; count += 1) {
    const negotiationId = `n-${count}`;
    const wish = { negotiationId, client: agentId, server: 'phi-a', constraints: {} };
    const asked = operator.seal({
      type: 'negotiation-requested',
      subject: subjects.request('op-1'),
      channel: 'operators',
      body: wish,
    });
    const body = { ...wish, request: asked.hash, evidence: asked.disclosure };
    const subject = subjects.negotiation(negotiationId);
    const opened = orchestrator.seal({ type: 'negotiation-opened', subject, channel, body });
    const event: AnyReceivedEvent | undefined = exchange.openRecord(opened.frame);
    if (event?.type !== 'negotiation-opened') throw new Error('not an opening');
    await negotiator.hear(event);
  }
  const { lastSequence } = await world.bus('auditor').streamState('GYRE_CONTROL');
  expect(lastSequence).toBe(openNegotiationsMax);
});
