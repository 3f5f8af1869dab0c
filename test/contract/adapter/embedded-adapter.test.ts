/** The embedded key system against the adapter contract, for every kind of key. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { layerNumbers, type LayerNumber } from '#schemas/layers.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { systemClock } from '#shared/runtime/system.ts';
import { adapterContract, type AdapterWorld } from './adapter-contract.ts';

for (const layer of layerNumbers) {
  adapterContract(`embedded, layer ${layer}`, async () => embeddedWorld(layer));
}

function embeddedWorld(layer: LayerNumber): AdapterWorld {
  const folder = mkdtempSync(join(tmpdir(), 'gyre-adapter-'));
  const open = (): EmbeddedAdapter =>
    EmbeddedAdapter.open({
      layer,
      disk: new SystemDisk(folder),
      crypto: createNativeProvider(),
      clock: systemClock,
      usageWindowMs: 1_000,
    });
  let adapter = open();
  return {
    adapter,
    reopen: async () => {
      adapter.close();
      adapter = open();
      return adapter;
    },
    close: async () => {
      adapter.close();
      rmSync(folder, { recursive: true });
    },
  };
}
