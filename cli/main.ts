/** The command line of gyre: `bin/gyre` starts this file under a Node that is new enough. */
import { runProgram } from './program.ts';

process.exitCode = await runProgram(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  environment: process.env,
});
