/**
 * The one mesh of processes that the stories of this folder are about, one after the other, each as the
 * one before left it: bringing up a mesh takes longer than most of them. Two of its members keep their
 * state on small disks, where this process may mount any.
 */
import { memberFiles } from '#cli/mesh/layout.ts';
import { liveMesh, type Drive } from '../drive.ts';
import { SmallDisk } from '../small-disk.ts';

const onSmallDisks = [
  // Of the layer that is activated second.
  { id: 'encryption-a', kind: 'layer' },
  { id: 'auditor', kind: 'auditor' },
] as const;

/** Rotations can be interfered with before they commit. */
const soakMs = 500;

/** An agent that is slow on a busy machine has not failed. */
const stepTimeoutMs = 10_000;

export let drive: Drive;
/** By member; empty where none can be mounted. */
export const disks = new Map<string, SmallDisk>();

export async function begin(): Promise<void> {
  mountDisks();
  drive = await liveMesh({
    times: { soakMs, stepTimeoutMs },
    prepare: async (layout) => {
      for (const member of onSmallDisks) {
        const state = `${layout.memberDirectory(member)}/${memberFiles.state}`;
        await disks.get(member.id)?.carry(state);
      }
    },
  });
}

export async function end(): Promise<void> {
  try {
    await drive.end();
  } finally {
    for (const disk of disks.values()) disk.unmount();
  }
}

/** All of them, or none. */
function mountDisks(): void {
  for (const { id } of onSmallDisks) {
    const disk = SmallDisk.mount();
    if (disk === null) break;
    disks.set(id, disk);
  }
  if (disks.size === onSmallDisks.length) return;
  for (const disk of disks.values()) disk.unmount();
  disks.clear();
}
