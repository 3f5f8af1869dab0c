/**
 * The auditor as a process: `main.ts <configuration file>`. Wires the real ports and ends with the
 * reason when its log is damaged or cannot be written, so that nothing is ever receipted that is not
 * on the disk.
 */

import { subjectsOf } from '#shared/bus/subjects.ts';
import { bootAgent, runAgent } from '#shared/runtime/boot.ts';
import { Auditor } from './auditor.ts';

runAgent(async () => {
  const booted = await bootAgent(process.argv[2] ?? 'config.json', { observesAll: true });
  const { config, trust } = booted;
  const { checkpointLeaves, checkpointMs } = config;
  const auditor = await Auditor.open({
    ...booted,
    subjects: subjectsOf(trust.mesh),
    ...(checkpointLeaves === undefined ? {} : { checkpointLeaves }),
    ...(checkpointMs === undefined ? {} : { checkpointMs }),
  });
  await booted.notices.start();
  await auditor.start();
  return auditor;
});
