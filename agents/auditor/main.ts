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
  // Its log is gone through, and what it missed is read, with the secrets of its channels and the
  // archive key.
  await booted.notices.start();
  await booted.epochs.start();
  await booted.epochs.ready({ withOlder: true });
  const { checkpointLeaves, checkpointMs } = config;
  const auditor = await Auditor.open({
    ...booted,
    subjects: subjectsOf(trust.mesh),
    ...(checkpointLeaves === undefined ? {} : { checkpointLeaves }),
    ...(checkpointMs === undefined ? {} : { checkpointMs }),
  });
  await auditor.start();
  return {
    stop: async (): Promise<void> => {
      await booted.notices.stop();
      await auditor.stop();
      await booted.epochs.stop();
    },
  };
});
