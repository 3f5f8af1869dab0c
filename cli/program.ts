/**
 * The program: all commands with the options that they share, and how a run ends. Commander parses;
 * what it refuses is a usage fault like any other.
 */
import { Command, CommanderError } from 'commander';
import { addCommand, type CommandSpec, type Runtime } from './command.ts';
import { exitCodes, usageFault, type ExitCode } from './fault.ts';
import { auditCommands } from './audit/commands.ts';
import { capabilitiesCommand } from './capabilities/commands.ts';
import { doctorCommand } from './doctor/commands.ts';
import { keysCommands } from './keys/commands.ts';
import { down, up } from './mesh/commands.ts';
import { negotiateCommand, negotiationCommands } from './negotiation/commands.ts';
import { Output, type Sink } from './output.ts';
import { rotationCommands } from './rotation/commands.ts';
import { statusCommand } from './status/commands.ts';
import { telemetryCommands } from './telemetry/commands.ts';
import { translateFault } from './translate-fault.ts';

export interface ProgramOptions {
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

const version = '0.1.0';

/** Parses `args` (without node and script), runs the command and answers with its exit code. */
export async function runProgram(
  args: readonly string[],
  { stdout, stderr, environment }: ProgramOptions,
): Promise<ExitCode> {
  let exitCode: ExitCode = exitCodes.done;
  const outputOf = (json: boolean): Output =>
    new Output({ json, stdout, stderr, noColor: environment['NO_COLOR'] });
  const program = buildProgram(
    { outputOf, environment, onExit: (code) => void (exitCode = code) },
    stdout,
  );
  try {
    await program.parseAsync([...args], { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.done;
    const fault = error instanceof CommanderError ? misuse(error) : translateFault(error);
    outputOf(args.includes('--json')).fault(fault);
    if (environment['GYRE_DEBUG'] === '1') stderr.write(`${stackOf(error)}\n`);
    return fault.exitCode;
  }
}

export function buildProgram(runtime: Runtime, stdout: Sink): Command {
  const program = new Command('gyre')
    .description('turn the keys of a whole security stack, together')
    .version(version)
    .option('--dir <directory>', 'directory of the mesh (default: $GYRE_DIR, or .gyre)')
    .option('--json', 'print exactly one JSON document; progress goes to standard error')
    .option('--as <operator>', 'operator to act as (default: op-1)')
    .option('--timeout <ms>', 'how long a command waits for its end (default: 120000)')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => void stdout.write(text),
      // Refusals of the parser are printed once, in the form of every other fault.
      writeErr: () => undefined,
    })
    .exitOverride()
    .addHelpText('after', exitCodesText);
  const add = (parent: Command, specs: readonly CommandSpec[]): void => {
    for (const spec of specs) addCommand(parent, runtime, spec);
  };
  add(program, [up, down, statusCommand, doctorCommand, capabilitiesCommand]);
  add(addCommand(program, runtime, negotiateCommand), negotiationCommands);
  const [rotation, keys, audit] = [
    group(program, 'rotation', 'plan, approve, execute and follow rotations'),
    group(program, 'keys', 'look at the keys of the layers'),
    group(program, 'audit', 'export and verify the audit log'),
  ];
  add(exampled(rotation, 'gyre rotation plan --layers 1-7'), rotationCommands);
  add(exampled(keys, 'gyre keys list'), keysCommands);
  add(exampled(audit, 'gyre audit export --out mesh.audit'), auditCommands);
  const telemetry = group(
    program,
    'telemetry',
    'see and prove what layer agents say of themselves',
  );
  add(exampled(telemetry, 'gyre telemetry recent'), telemetryCommands);
  return program;
}

const exitCodesText = `
Exit codes: 0 done, 1 failed, 2 usage, 5 unreachable, 6 approval missing, 7 rolled back, 8 locked out

Example:
  gyre up --detach && gyre rotation plan --layers 1-7`;

function group(program: Command, name: string, summary: string): Command {
  return program.command(name).summary(summary).description(summary);
}

function exampled(command: Command, example: string): Command {
  return command.addHelpText('after', `\nExample:\n  ${example}`);
}

function misuse(error: CommanderError) {
  const isHelp = error.code === 'commander.help';
  const reason = isHelp
    ? 'a command is missing'
    : error.message.replace(/^error: /, '').replace(/\s+/g, ' ');
  return usageFault(reason.trim(), 'See what there is: gyre --help, or any command with --help.');
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
