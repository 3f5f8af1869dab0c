import { describe, expect, test } from 'vitest';
import { gridSteps, type GridStatus, type GridStep } from '#shared/core/rotation/grid.ts';
import { renderFindings } from '#cli/doctor/commands.ts';
import { Output } from '#cli/output.ts';
import { progressOf } from '#cli/rotation/progress.ts';
import {
  approvalLines,
  renderChanges,
  renderDryRun,
  renderGrid,
  renderList,
  renderPlan,
  renderResult,
  standingText,
} from '#cli/rotation/render.ts';
import type { GridView } from '#cli/rotation/render.ts';
import { waitsFor } from '#cli/rotation/holding.ts';
import { exitCodeOf, type RotationResult } from '#cli/rotation/result.ts';
import { plainStyle, span, styleOf, table, typed, width, words } from '#cli/style.ts';
import type { RotationDetails } from '#cli/answers.ts';

const colours = styleOf(true);

function view(phase: GridView['phase'], steps: Partial<Record<GridStep, GridStatus>>): GridView {
  const row = Object.fromEntries(gridSteps.map((step) => [step, steps[step] ?? 'waiting']));
  const grid = [
    { layer: 1 as const, name: 'identity', steps: row },
    { layer: 4 as const, name: 'encryption', steps: row },
  ];
  const plan = { body: { timing: { soak_ms: 30_000, overlap_ms: 3_600_000 } } };
  const atMs = Date.UTC(2027, 0, 15, 12);
  return { planId: 'rot-1', phase, grid: grid as unknown as GridView['grid'], atMs, plan };
}

