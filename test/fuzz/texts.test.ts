/**
 * Texts that people, documents and the bus hand over: subjects, triggers, schedules, moments, arguments
 * of the command line, files of it. A parser gives a value or says no in its own way; what it gives can be
 * written again where there is a writer.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { parseRootDigest } from '#cli/audit/commands.ts';
import { parseWhole } from '#cli/context.ts';
import { parseChange, withChanges } from '#cli/documents/changes.ts';
import { checkedDraft, documentKinds, readDraft, readJson } from '#cli/documents/draft.ts';
import { CliFault } from '#cli/fault.ts';
import { layoutOf } from '#cli/mesh/layout.ts';
import { findMesh } from '#cli/mesh/mesh-file.ts';
import { readBundle } from '#cli/mesh/nats-config.ts';
import { readProcesses, runningSupervisor } from '#cli/mesh/supervisor-record.ts';
import { parseNatsVersion, parseSetupRecord } from '#cli/mesh/tools.ts';
import { parseAgentId, parseConstraints, parseNegotiationId } from '#cli/negotiation/arguments.ts';
import {
  parseLayers,
  parsePlanId,
  parseReason,
  parseRotationType,
  parseWindow,
} from '#cli/rotation/arguments.ts';
import { verifyProofFile } from '#cli/telemetry/actions.ts';
import { Instant } from '#schemas/document.ts';
import { compile } from '#schemas/primitives.ts';
import { isSchedule, nextOccurrence, occursWithin } from '#schemas/schedule.ts';
import { streamOf, subjectMatches, subjectsOf } from '#shared/bus/subjects.ts';
import { formatInstant, instantMs } from '#shared/core/instant.ts';
import { evaluateTrigger, parseTrigger } from '#shared/core/triggers.ts';
import { jsonText } from './inputs.ts';
import { alteredOf } from './alterations.ts';
import { timeoutMs, tries } from './runs.ts';

const options = { timeout: timeoutMs };
const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.string({ unit: 'grapheme', maxLength: 60 }),
  fc.string({ minLength: 1_000, maxLength: 3_000 }),
  fc.constantFrom('', ' ', '__proto__', 'constructor', 'toString', '\ud800', '\ufeff'),
);
/** Words of a grammar in any order, with something odd between them now and then. */
const wordsOf = (words: readonly string[]) =>
  fc
    .array(fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...words) }, anyText), { maxLength: 9 })
    .map((found) => found.join(''));

describe('texts in documents and on the bus', options, () => {
  test('subjects', () => {
    const subjects = subjectsOf('test');
    const words =
      'gyre v1 test saga rotation epoch step report telemetry query 1 8 a-b . > *'.split(' ');
    const text = fc.oneof(
      wordsOf(words),
      wordsOf(words).map((rest) => `gyre.v1.test.${rest}`),
    );
    fc.assert(
      fc.property(text, (subject) => {
        const address = subjects.parse(subject);
        const stream = streamOf(subjects, subject);
        if (address === null) expect(stream).toBeNull();
        else expect(subject).toMatch(/^[A-Za-z0-9_.-]+$/);
        expect(typeof subjectMatches(subject, subject)).toBe('boolean');
      }),
      tries(1_500),
    );
    expect(subjects.parse(subjects.step(1, 'identity-a'))).toMatchObject({ kind: 'step' });
  });

  test('triggers', () => {
    const words = [
      'rotation_failure_count',
      'error_rate',
      ' ',
      '<',
      '>=',
      '==',
      '3',
      '99.5',
      '%',
      '-',
    ];
    fc.assert(
      fc.property(wordsOf(words), (text) => {
        const parsed = parseTrigger(text);
        if (!parsed.ok) {
          expect(parsed.code).toMatch(
            /^(?:TRIGGER_(?:TOO_LONG|MALFORMED)|MEASUREMENT_UNKNOWN|UNIT_MISMATCH)$/,
          );
          return;
        }
        const { trigger } = parsed;
        expect(evaluateTrigger(trigger, {})).toBe('unknown');
        if ('limit' in trigger) expect(Number.isFinite(trigger.limit)).toBe(true);
      }),
      tries(1_500),
    );
    expect(parseTrigger('error_rate > 1%').ok).toBe(true);
  });

  test('schedules', () => {
    const part = fc.oneof(
      fc.constantFrom(
        '*',
        '0',
        '59',
        '31',
        '2',
        '*/7',
        '1-5',
        'L',
        '31W',
        'MON#5',
        '?',
        '5,6',
        '0-59/1',
      ),
      fc.string({ maxLength: 8 }),
      fc.integer({ min: -5, max: 400 }).map(String),
    );
    const expression = fc.oneof(
      anyText,
      fc.array(part, { minLength: 5, maxLength: 5 }).map((parts) => parts.join(' ')),
    );
    fc.assert(
      fc.property(expression, fc.integer({ min: 0, max: 4e12 }), (text, afterMs) => {
        const next = nextOccurrence(text, afterMs);
        expect(isSchedule(text, afterMs)).toBe(next !== undefined);
        if (next === undefined) return;
        expect(next).toBeGreaterThan(afterMs);
        expect(occursWithin(text, { startMs: afterMs + 1, endMs: next + 1 })).toBe(true);
      }),
      tries(250),
    );
    for (const never of ['0 0 31 2 *', '0 : 0 0 0', '12:00 * * * *']) {
      expect(isSchedule(never, 0)).toBe(false);
    }
  });

  test('moments', () => {
    const check = compile(Instant());
    const two = fc.integer({ min: 0, max: 99 }).map((value) => String(value).padStart(2, '0'));
    const instant = fc
      .tuple(
        fc.constantFrom('0000', '1969', '1970', '2026', '2028', '9999'),
        two,
        two,
        two,
        two,
        two,
      )
      .map(
        ([year, month, day, hour, minute, second]) =>
          `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`,
      );
    const moment = fc.integer({ min: 0, max: 253_402_300_799_999 }).map(formatInstant);
    fc.assert(
      fc.property(fc.oneof(anyText, instant, moment), (text) => {
        if (!check.check(text)) return;
        expect(formatInstant(instantMs(text))).toBe(text);
      }),
      tries(2_000),
    );
    expect(check.check('2028-02-29T00:00:00.000Z')).toBe(true);
    expect(check.check('2026-02-29T00:00:00.000Z')).toBe(false);
  });
});

