/** The simulated disk against the disk's contract. */
import { DatabasePool, SimulatedDisk } from '../../sim/disk.ts';
import { SimulatedLife } from '../../sim/lives.ts';
import { drawsFrom } from '../../sim/seed.ts';
import { SimulatedTime } from '../../sim/time.ts';
import { diskContract } from './disk-contract.ts';

const pool = new DatabasePool();

diskContract('simulated', () => {
  const time = new SimulatedTime();
  const disk = new SimulatedDisk({ agentId: 'phi-a', time, draws: drawsFrom(1), pool });
  let lives = 0;
  return {
    reopen: () => {
      lives += 1;
      const life = new SimulatedLife({ agentId: 'phi-a', number: lives, time });
      return disk.facade(life, { pass: () => undefined });
    },
    done: async (work) => {
      let isDone = false;
      const ended = work.finally(() => {
        isDone = true;
      });
      ended.catch(() => undefined);
      await time.run(time.monotonicMs() + 1_000, () => isDone);
      return ended;
    },
    end: () => disk.release(),
  };
});