describe('the grid', () => {
  test('one row per layer, one column per step', () => {
    const text = renderGrid(
      view('activating', { prepare: 'done', activate: 'running' }),
      plainStyle,
    );
    expect(text).toBe(
      [
        'rot-1  activating',
        '     layer       prepare  accept  activate  verify  commit  retire  rollback',
        '  1  identity    ✔        ·       ▸         ·       ·       ·       ·',
        '  4  encryption  ✔        ·       ▸         ·       ·       ·       ·',
      ].join('\n'),
    );
  });

  test('colours change nothing but colours', () => {
    const grid = view('rolling_back', { activate: 'failed', commit: 'skipped', prepare: 'done' });
    const coloured = renderGrid(grid, colours);
    expect(coloured).not.toBe(renderGrid(grid, plainStyle));
    // oxlint-disable-next-line no-control-regex -- colours are what is taken away
    expect(coloured.replaceAll(/\u001b\[\d+m/g, '')).toBe(renderGrid(grid, plainStyle));
  });
});

describe('lines of progress', () => {
  test('the first look tells where it stands', () => {
    expect(renderChanges(undefined, view('preparing', { prepare: 'running' }))).toEqual([
      'rot-1: preparing',
    ]);
  });

  test('what a phase waits for that shows nothing is told, and until when', () => {
    expect(renderChanges(view('activating', {}), view('soaking', {}))).toEqual([
      'rot-1: soaking for 30.0 s, until 12:00:30Z: triggers are watched before the commit',
    ]);
    expect(renderChanges(view('soaking', {}), view('committed', {}))).toEqual([
      'rot-1: committed; old keys stay valid for 1 h, until 13:00:00Z',
    ]);
    expect(renderGrid(view('soaking', {}), plainStyle)).toContain('until 12:00:30Z');
  });

  test('each outcome is told once', () => {
    const before = view('preparing', { prepare: 'running' });
    const after = view('activating', { prepare: 'done', accept: 'done', activate: 'running' });
    expect(renderChanges(before, after)).toEqual([
      'rot-1: layer 1 identity: prepare done',
      'rot-1: layer 1 identity: accept done',
      'rot-1: layer 4 encryption: prepare done',
      'rot-1: layer 4 encryption: accept done',
    ]);
    expect(renderChanges(after, after)).toEqual([]);
  });

  test('a failure and the way back', () => {
    const before = view('activating', { activate: 'running' });
    const after = view('rolling_back', { activate: 'failed', commit: 'skipped' });
    expect(renderChanges(before, after)).toEqual([
      'rot-1: layer 1 identity: activate failed',
      'rot-1: layer 4 encryption: activate failed',
      'rot-1: rolling back',
    ]);
  });

  const held = (phase: GridView['phase'], uses: number): GridView => {
    const slot = {
      slot: '3/tls-certificate',
      checkpoint: { keyId: 'a'.repeat(64), version: 1 },
      candidate: { keyId: 'b'.repeat(64), version: 2 },
      heldBy: uses === 0 ? [] : [{ agentId: 'network-a', uses }],
    };
    const decidedAtMs = Date.UTC(2027, 0, 15, 11, 30);
    return { ...view(phase, {}), state: { decidedAtMs, slots: [slot] } };
  };
  const user = 'the old key of 3/tls-certificate (v1) stays for now: 2 uses at network-a';

  test('who still uses an old key is told when it is known, and not again', () => {
    expect(renderChanges(held('retiring', 0), held('retiring', 2))).toEqual([`rot-1: ${user}`]);
    expect(renderChanges(held('retiring', 2), held('retiring', 2))).toEqual([]);
    expect(renderGrid(held('retiring', 2), plainStyle).split('\n').at(-1)).toBe(`  ${user}`);
  });

  test('whoever stops watching is told what the rotation waits for', () => {
    expect(waitsFor(held('retiring', 2))).toBe(`rot-1 is still retiring: ${user}`);
    // From the decision on, whatever came after it.
    expect(waitsFor(held('committed', 0))).toBe(
      'rot-1 is still committed; old keys stay valid for 1 h, until 12:30:00Z',
    );
  });

  test('on a terminal the grid is drawn over itself, elsewhere lines are written', () => {
    const drawn = { isTTY: true, text: '', write: (text: string) => (drawn.text += text) };
    const sink = { isTTY: false, text: '', write: (text: string) => (sink.text += text) };
    const details = view('preparing', { prepare: 'running' }) as unknown as RotationDetails;
    const terminal = new Output({ json: false, stdout: sink, stderr: drawn, noColor: '1' });
    const watch = progressOf(terminal);
    watch(details);
    const lines = drawn.text.split('\n').length - 1;
    watch(details);
    expect(drawn.text).toContain(`\u001b[${lines}A`);
    expect(sink.text).toBe('');
    const json = new Output({ json: true, stdout: sink, stderr: drawn });
    drawn.text = '';
    progressOf(json)(details);
    expect(drawn.text).toBe('rot-1: preparing\n');
  });
});

const result: RotationResult = {
  planId: 'rot-1',
  planDigest: 'd'.repeat(64),
  phase: 'rolled_back',
  rotationType: 'scheduled',
  sequence: [1],
  dependentLayers: [],
  requestedBy: 'op-1',
  approvals: ['op-2'],
  approvalsRequired: 1,
  estimatedDurationMs: 1_300,
  window: { start: '2029-01-01T00:00:00.000Z', end: '2030-01-01T00:00:00.000Z' },
  expiresAt: '2030-01-01T00:00:00.000Z',
  slots: [
    { slot: '1/a', layer: 1, old: { keyId: 'a'.repeat(64), version: 1 } },
    {
      slot: '1/b',
      layer: 1,
      old: { keyId: 'b'.repeat(64), version: 1 },
      new: { keyId: 'c'.repeat(64), version: 2 },
    },
  ],
  timings: { executeToRolledBackMs: 842 },
  failure: { code: 'ORCH-8005', reason: 'layer 5 refused' },
};

test('a result says why it went back, and which keys there were', () => {
  expect(renderResult(result, plainStyle)).toBe(
    [
      'rot-1  rolled back in 842 ms',
      '  ORCH-8005 layer 5 refused',
      '  1/a  aaaaaaaaaaaaaaaa v1  no new key',
      '  1/b  bbbbbbbbbbbbbbbb v1  →           cccccccccccccccc v2',
    ].join('\n'),
  );
  const turned = { ...result, slots: [], timings: { executeToCommittedMs: 842 } };
  const headOf = (phase: RotationResult['phase']): string | undefined =>
    renderResult({ ...turned, phase }, plainStyle).split('\n')[0];
  expect(headOf('committed')).toBe('rot-1  committed in 842 ms');
  expect(headOf('retired')).toBe('rot-1  retired, committed in 842 ms');
  expect(renderDryRun({ ...result, approvals: [], approvalsRequired: 1 }, plainStyle)).toContain(
    'it needs 1 more approval',
  );
});

test('what holds up a key that is to go is said where rotations are seen', () => {
  const heldBy = [{ agentId: 'identity-a', uses: 3 }];
  const slots = result.slots.map((slot) => (slot.slot === '1/b' ? { ...slot, heldBy } : slot));
  const lines = (phase: RotationResult['phase']) =>
    renderResult({ ...result, phase, slots, timings: {} }, plainStyle).split('\n');
  expect(lines('retiring').at(-1)).toBe(
    '  the old key of 1/b (v1) stays for now: 3 uses at identity-a',
  );
  expect(lines('rolled_back').at(-1)).toBe(
    '  the withdrawn key of 1/b (v2) stays for now: 3 uses at identity-a',
  );
  const standing = { phase: 'retiring', usesLeft: 1 } as const;
  expect(standingText(standing)).toBe('retiring: 1 use of keys that are to go');
  expect(standingText({ phase: 'retiring' })).toBe('retiring');
});

test.each([
  ['/tmp/mesh-1.a', '/tmp/mesh-1.a'],
  ['/a b', "'/a b'"],
  ["/it's", "'/it'\\''s'"],
])('%s is typed as %s', (path, text) => expect(typed(path)).toBe(text));

test('an empty list says how to begin', () => {
  expect(renderList([], plainStyle)).toContain('gyre rotation plan');
});

test('the exit code follows the phase', () => {
  expect(
    (['committed', 'retired', 'rolled_back', 'locked_out', 'refused'] as const).map(exitCodeOf),
  ).toEqual([0, 0, 7, 8, 1]);
});

test('findings say what to do', () => {
  const findings = [
    { check: 'node', verdict: 'ok', found: 'Node.js 26' },
    { check: 'disk', verdict: 'fail', found: 'full', hint: 'Free some room.' },
  ] as const;
  expect(renderFindings(findings, plainStyle)).toBe(
    'ok    node  Node.js 26\nfail  disk  full\n            Free some room.',
  );
});

describe('colours', () => {
  const sink = { isTTY: true, write: () => true };
  const style = (noColor?: string, isTTY = true) =>
    new Output({ json: false, stdout: { ...sink, isTTY }, stderr: sink, noColor }).style.good('x');

  test('only on a terminal, and not under NO_COLOR', () => {
    expect(style()).toBe('\u001b[32mx\u001b[0m');
    expect(style('')).toBe('\u001b[32mx\u001b[0m');
    expect(style('1')).toBe('x');
    expect(style(undefined, false)).toBe('x');
  });
});

test('identifiers are read as words', () => {
  expect(words('locked_out')).toBe('locked out');
  expect(words('retired')).toBe('retired');
});

test('columns line up whatever the colours', () => {
  expect(
    table(
      [
        [colours.good('a'), 'b'],
        ['ccc', 'd'],
      ],
      1,
    )
      .split('\n')
      .map(width),
  ).toEqual([7, 7]);
});

test.each([
  [0.4, '0 ms'],
  [842, '842 ms'],
  [12_340, '12.3 s'],
  [250_000, '4 min 10 s'],
  [86_400_000, '24 h'],
  [5_430_000, '1 h 31 min'],
])('%d ms is %s', (ms, text) => expect(span(ms)).toBe(text));

const together = {
  ...result,
  phase: 'validated',
  sequence: [1, 2],
  dependentLayers: [
    { layer: 2, turnedWith: 1, reason: 'capability keys are certified by identity keys' },
  ],
} satisfies RotationResult;
const why =
  'layer 2 (authorization) is turned with layer 1: capability keys are certified by identity keys';

test('layers that are turned because of others are told with the reason, before it is signed too', () => {
  expect(renderPlan(together, plainStyle).split('\n')).toContain(`            ${why}`);
  expect(approvalLines(together)).toEqual([
    'approving rot-1: 2 slots of layers 1 identity → 2 authorization',
    why,
  ]);
  expect(renderPlan(result, plainStyle)).not.toContain('is turned with');
});

test('the window of a plan is that of the rotation as a whole', () => {
  expect(renderPlan(together, plainStyle)).toContain(
    '  window    2029-01-01T00:00:00.000Z to 2030-01-01T00:00:00.000Z, for the rotation as a whole',
  );
});

test('a plan that can no longer be executed says so, wherever it is seen', () => {
  const stale = { code: 'ORCH-8004', reason: 'rot-2 has turned 1/a since, to version 2' } as const;
  expect(renderPlan({ ...together, stale }, plainStyle)).toContain(
    '  stale     it can no longer be executed: rot-2 has turned 1/a since, to version 2',
  );
  expect(standingText({ phase: 'validated', awaitsApprovals: 1, stale })).toBe(
    'validated, but stale: plan anew',
  );
});
