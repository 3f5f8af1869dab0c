import { describe, expect, test } from 'vitest';
import { CliFault } from '#cli/fault.ts';
import { contextOf, parseWhole } from '#cli/context.ts';
import { Output } from '#cli/output.ts';
import {
  checkWindowStart,
  parseLayers,
  parsePlanId,
  parseReason,
  parseRotationType,
  parseWindow,
} from '#cli/rotation/arguments.ts';

function usage(run: () => unknown): CliFault {
  try {
    run();
  } catch (error) {
    if (error instanceof CliFault) {
      expect(error).toMatchObject({ code: 'USAGE', exitCode: 2 });
      expect(error.hint).not.toBe('');
      return error;
    }
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('layers', () => {
  test.each([
    ['1-7', [1, 2, 3, 4, 5, 6, 7]],
    ['3', [3]],
    ['1,3', [1, 3]],
    ['5, 1-2', [1, 2, 5]],
    ['2,2,1-3', [1, 2, 3]],
  ])('%s', (text, layers) => expect(parseLayers(text)).toEqual(layers));

  test.each(['', '0', '8', '9', '1-8', '7-1', 'a', '1,,2', '1-', '-1', '1.5', '99999999999'])(
    '%j is refused',
    (text) => expect(usage(() => parseLayers(text)).exitCode).toBe(2),
  );

  test('what there is instead is said', () => {
    expect(usage(() => parseLayers('9'))).toMatchObject({ reason: 'there is no layer 9' });
    expect(usage(() => parseLayers('9')).hint).toContain('1 identity');
  });
});

test('rotation types', () => {
  expect(parseRotationType('emergency')).toBe('emergency');
  usage(() => parseRotationType('weekly'));
});

describe('windows', () => {
  test('two moments', () => {
    expect(parseWindow('2030-01-31T01:00:00Z/2030-01-31T05:00:00+02:00')).toEqual({
      startMs: Date.UTC(2030, 0, 31, 1),
      endMs: Date.UTC(2030, 0, 31, 3),
    });
  });
  test.each([
    '2030-01-31T01:00:00Z',
    '2030-01-31T05:00:00Z/2030-01-31T01:00:00Z',
    '2030-01-31/2030-02-01',
    '2030-01-31T01:00:00/2030-01-31T05:00:00',
    '2030-13-31T01:00:00Z/2031-01-31T05:00:00Z',
    'a/b',
    '2030-01-31T01:00:00Z/2030-01-31T05:00:00Z/2030-01-31T06:00:00Z',
  ])('%s is refused', (text) => expect(usage(() => parseWindow(text)).exitCode).toBe(2));

  test('one that is over is refused, one that is open is not', () => {
    const text = '2030-01-31T01:00:00Z/2030-01-31T05:00:00Z';
    const endMs = Date.UTC(2030, 0, 31, 5);
    usage(() => parseWindow(text, endMs));
    expect(parseWindow(text, endMs - 1).endMs).toBe(endMs);
  });

  test('one that opens after the plan has expired names the latest start', () => {
    const nowMs = Date.UTC(2030, 0, 31);
    const planValidMs = 24 * 3_600_000;
    const windowAt = (startMs: number) => ({ startMs, endMs: startMs + 3_600_000 });
    const fault = usage(() =>
      checkWindowStart(windowAt(nowMs + planValidMs), { nowMs, planValidMs }),
    );
    expect(fault.reason).toContain('24 h');
    expect(fault.hint).toContain('2030-02-01T00:00:00.000Z');
    checkWindowStart(windowAt(nowMs + planValidMs - 1), { nowMs, planValidMs });
  });
});

test('reasons are bounded and printable', () => {
  expect(parseReason('quarterly, näch Plan')).toBe('quarterly, näch Plan');
  for (const bad of ['', 'x'.repeat(501), 'bell\u0007']) usage(() => parseReason(bad));
});

test('ids of plans cannot reach further than a token', () => {
  expect(parsePlanId('rot-0123')).toBe('rot-0123');
  for (const bad of ['', 'rot.1', 'rot *', '../x', '-x', 'x'.repeat(65)]) {
    usage(() => parsePlanId(bad));
  }
});

test('whole numbers in bounds', () => {
  const bounds = { name: '--port', min: 0, max: 65_535 };
  expect(parseWhole('65535', bounds)).toBe(65_535);
  for (const bad of ['', '-1', '1.5', '65536', '0x10', '1e3', ' 1']) {
    usage(() => parseWhole(bad, bounds));
  }
});

describe('what all commands share', () => {
  const sink = { write: () => true };
  const output = new Output({ json: false, stdout: sink, stderr: sink });

  test('--dir goes before GYRE_DIR, and .gyre is the default', () => {
    const root = (options: object, environment: Record<string, string>) =>
      contextOf(options, output, environment).layout.root;
    expect(root({ dir: '/a' }, { GYRE_DIR: '/b' })).toBe('/a');
    expect(root({}, { GYRE_DIR: '/b' })).toBe('/b');
    expect(root({}, { GYRE_DIR: '' })).toMatch(/\/\.gyre$/);
  });

  test('the operator is op-1 unless told, and time is bounded', () => {
    expect(contextOf({}, output, {})).toMatchObject({ operatorId: 'op-1', timeoutMs: 120_000 });
    expect(contextOf({ as: 'op-2', timeout: '5' }, output, {})).toMatchObject({
      operatorId: 'op-2',
      timeoutMs: 5,
    });
    usage(() => contextOf({ timeout: 'soon' }, output, {}));
  });
});
