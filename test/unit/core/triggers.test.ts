import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { evaluateTrigger, parseTrigger, type Measurements } from '#shared/core/triggers.ts';

function evaluate(expression: string, measurements: Measurements) {
  const parsed = parseTrigger(expression);
  if (!parsed.ok) throw new Error(parsed.code);
  return evaluateTrigger(parsed.trigger, measurements);
}

describe('trigger expressions', () => {
  it.each([
    ['rotation_failure_count > 3', { rotation_failure_count: 4 }, 'holds'],
    ['rotation_failure_count > 3', { rotation_failure_count: 3 }, 'does-not-hold'],
    ['rotation_failure_count >= 3', { rotation_failure_count: 3 }, 'holds'],
    ['rotation_failure_count == 0', { rotation_failure_count: 0 }, 'holds'],
    ['service_availability < 99%', { service_availability: 98.9 }, 'holds'],
    ['service_availability <= 99.5%', { service_availability: 99.5 }, 'holds'],
    ['service_availability < 99%', { service_availability: 99 }, 'does-not-hold'],
    ['error_rate > 1%', { error_rate: 1.01 }, 'holds'],
    ['error_rate>1%', { error_rate: 1 }, 'does-not-hold'],
    ['performance_degradation > 50%', { performance_degradation: 51 }, 'holds'],
    ['incompatibility_detected', { incompatibility_detected: true }, 'holds'],
    ['incompatibility_detected', { incompatibility_detected: false }, 'does-not-hold'],
    ['error_rate > 1%', {}, 'unknown'],
    ['incompatibility_detected', {}, 'unknown'],
    ['error_rate > 1%', { error_rate: Number.NaN }, 'unknown'],
  ] as const)('%s with %o: %s', (expression, measurements, result) => {
    expect(evaluate(expression, measurements)).toBe(result);
  });

  it.each([
    ['', 'TRIGGER_MALFORMED'],
    ['error_rate >', 'TRIGGER_MALFORMED'],
    ['error_rate > 1% or true', 'TRIGGER_MALFORMED'],
    ['error_rate => 1%', 'TRIGGER_MALFORMED'],
    ['error_rate > -1%', 'TRIGGER_MALFORMED'],
    ['error_rate > 1e9%', 'TRIGGER_MALFORMED'],
    ['constructor > 1', 'MEASUREMENT_UNKNOWN'],
    ['cpu_load > 1%', 'MEASUREMENT_UNKNOWN'],
    ['error_rate > 1', 'UNIT_MISMATCH'],
    ['error_rate', 'UNIT_MISMATCH'],
    ['rotation_failure_count > 3%', 'UNIT_MISMATCH'],
    ['incompatibility_detected > 1', 'UNIT_MISMATCH'],
    [`error_rate > 1%${' '.repeat(200)}`, 'TRIGGER_TOO_LONG'],
  ] as const)('does not read %j: %s', (expression, code) => {
    expect(parseTrigger(expression)).toEqual({ ok: false, code });
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }), (expression) => {
        expect(typeof parseTrigger(expression).ok).toBe('boolean');
      }),
    );
  });
});
