/**
 * `make chaos-containers`: half a minute of faults on a mesh whose three servers run in containers. Where
 * no engine runs it says so and ends with 0; nothing is claimed then.
 */
import { rm } from 'node:fs/promises';
import { imageDefault, lacksEngine, serverContainers } from './containers.ts';
import type { FaultKind } from './faults.ts';
import { reportText } from './report.ts';
import { runChaos } from './run.ts';

const seed = 1;
const faultsMs = 30_000;
/** Whatever needs no pid of a server. */
const kinds: readonly FaultKind[] = [
  'kill server',
  'kill leading server',
  'part server',
  'truncate store',
  'empty store',
  'kill layer agent',
  'part agent',
];

for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => process.exit(130));
const image = process.env['GYRE_NATS_IMAGE'] ?? imageDefault;
const lack = await lacksEngine();
if (lack === undefined) await smoke();
else
  console.log(`*** NOT TESTED: a cluster in containers, because no engine runs here (${lack}) ***`);

async function smoke(): Promise<void> {
  console.log(`chaos: three servers in containers of ${image}`);
  const report = await runChaos({
    seed,
    faultsMs,
    kinds,
    launch: serverContainers(image),
    onProgress: (line) => console.log(line),
  });
  console.log(reportText(report));
  if (report.violations.length > 0) process.exitCode = 1;
  else await rm(report.folder, { recursive: true, force: true });
}
