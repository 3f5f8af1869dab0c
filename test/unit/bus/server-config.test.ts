/** The server's configuration: loopback, synced writes, public keys only, nothing injectable. */
import { describe, expect, it } from 'vitest';
import { createNkey } from '#shared/bus/nkeys.ts';
import { permissionsOf } from '#shared/bus/permissions.ts';
import { renderServerConfig } from '#shared/bus/server-config.ts';

const admin = createNkey();
const layer = createNkey();
const principal = { id: 'layer-1', kind: 'layer', layer: 1 } as const;
const options = {
  mesh: 'dev',
  serverName: 'gyre',
  port: 4333,
  storeDir: '/var/lib/a "quoted" \\ folder',
  adminNkey: admin.publicKey,
  users: [{ principal, nkey: layer.publicKey }],
};

describe('server configuration', () => {
  it('listens on loopback and syncs every write', () => {
    const text = renderServerConfig(options);
    expect(text).toContain('listen: "127.0.0.1:4333"');
    expect(text).toContain('sync_interval: always');
    expect(text).toContain('max_payload: 1048576');
    expect(text).toContain('store_dir: "/var/lib/a \\"quoted\\" \\\\ folder"');
    expect(renderServerConfig(options)).toBe(text);
  });

  it('names every right of a user, and no secret', () => {
    const text = renderServerConfig(options);
    const { publish, subscribe } = permissionsOf('dev', principal);
    for (const subject of [...publish, ...subscribe]) expect(text).toContain(`"${subject}"`);
    expect(text).toContain(layer.publicKey);
    for (const { seed } of [admin, layer]) {
      expect(text).not.toContain(new TextDecoder().decode(seed));
    }
  });

  it('takes nothing but public user keys, ports and plain text', () => {
    const seed = new TextDecoder().decode(admin.seed);
    expect(() => renderServerConfig({ ...options, adminNkey: seed })).toThrow('public user NKEY');
    expect(() => renderServerConfig({ ...options, port: 0 })).toThrow('no such port');
    expect(() => renderServerConfig({ ...options, serverName: 'a\nb' })).toThrow(
      'control character',
    );
  });
});
