/** What `gyre negotiate` takes and prints. */
import { expect, test } from 'vitest';
import { parseAgentId, parseConstraints, parseNegotiationId } from '#cli/negotiation/arguments.ts';
import { renderNegotiation } from '#cli/negotiation/render.ts';
import { negotiationResult } from '#cli/negotiation/result.ts';
import { plainStyle } from '#cli/style.ts';
import { NegotiationLog } from '#shared/core/negotiation-log.ts';
import { advertised, altered, digest, opened, rules } from '../core/negotiation-stage.ts';

test('constraints are names with values, each once', () => {
  expect(parseConstraints([])).toEqual({});
  expect(parseConstraints(['max-signature-bytes=5000', 'max-handshake-ms=20'])).toEqual({
    maxSignatureBytes: 5000,
    maxHandshakeMs: 20,
  });
  for (const texts of [
    ['max-signature-bytes'],
    ['max-signature-bytes=0'],
    ['max-signature-bytes=1e3'],
    ['max-signature-bytes=1=2'],
    ['toString=1'],
    ['max-handshake-ms=1', 'max-handshake-ms=2'],
  ]) {
    expect(() => parseConstraints(texts)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  }
});

test('names of agents and negotiations are checked before anything is asked', () => {
  expect(parseAgentId('network-a')).toBe('network-a');
  expect(parseNegotiationId('neg-0123')).toBe('neg-0123');
  expect(() => parseAgentId('Network A')).toThrow(expect.objectContaining({ code: 'USAGE' }));
  expect(() => parseNegotiationId('a.b')).toThrow(expect.objectContaining({ code: 'USAGE' }));
});

test('a result shows algorithms, hashes, events and what had no effect', () => {
  const log = new NegotiationLog('n-1', rules());
  expect(negotiationResult(log)).toBeUndefined();
  const later = altered(advertised('client'), { hash: digest('x') });
  for (const [place, event] of [
    opened,
    advertised('client'),
    later,
    advertised('server'),
  ].entries()) {
    log.add(event, place + 1);
  }
  const result = negotiationResult(log);
  if (result === undefined) throw new Error('no result');
  expect(result.transcript?.negotiationHash).toMatch(/^[0-9a-f]{128}$/);
  const text = renderNegotiation(result, plainStyle);
  expect(text).toContain('encryption-a and database-a: advertised');
  expect(text).toContain('ML-DSA-87');
  const hash = result.transcript?.clientCapabilitiesHash ?? '';
  expect(text).toContain(hash.slice(0, 64));
  expect(text).toContain(hash.slice(64));
  expect(text).toContain('the first advertisement of encryption-a stands');
});
