/**
 * How a command of the command line is declared: commander's part, an example for its help, and a
 * handler that gets the shared context and answers with an exit code.
 */
import { Command } from 'commander';
import { contextOf, type Context, type GlobalOptions } from './context.ts';
import type { ExitCode } from './fault.ts';
import type { Output } from './output.ts';

export type Options = Readonly<Record<string, unknown>>;

/** What a program run gives every command. */
export interface Runtime {
  readonly outputOf: (json: boolean) => Output;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Called once, by the command that ran. */
  readonly onExit: (code: ExitCode) => void;
}

export interface CommandSpec {
  readonly name: string;
  readonly summary: string;
  readonly arguments?: readonly (readonly [syntax: string, meaning: string])[];
  readonly options?: readonly (
    | readonly [syntax: string, meaning: string]
    | readonly [syntax: string, meaning: string, times: 'repeatable']
  )[];
  /** More for the help: what the command does that its summary cannot say. */
  readonly details?: string;
  readonly examples: readonly string[];
  run(context: Context, options: Options, positional: readonly string[]): Promise<ExitCode>;
}

/** The command, for those that have commands of their own. */
export function addCommand(parent: Command, runtime: Runtime, spec: CommandSpec): Command {
  const command = parent.command(spec.name).summary(spec.summary).description(spec.summary);
  for (const [syntax, meaning] of spec.arguments ?? []) command.argument(syntax, meaning);
  for (const [syntax, meaning, times] of spec.options ?? []) {
    if (times === undefined) command.option(syntax, meaning);
    else
      command.option<string[] | undefined>(syntax, meaning, (value, earlier = []) => [
        ...earlier,
        value,
      ]);
  }
  const details = spec.details === undefined ? '' : `\n${spec.details}\n`;
  const examples = spec.examples.map((example) => `  ${example}`).join('\n');
  command.addHelpText('after', `${details}\nExample:\n${examples}`);
  command.action(async () => {
    const options: GlobalOptions & Options = command.optsWithGlobals();
    const output = runtime.outputOf(options.json === true);
    const context = contextOf(options, output, runtime.environment);
    runtime.onExit(await spec.run(context, options, command.args));
  });
  return command;
}

/** The text of an option that takes a value, or undefined where it was not given. */
export function textOption(options: Options, name: string): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}

/** The texts of an option that may be repeated. */
export function textsOption(options: Options, name: string): readonly string[] {
  const values = options[name];
  return Array.isArray(values) ? values.filter((value) => typeof value === 'string') : [];
}

/** A required positional argument: commander has checked that it is there. */
export function positionalAt(positional: readonly string[], index: number): string {
  const value = positional[index];
  if (value === undefined) throw new Error('assertion: commander let a missing argument pass');
  return value;
}
