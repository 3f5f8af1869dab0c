import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { orchCodes } from '#schemas/errors.ts';
import { BusError } from '#shared/bus/bus.ts';
import { BootError } from '#shared/runtime/boot.ts';
import { TokenError } from '#shared/runtime/token/token.ts';
import { buildProgram, runProgram } from '#cli/program.ts';
import { orchestrationFault } from '#cli/orchestration-fault.ts';
import { Output } from '#cli/output.ts';
import { translateFault } from '#cli/translate-fault.ts';

class Memory {
  text = '';
  readonly isTTY = false;
  write(text: string): boolean {
    this.text += text;
    return true;
  }
}

async function run(...args: string[]) {
  const [stdout, stderr] = [new Memory(), new Memory()];
  const code = await runProgram(args, { stdout, stderr, environment: {} });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

let empty = '';
beforeAll(async () => {
  empty = await mkdtemp(join(tmpdir(), 'gyre-empty-'));
});
afterAll(() => rm(empty, { recursive: true, force: true }));

describe('help', () => {
  const sink = new Memory();
  const outputOf = (json: boolean) => new Output({ json, stdout: sink, stderr: sink });
  const program = buildProgram({ outputOf, environment: {}, onExit: () => undefined }, sink);
  const leaves = (command: Command, path: string[] = []): string[][] =>
    command.commands.length === 0
      ? [path]
      : [
          // A group that takes arguments is a command too.
          ...(command.registeredArguments.length === 0 ? [] : [path]),
          ...command.commands.flatMap((each) => leaves(each, [...path, each.name()])),
        ];

  test('the commands are those of the README', () => {
    expect(leaves(program).map((path) => path.join(' '))).toEqual([
      'up',
      'down',
      'status',
      'doctor',
      'capabilities',
      'negotiate',
      'negotiate verify',
      'rotation plan',
      'rotation approve',
      'rotation execute',
      'rotation show',
      'rotation list',
      'rotation watch',
      'rotation rollback',
      'rotation recover',
      'keys list',
      'epoch show',
      'epoch rotate',
      'audit export',
      'audit verify',
      'policy show',
      'policy verify',
      'policy diff',
      'policy propose',
      'policy sign',
      'policy offer',
      'registry show',
      'registry verify',
      'registry diff',
      'registry propose',
      'registry sign',
      'registry offer',
      'root show',
      'root verify',
      'root diff',
      'root propose',
      'root sign',
      'root offer',
      'revocation propose',
      'revocation verify',
      'revocation sign',
      'revocation offer',
      'telemetry recent',
      'telemetry prove',
      'telemetry verify',
    ]);
  });

  test.each(leaves(program))('gyre %s %s has an example that it would take', async (...path) => {
    const help = await run(...path, '--help');
    expect(help.code).toBe(0);
    expect(help.stdout).toContain('--json');
    const words = path.filter((word) => word !== undefined).join(' ');
    expect(help.stdout).toMatch(new RegExp(`Example:\\n  gyre ${words}`));
  });

  test.each(leaves(program))('the help of gyre %s %s fits into 100 columns', async (...path) => {
    const { stdout } = await run(...path, '--help');
    expect(stdout.split('\n').filter((line) => line.length > 100)).toEqual([]);
  });

  test('the program lists its exit codes', async () => {
    const { stdout } = await run('--help');
    expect(stdout).toContain('6 approval missing, or plan not executed');
    expect(stdout).toContain('9 not over within --timeout');
  });
});

describe('usage', () => {
  test.each([
    [[]],
    [['nonsense']],
    [['rotation']],
    [['rotation', 'approve']],
    [['rotation', 'plan']],
    [['rotation', 'plan', '--layers', '9']],
    [['rotation', 'plan', '--layers', '1', '--type', 'odd']],
    [['rotation', 'show', 'not an id']],
    [['status', '--nonsense']],
    [['up', '--token', 'paper']],
    [['up', '--name', 'My Mesh']],
    [['up', '--port', '70000']],
    [['audit', 'export']],
    [['audit', 'verify', 'file']],
    [['audit', 'verify', 'file', '--root', 'short']],
    [['rotation', 'plan', '--layer', '1']],
  ])('%j ends with 2', async (args) => {
    const { code, stdout, stderr } = await run(...args, '--dir', empty);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^gyre: USAGE: .+\n {6}\S.+\n$/);
  });

  test.each([
    [[], 'gyre --help'],
    [['nonsense'], 'gyre --help'],
    [['rotation'], 'gyre rotation --help'],
    [['rotation', 'nonsense'], 'gyre rotation --help'],
    [['rotation', 'approve'], 'gyre rotation approve --help'],
    [['--json', '--as', 'op-2', 'rotation', 'plan', '--layer', '1'], 'gyre rotation plan --help'],
    [['status', '--nonsense'], 'gyre status --help'],
  ])('%j points to the help of what was meant', async (args, help) => {
    const { stdout, stderr } = await run(...args, '--dir', empty);
    expect(stdout + stderr).toContain(`See what there is: ${help}.`);
  });

  test('under --json it is one document on standard output', async () => {
    const { code, stdout, stderr } = await run('nonsense', '--json');
    expect(code).toBe(2);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({
      error: { code: 'USAGE', reason: "unknown command 'nonsense'", hint: expect.any(String) },
    });
  });
});

