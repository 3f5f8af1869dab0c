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

const cluster = {
  name: 'gyre',
  port: 4334,
  routes: ['127.0.0.1:4335'],
  secret: '0123456789abcdef',
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

  it('says nothing of a cluster to a server on its own', () => {
    expect(renderServerConfig(options)).not.toContain('cluster');
  });

  it('lets the servers of a cluster in by their secret, on loopback', () => {
    const text = renderServerConfig({ ...options, cluster });
    expect(text).toContain('listen: "127.0.0.1:4334"');
    expect(text).toContain('authorization { user: "route", password: "0123456789abcdef"');
    expect(text).toContain('routes: ["nats-route://route:0123456789abcdef@127.0.0.1:4335"]');
    expect(text).toContain('no_advertise: true');
    expect(text).not.toContain('  advertise:');
    const elsewhere = { ...cluster, advertise: '127.0.0.1:4336' };
    expect(renderServerConfig({ ...options, cluster: elsewhere })).toContain(
      '  advertise: "127.0.0.1:4336"',
    );
  });

  it('takes no cluster without a secret, and no route that is not an address', () => {
    const render = (changed: Partial<typeof cluster>) => () =>
      renderServerConfig({ ...options, cluster: { ...cluster, ...changed } });
    expect(render({ secret: 'short' })).toThrow('cluster secret');
    expect(render({ secret: '0123456789abcdef@' })).toThrow('cluster secret');
    expect(render({ routes: ['127.0.0.1'] })).toThrow('not host:port');
    expect(render({ routes: ['a:1"] }'] })).toThrow('not host:port');
    expect(render({ port: 65_536 })).toThrow('no such port');
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
