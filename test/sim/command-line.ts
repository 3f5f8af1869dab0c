/**
 * What the programs of the simulator are called with. A wrong call is one line on stderr and ends with 2:
 * 1 is for an invariant that broke.
 */

import { parseArgs, type ParseArgsConfig } from 'node:util';

export class CommandLine {
  readonly #program: string;

  /** As it is called in what it tells. */
  constructor(program: string) {
    this.#program = program;
  }

  flags<Config extends ParseArgsConfig>(config: Config): ReturnType<typeof parseArgs<Config>> {
    try {
      return parseArgs(config);
    } catch (error) {
      if (error instanceof TypeError && 'code' in error) return this.refuse(shortOf(error.message));
      throw error;
    }
  }

  /** `what`: the flag that `text` was given for, or what else it stands for. */
  whole(what: string, text: string, least = 1): number {
    const number = Number(text);
    const isWhole = /^\d+$/.test(text) && Number.isSafeInteger(number);
    if (isWhole && number >= least) return number;
    return this.refuse(`${what}: '${text}' is no whole number from ${least} on`);
  }

  minutes(text: string | undefined): number {
    return text === undefined ? Infinity : this.whole('minutes', text);
  }

  refuse(why: string): never {
    process.stderr.write(`${this.#program}: ${why} (--help tells how to call it)\n`);
    process.exit(2);
  }
}

/** Node's own words, without what it advises. */
function shortOf(message: string): string {
  const [first = message] = message.split(/\.(?:\s|$)|\n/, 1);
  return first.replace(' argument is ambiguous', ' wants a value that does not begin with a dash');
}
