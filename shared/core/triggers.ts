/**
 * Trigger expressions: `rotation_failure_count > 3`, `service_availability < 99%`,
 * `incompatibility_detected`. A closed set of measurements, one comparison each, and nothing that
 * is executed. A measurement that is not there makes the expression `unknown`, never false: what
 * that means is for the one who asks to say.
 */

/** What can be measured, and in which unit it is compared. */
const units = {
  rotation_failure_count: 'count',
  service_availability: 'percent',
  error_rate: 'percent',
  performance_degradation: 'percent',
  incompatibility_detected: 'fact',
} as const;

export type Measurement = keyof typeof units;
export type TriggerOperator = '<' | '<=' | '>' | '>=' | '==';

export type Trigger =
  | {
      readonly measurement: Measurement;
      readonly operator: TriggerOperator;
      readonly limit: number;
    }
  | { readonly measurement: 'incompatibility_detected' };

export type TriggerFault =
  'TRIGGER_TOO_LONG' | 'TRIGGER_MALFORMED' | 'MEASUREMENT_UNKNOWN' | 'UNIT_MISMATCH';

export type TriggerParse =
  | { readonly ok: true; readonly trigger: Trigger }
  | { readonly ok: false; readonly code: TriggerFault };

/** Measured values; percentages from 0 to 100, absent where there were not enough samples. */
export type Measurements = {
  readonly [Name in Measurement]?: Name extends 'incompatibility_detected' ? boolean : number;
};

export const triggerCharsMax = 128;

const shape = /^\s*([a-z_]{1,64})(?:\s*(<=|>=|==|<|>)\s*(\d{1,9}(?:\.\d{1,3})?)(%?))?\s*$/;

export function parseTrigger(expression: string): TriggerParse {
  if (expression.length > triggerCharsMax) return { ok: false, code: 'TRIGGER_TOO_LONG' };
  const parts = shape.exec(expression);
  if (parts === null) return { ok: false, code: 'TRIGGER_MALFORMED' };
  const [, name = '', operator, limit, percent] = parts;
  if (!isMeasurement(name)) return { ok: false, code: 'MEASUREMENT_UNKNOWN' };
  const unit = operator === undefined ? 'fact' : percent === '%' ? 'percent' : 'count';
  if (unit !== units[name]) return { ok: false, code: 'UNIT_MISMATCH' };
  if (name === 'incompatibility_detected') return { ok: true, trigger: { measurement: name } };
  return {
    ok: true,
    trigger: {
      measurement: name,
      operator: operator as TriggerOperator,
      limit: Number(limit),
    },
  };
}

export function evaluateTrigger(
  trigger: Trigger,
  measurements: Measurements,
): 'holds' | 'does-not-hold' | 'unknown' {
  const value = measurements[trigger.measurement];
  if (value === undefined || Number.isNaN(value)) return 'unknown';
  if (!('operator' in trigger)) return value === true ? 'holds' : 'does-not-hold';
  return compare(Number(value), trigger.operator, trigger.limit) ? 'holds' : 'does-not-hold';
}

function compare(value: number, operator: TriggerOperator, limit: number): boolean {
  switch (operator) {
    case '<':
      return value < limit;
    case '<=':
      return value <= limit;
    case '>':
      return value > limit;
    case '>=':
      return value >= limit;
    case '==':
      return value === limit;
  }
}

function isMeasurement(name: string): name is Measurement {
  return Object.hasOwn(units, name);
}
