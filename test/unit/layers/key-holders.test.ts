/** Who holds a layer's keys: a configuration that names two, or one that this layer cannot have. */
import { expect, test } from 'vitest';
import type { AgentConfig, AttachedSystem } from '#schemas/config.ts';
import { openKeys, type LayerProcess } from '#agents/layers/layer-main.ts';
import type { BootedAgent } from '#shared/runtime/boot.ts';

const command: AttachedSystem = { kind: 'command', program: '/opt/adapter' };
const certificateFiles: AttachedSystem = {
  kind: 'certificate-files',
  directory: '/etc/nginx/gyre',
  names: ['www.example.org'],
  address: { host: '127.0.0.1', port: 443 },
  reload: { program: '/bin/true' },
};

/** Nothing but the configuration is there: whatever was opened before the refusal would be missing. */
function opened(layer: LayerProcess['layer'], config: Partial<AgentConfig>): Promise<unknown> {
  const openAdapter = (): never => {
    throw new Error('keys were opened in the agent itself');
  };
  const booted = { config } as unknown as BootedAgent;
  return openKeys(booted, { layer, openAdapter, configPath: undefined });
}

test('a service and something attached exclude each other', async () => {
  const refused = { code: 'CONFIG_INVALID', remedy: expect.stringContaining('keep one of them') };
  await expect(
    opened(6, { serviceControlSocket: 'control.sock', attached: command }),
  ).rejects.toMatchObject(refused);
});

test('certificate files are for the agent of layer 3 alone', async () => {
  await expect(opened(6, { attached: certificateFiles })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: 'layer 6 has no certificates',
    remedy: "attach certificate files to layer 3's agent",
  });
});
