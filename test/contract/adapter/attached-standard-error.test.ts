/**
 * What an attached program says on standard error: nobody waits for it and nothing breaks it, it is logged
 * only where the configuration wishes for it, bounded, and the same failure once a minute.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FailureLog } from '#agents/layers/attached/failure-log.ts';
import { openAttached } from '#agents/layers/attached/open-attached.ts';
import { runProgram, type ProgramOutcome } from '#agents/layers/attached/program.ts';
import { complaintMax } from '#agents/layers/attached/standard-error.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { crypto, quiet } from '../../support/world.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gyre-said-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

function shell(script: string, logsStandardError?: boolean): Promise<ProgramOutcome> {
  const wish = logsStandardError === undefined ? {} : { logsStandardError };
  return runProgram({ program: 'sh', arguments: ['-c', script], directory: folder, ...wish }, '');
}

function node(script: string): Promise<ProgramOutcome> {
  const program = { program: process.execPath, arguments: ['-e', script] };
  return runProgram({ ...program, logsStandardError: true }, '');
}

/** Until a file `go` is there it waits, says something, and then makes the file `alive`. */
const daemon =
  '( for i in $(seq 600); do [ -e go ] && break; sleep 0.1; done; echo said >&2; echo y > alive )';

describe.each([
  ['kept', true],
  ['thrown away', false],
])('where standard error is %s', (_, logsStandardError) => {
  test('a program that stays is not waited for', async () => {
    const spans: number[] = [];
    for (let run = 0; run < 5; run += 1) {
      const beginMs = performance.now();
      const script = `sleep 30 >/dev/null </dev/null & echo $!; exit 0`;
      const outcome = await shell(script, logsStandardError);
      spans.push(performance.now() - beginMs);
      expect(outcome).toMatchObject({ status: 'ended', exitCode: 0 });
      if (outcome.status === 'ended') process.kill(Number(outcome.output), 'SIGKILL');
    }
    // What is waited for takes half a second each time.
    expect(Math.min(...spans)).toBeLessThan(450);
  });

  test('a program that stays may go on saying something', async () => {
    await shell(`${daemon} >/dev/null </dev/null & exit 0`, logsStandardError);
    writeFileSync(join(folder, 'go'), '');
    await expect.poll(() => existsSync(join(folder, 'alive')), { timeout: 30_000 }).toBe(true);
  });
});

describe('what is kept', () => {
  test('is in a file without a name, for the agent alone', async () => {
    const before = process.env['TMPDIR'];
    process.env['TMPDIR'] = folder;
    try {
      const { isFile, links, mode, names } = JSON.parse(
        textOf(
          await node(`
            const fs = require('node:fs');
            const { nlink, mode } = fs.fstatSync(2);
            const isFile = (mode & fs.constants.S_IFMT) === fs.constants.S_IFREG;
            const names = fs.readdirSync(process.env.TMPDIR);
            process.stdout.write(JSON.stringify({ isFile, links: nlink, mode: mode & 0o777, names }));`),
        ),
      ) as Record<string, unknown>;
      expect({ isFile, links, mode, names }).toEqual({
        isFile: true,
        links: 0,
        mode: 0o600,
        names: [],
      });
    } finally {
      if (before === undefined) Reflect.deleteProperty(process.env, 'TMPDIR');
      else process.env['TMPDIR'] = before;
    }
    expect(readdirSync(folder)).toEqual([]);
  });

  test('is the end of it, and no more', async () => {
    const script = `process.stderr.write('begin' + 'x'.repeat(1e7) + 'end'); process.exitCode = 1`;
    const { complaint } = await node(script);
    expect(complaint).toMatch(/^x+end$/);
    expect(complaint).toHaveLength(complaintMax);
  });

  test('is as short when all of it is escaped, and has no half escape', async () => {
    const { complaint } = await node(`process.stderr.write('\\u001b'.repeat(5000) + '!')`);
    expect(complaint).toMatch(/^(\\u\{1b\})+!$/);
    expect(complaint?.length).toBeGreaterThan(complaintMax - 6);
    expect(complaint?.length).toBeLessThanOrEqual(complaintMax);
  });

  test('is whole where a shell opens it anew', async () => {
    const { complaint } = await shell('echo one >&2; echo two >>/dev/stderr; echo three >&2', true);
    expect(complaint).toBe('one\\ntwo\\nthree');
  });

  test('is told to be lost where there is no room for it', async () => {
    const before = process.env['TMPDIR'];
    process.env['TMPDIR'] = join(folder, 'nothing');
    try {
      expect(await shell('echo why >&2; exit 3', true)).toMatchObject({
        status: 'ended',
        exitCode: 3,
        complaint: 'not kept: no temporary file (ENOENT)',
      });
    } finally {
      if (before === undefined) Reflect.deleteProperty(process.env, 'TMPDIR');
      else process.env['TMPDIR'] = before;
    }
  });

  test('costs no open file of the agent once the program has ended', async () => {
    const open = () => readdirSync('/dev/fd').length;
    await shell('exit 1', true);
    const before = open();
    for (let run = 0; run < 5; run += 1) {
      await shell('exit 1', true);
      await runProgram({ program: join(folder, 'nothing'), logsStandardError: true }, '');
    }
    await expect.poll(open, { timeout: 10_000 }).toBeLessThanOrEqual(before);
  });
});

describe('the log', () => {
  test.each([
    ['has it where the configuration says so', true, 'token=1'],
    ['has none of it otherwise, and says how to have it', false, undefined],
    ['has none of it unless told', undefined, undefined],
  ])('%s', async (_, logsStandardError, said) => {
    const { written, log } = logbook();
    const script = 'cat >/dev/null; echo token=1 >&2; exit 3';
    const wish = logsStandardError === undefined ? {} : { logsStandardError };
    const command = { kind: 'command' as const, program: 'sh', arguments: ['-c', script] };
    const opened = openAttached(
      { ...command, ...wish },
      {
        layer: 6,
        disk: new SystemDisk(folder),
        crypto,
        clock: systemClock,
        usageWindowMs: 0,
        log,
        resolve: (relative) => resolve(folder, relative),
      },
    );
    await expect(opened).rejects.toMatchObject({ code: 'SYSTEM_UNREACHABLE' });
    const stderr = said ?? expect.stringMatching(/^not logged; .*"logsStandardError": true/);
    const what = 'exit code 3, and no reason printed';
    expect(written).toEqual([{ program: 'sh', operation: 'describe', what, stderr }]);
    if (said === undefined) expect(JSON.stringify(written)).not.toContain('token');
  });

  test('has the same failure once a minute, whatever was said of it', () => {
    let nowMs = 0;
    const { written, log } = logbook();
    const failures = new FailureLog({ log, clock: { ...systemClock, monotonicMs: () => nowMs } });
    const failure = { program: '/p', operation: 'inspect', what: 'exit code 1' };
    const note = (more: object = {}) =>
      failures.note({ ...failure, complaint: `at ${nowMs}`, ...more });
    for (; nowMs < 59_000; nowMs += 1_000) note();
    expect(written).toEqual([{ ...failure, stderr: 'at 0' }]);
    note({ what: 'exit code 2' });
    note({ operation: 'verify' });
    note({ program: '/q' });
    expect(written).toHaveLength(4);
    nowMs = 60_000;
    note();
    expect(written).toHaveLength(5);
  });
});

function logbook() {
  const written: object[] = [];
  return { written, log: { ...quiet, warn: (fields: object) => void written.push(fields) } };
}

function textOf(outcome: ProgramOutcome): string {
  if (outcome.status !== 'ended') throw new Error(outcome.code);
  return outcome.output;
}
