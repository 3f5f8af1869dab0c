/**
 * The program: all commands with the options that they share, and how a run ends. Commander parses;
 * what it refuses is a usage fault like any other.
 */
import { Command, CommanderError } from 'commander';
import { addCommand, type CommandSpec, type Runtime } from './command.ts';
import { exitCodes, usageFault, type ExitCode } from './fault.ts';
import { auditCommands } from './audit/commands.ts';
import { capabilitiesCommand } from './capabilities/commands.ts';
import { documentCommands, revocationCommands } from './documents/commands.ts';
import { epochCommands } from './epoch/commands.ts';
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
    const fault =
      error instanceof CommanderError ? misuse(error, meant(program, args)) : translateFault(error);
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
  for (const { name, summary, example, specs } of groups) {
    const parent = program.command(name).summary(summary).description(summary);
    add(parent.addHelpText('after', `\nExample:\n  ${example}`), specs);
  }
  return program;
}

/** Commands that belong together, under one name. */
const groups: readonly {
  readonly name: string;
  readonly summary: string;
  readonly example: string;
  readonly specs: readonly CommandSpec[];
}[] = [
  {
    name: 'rotation',
    summary: 'plan, approve, execute and follow rotations',
    example: 'gyre rotation plan --layers 1-7',
    specs: rotationCommands,
  },
  {
    name: 'keys',
    summary: 'look at the keys of the layers',
    example: 'gyre keys list',
    specs: keysCommands,
  },
  {
    name: 'epoch',
    summary: "look at the secrets' epochs of the mesh's own channels, and renew them",
    example: 'gyre epoch show',
    specs: epochCommands,
  },
  {
    name: 'audit',
    summary: 'export and verify the audit log',
    example: 'gyre audit export --out mesh.audit',
    specs: auditCommands,
  },
  {
    name: 'policy',
    summary: 'show, propose, sign and offer the policy',
    example: 'gyre policy show',
    specs: documentCommands('policy'),
  },
  {
    name: 'registry',
    summary: 'show, propose, sign and offer the registry of algorithms',
    example: 'gyre registry show',
    specs: documentCommands('registry'),
  },
  {
    name: 'root',
    summary: 'show, propose, sign and offer the root of trust',
    example: 'gyre root show',
    specs: documentCommands('root'),
  },
  {
    name: 'revocation',
    summary: 'end the enrolment of an agent',
    example: 'gyre revocation propose network-a --reason "host lost" --out network-a.json',
    specs: revocationCommands,
  },
  {
    name: 'telemetry',
    summary: 'see and prove what layer agents say of themselves',
    example: 'gyre telemetry recent',
    specs: telemetryCommands,
  },
];

const exitCodesText = `
Exit codes: 0 done, 1 failed, 2 usage, 5 unreachable, 6 approval missing, or plan not executed,
7 rolled back, 8 locked out, 9 not over within --timeout: it goes on by itself

Example:
  gyre up --detach && gyre rotation plan --layers 1-7`;

/** The command that was meant, as far as it was named: `gyre rotation plan`. */
function meant(program: Command, args: readonly string[]): string {
  let command = program;
  const path = [program.name()];
  for (const word of args) {
    const next = command.commands.find((each) => each.name() === word);
    if (next === undefined) continue;
    command = next;
    path.push(word);
  }
  return path.join(' ');
}

function misuse(error: CommanderError, command: string) {
  const isHelp = error.code === 'commander.help';
  const reason = isHelp
    ? 'a command is missing'
    : error.message.replace(/^error: /, '').replace(/\s+/g, ' ');
  return usageFault(reason.trim(), `See what there is: ${command} --help.`);
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