/** The value, or undefined for what is a fault of the command line. */
function valueOf<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    expect(error).toBeInstanceOf(CliFault);
    return undefined;
  }
}

describe('arguments', options, () => {
  const bounds = { name: '--x', min: 1, max: 9 };
  const words = [
    '1',
    '7',
    '-',
    ',',
    '1-7',
    'max-handshake-ms',
    '=',
    '.',
    '/',
    'Z',
    '2030-01-31T01:00:00Z',
    ' ',
  ];

  test('of every command', () => {
    fc.assert(
      fc.property(fc.oneof(anyText, wordsOf(words)), (text) => {
        const layers = valueOf(() => parseLayers(text)) ?? [];
        expect(layers.every((layer) => layer >= 1 && layer <= 7)).toBe(true);
        expect(valueOf(() => parseWhole(text, bounds)) ?? 1).toBeLessThanOrEqual(9);
        const window = valueOf(() => parseWindow(text, 0));
        if (window !== undefined) expect(window.startMs).toBeLessThan(window.endMs);
        expect(valueOf(() => parseReason(text)) ?? text).toBe(text);
        expect(valueOf(() => parsePlanId(text)) ?? text).toBe(text);
        expect(valueOf(() => parseAgentId(text)) ?? text).toBe(text);
        expect(valueOf(() => parseNegotiationId(text)) ?? text).toBe(text);
        expect(valueOf(() => parseRotationType(text)) ?? text).toBe(text);
        expect(valueOf(() => parseRootDigest(text)) ?? text.toLowerCase()).toBe(text.toLowerCase());
        const constraints = valueOf(() => parseConstraints([text, text])) ?? {};
        expect(Object.keys(constraints)).toHaveLength(0);
        expect(parseNatsVersion(text) ?? '1.2.3').toMatch(/^\d+\.\d+\.\d+$/);
        expect(Object.keys(parseSetupRecord(text)).every((name) => /^[A-Z_]+$/.test(name))).toBe(
          true,
        );
      }),
      tries(700),
    );
    expect(parseLayers('1,4-6')).toEqual([1, 4, 5, 6]);
  });

  test('changes of documents', () => {
    const body = { kind: 'policy', policies: { a: 1, list: [{ name: 'x', b: 2 }] } };
    const names = [
      'policies',
      '.',
      'a',
      'list',
      'x',
      '0',
      'b',
      '__proto__',
      'constructor',
      '=',
      '1',
      '{}',
      '[',
    ];
    fc.assert(
      fc.property(wordsOf(names), (text) => {
        const before = JSON.stringify(body);
        const change = valueOf(() => parseChange(text));
        if (change !== undefined) valueOf(() => withChanges(body, [change]));
        expect(JSON.stringify(body)).toBe(before);
        expect(({} as Record<string, unknown>)['a']).toBeUndefined();
      }),
      tries(1_000),
    );
    expect(withChanges(body, [parseChange('policies.a=2')])).toMatchObject({ policies: { a: 2 } });
  });
});

describe('files of the command line', options, () => {
  const root = mkdtempSync(join(tmpdir(), 'gyre-fuzz-cli-'));
  const layout = layoutOf(root);
  afterAll(() => rmSync(root, { recursive: true }));
  const mesh = {
    version: 1,
    mesh: 'test',
    rootDigest: 'ab'.repeat(32),
    port: 4222,
    token: 'file',
    adminNkey: `U${'A'.repeat(55)}`,
    createdAtMs: 1,
    operators: ['op-1'],
    agents: ['auditor'],
  };
  const valid = [mesh, { processes: [] }, { pid: 1, mark: 'x' }, { body: {}, signatures: [] }];
  const texts = fc.oneof(
    jsonText,
    alteredOf<unknown>(valid).map((value) => JSON.stringify(value)),
  );

  test('are read, or are a fault', async () => {
    const { meshFile, processesFile, lockFile, bundleFile } = layout;
    for (const path of [meshFile, processesFile, lockFile, bundleFile])
      mkdirSync(dirname(path), { recursive: true });
    await fc.assert(
      fc.asyncProperty(texts, fc.constantFrom(...documentKinds), async (text, kind) => {
        for (const path of [meshFile, processesFile, lockFile, bundleFile])
          writeFileSync(path, text);
        const readings = await Promise.allSettled([
          findMesh(root),
          readJson(meshFile),
          readDraft(meshFile, kind),
          readBundle(layout),
          verifyProofFile(meshFile, mesh.rootDigest),
          Promise.resolve().then(() => checkedDraft(JSON.parse('1'), kind, 'x')),
        ]);
        for (const reading of readings) {
          if (reading.status === 'rejected') expect(reading.reason).toBeInstanceOf(CliFault);
        }
        // Hints: what cannot be read is none.
        expect(Array.isArray(await readProcesses(layout))).toBe(true);
        await runningSupervisor(layout);
      }),
      tries(120),
    );
    writeFileSync(meshFile, JSON.stringify(mesh));
    expect(await findMesh(root)).toEqual(mesh);
  });
});
