/** The command line of gyre: `bin/gyre` starts this file under a Node that is new enough. */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

// Before anything else is read; a third of the time of a short command is reading its files.
enableCompileCache(join(import.meta.dirname, '..', '.cache', 'compile'));
const { runProgram } = await import('./program.ts');

// Whoever reads may stop reading, as `head` does: no fault of the command.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

const exitCode = await runProgram(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  environment: process.env,
});
// A connection to a server that hangs would keep the process for as long: it ends once all is told.
for (const stream of [process.stdout, process.stderr]) {
  await new Promise<void>((resolve) => stream.write('', () => resolve()));
}
process.exit(exitCode);