test('a file that cannot be read has one code, whatever it should hold', async () => {
  const root = ['--root', 'ab'.repeat(32)];
  for (const args of [
    ['audit', 'verify', 'gone', ...root],
    ['audit', 'verify', empty, ...root],
    ['negotiate', 'verify', 'neg-1', '--audit', 'gone', ...root],
    ['telemetry', 'verify', 'gone', ...root],
    ['policy', 'diff', 'gone', 'gone'],
  ]) {
    const { code, stdout } = await run(...args, '--dir', empty, '--json');
    expect([args, code]).toEqual([args, 1]);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'FILE_UNREADABLE' } });
  }
});

test('a fault says under --json which plan or negotiation it is about', () => {
  const sink = new Memory();
  const output = new Output({ json: true, stdout: sink, stderr: new Memory() });
  output.fault(orchestrationFault('ORCH-8002', 'why', 'rot-1').of({ negotiationId: 'neg-1' }));
  expect(JSON.parse(sink.text)).toMatchObject({
    negotiationId: 'neg-1',
    error: { code: 'ORCH-8002' },
  });
});

test('without a mesh every command that needs one ends with 5', async () => {
  for (const args of [
    ['status'],
    ['keys', 'list'],
    ['rotation', 'list'],
    ['rotation', 'show', 'x'],
  ]) {
    const { code, stdout } = await run(...args, '--dir', empty, '--json');
    expect([args, code]).toEqual([args, 5]);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'MESH_NOT_FOUND' } });
  }
});

test('down where nothing runs is done already', async () => {
  const { code, stdout } = await run('down', '--dir', join(empty, 'none'), '--json');
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ wasRunning: false });
});

describe('faults from elsewhere', () => {
  test('every code of an orchestrator has a hint, and three have exit codes of their own', () => {
    const codes = orchCodes.map((code) => {
      const fault = orchestrationFault(code, 'why', 'rot-1');
      expect(fault.hint).not.toBe('');
      expect(fault.hint).not.toContain(' ID');
      return [code, fault.exitCode];
    });
    expect(codes.filter(([, exitCode]) => exitCode !== 1)).toEqual([
      ['ORCH-8006', 8],
      ['ORCH-8013', 5],
      ['ORCH-8015', 6],
    ]);
  });

  test('bus, token, boot and system keep their codes', () => {
    expect(translateFault(new BusError('BUS_UNREACHABLE', 'gone'))).toMatchObject({
      code: 'BUS_UNREACHABLE',
      exitCode: 5,
    });
    expect(translateFault(new BusError('BUS_FULL', 'full'))).toMatchObject({ exitCode: 1 });
    expect(translateFault(new TokenError('TOKEN_PIN_WRONG', 'no'))).toMatchObject({
      code: 'TOKEN_PIN_WRONG',
      reason: 'no',
    });
    expect(translateFault(new BootError('NOT_ENROLLED', 'who?', 'enrol it'))).toMatchObject({
      code: 'NOT_ENROLLED',
      hint: 'enrol it',
    });
    const full = Object.assign(new Error('no space'), { code: 'ENOSPC' });
    expect(translateFault(full)).toMatchObject({ code: 'ENOSPC', exitCode: 1 });
    const missing = Object.assign(new Error("ENOENT: no such file, open 'x'"), { code: 'ENOENT' });
    expect(translateFault(missing)).toMatchObject({ reason: "no such file, open 'x'" });
    expect(translateFault(new Error('what?'))).toMatchObject({ code: 'INTERNAL', exitCode: 1 });
  });
});
