/** Refusals of JetStream by number: what is worth another attempt, and what may have been stored. */
import { describe, expect, it } from 'vitest';
import { isTransient } from '#shared/bus/asking.ts';
import { apiFault } from '#shared/bus/nats-errors.ts';

describe('a refusal of JetStream', () => {
  it.each([
    ['another attempt of the message is under way', 10158, 409, 'BUS_TIMEOUT'],
    ['the queue of the leader is full', 10167, 429, 'BUS_NO_RESPONDER'],
    ['no leader yet', 10008, 503, 'BUS_NO_RESPONDER'],
  ])('is worth another attempt: %s', (_, errCode, status, code) => {
    const fault = apiFault({ errCode, status });
    expect(fault.code).toBe(code);
    expect(isTransient(fault)).toBe(true);
  });

  it.each([
    ['the stream is full', 10077, 503, 'BUS_FULL'],
    ['no room on the server', 10023, 503, 'BUS_FULL'],
    ['the message is too large', 10054, 400, 'BUS_REJECTED'],
  ])('is final for now: %s', (_, errCode, status, code) => {
    const fault = apiFault({ errCode, status });
    expect(fault.code).toBe(code);
    expect(isTransient(fault)).toBe(false);
  });
});
