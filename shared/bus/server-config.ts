/**
 * Renders the configuration file of a nats-server: loopback only, JetStream with every write synced
 * before it is acknowledged, one NKEY user per principal with exactly its allow lists, and one
 * administrator who is used while provisioning and never at run time.
 *
 * The file holds public keys only, and the secret of the cluster where there is one. Sizes are bounded: payload 1 MiB, what the server keeps for a
 * slow client 64 MiB.
 */
import assert from 'node:assert';
import { permissionsOf } from './permissions.ts';
import type { BusPrincipal } from './streams.ts';

export interface ServerUser {
  readonly principal: BusPrincipal;
  /** Public user NKEY: `U` and 55 characters of base32. */
  readonly nkey: string;
}

/** What one server of a cluster says to the others, and where it finds them. */
export interface ClusterOptions {
  /** The same for all servers of the cluster: letters, digits, hyphens. */
  readonly name: string;
  /** 1 to 65535, on 127.0.0.1; servers only. */
  readonly port: number;
  /** `host:port` of the others' cluster ports; one of each pair is enough. */
  readonly routes: readonly string[];
  /** Known to the servers alone, 16 characters or more; whoever has it reads and writes all streams. */
  readonly secret: string;
  /** `host:port` under which the others find this one; its own port unless told. */
  readonly advertise?: string;
}

export interface ServerConfigOptions {
  readonly mesh: string;
  /** Name shown by the server: letters, digits, hyphens. */
  readonly serverName: string;
  /** 1 to 65535; the server listens on 127.0.0.1 only. */
  readonly port: number;
  /** Absolute path of the folder that holds the streams. */
  readonly storeDir: string;
  readonly users: readonly ServerUser[];
  /** Public NKEY of the administrator. */
  readonly adminNkey: string;
  /** Bytes of disk that streams may reserve together; 4 GiB unless told. */
  readonly storeBytesMax?: number;
  /** Set for one of several servers. */
  readonly cluster?: ClusterOptions;
}

/** One message with its headers, at the most. */
export const payloadBytesMax = 1024 * 1024;

const pendingBytesMax = 64 * 1024 * 1024;
const memoryBytesMax = 64 * 1024 * 1024;
const routeUser = 'route';
const secretPattern = /^[A-Za-z0-9_-]{16,}$/;
const addressPattern = /^[a-z0-9.-]+:[0-9]{1,5}$/;
const nkeyPattern = /^U[A-Z2-7]{55}$/;

/** The text of the configuration file. Same input, same text. */
export function renderServerConfig(options: ServerConfigOptions): string {
  assert(isPort(options.port), 'no such port');
  const storeBytesMax = options.storeBytesMax ?? 4 * 1024 * 1024 * 1024;
  const users = [
    renderAdmin(options.adminNkey),
    ...options.users.map((user) => renderUser(options.mesh, user)),
  ];
  return `listen: ${quoted(`127.0.0.1:${options.port}`)}
server_name: ${quoted(options.serverName)}
max_payload: ${payloadBytesMax}
max_pending: ${pendingBytesMax}
max_connections: 4096
max_subscriptions: 256
ping_interval: "5s"
ping_max: 2
write_deadline: "10s"
jetstream {
  store_dir: ${quoted(options.storeDir)}
  max_file_store: ${storeBytesMax}
  max_memory_store: ${memoryBytesMax}
  sync_interval: always
}
${options.cluster === undefined ? '' : renderCluster(options.cluster)}authorization {
  timeout: 5
  users: [
${users.join('\n')}
  ]
}
`;
}

/** Clients are told no other addresses than those in their configuration: these may be proxies. */
function renderCluster({ name, port, routes, secret, advertise }: ClusterOptions): string {
  assert(isPort(port), 'no such port');
  assert(secretPattern.test(secret), 'a cluster secret has 16 characters or more of base64url');
  const addresses = [...routes, ...(advertise === undefined ? [] : [advertise])];
  assert(
    addresses.every((address) => addressPattern.test(address)),
    'not host:port',
  );
  const urls = routes.map((route) => quoted(`nats-route://${routeUser}:${secret}@${route}`));
  return `cluster {
  name: ${quoted(name)}
  listen: ${quoted(`127.0.0.1:${port}`)}
  authorization { user: ${quoted(routeUser)}, password: ${quoted(secret)}, timeout: 5 }
  routes: [${urls.join(', ')}]
  no_advertise: true
${advertise === undefined ? '' : `  advertise: ${quoted(advertise)}\n`}}
`;
}

function renderAdmin(nkey: string): string {
  return `    { nkey: ${publicKey(nkey)}, permissions: { publish: ">", subscribe: ">" } }`;
}

function renderUser(mesh: string, { principal, nkey }: ServerUser): string {
  const { publish, subscribe, answers } = permissionsOf(mesh, principal);
  const lines = [
    `    { nkey: ${publicKey(nkey)}, permissions: {`,
    `      publish: { allow: [${publish.map(quoted).join(', ')}] }`,
    `      subscribe: { allow: [${subscribe.map(quoted).join(', ')}] }`,
  ];
  if (answers) lines.push('      allow_responses: { max: 1, expires: "60s" }');
  return [...lines, '    } }'].join('\n');
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port > 0 && port < 65_536;
}

function publicKey(nkey: string): string {
  assert(nkeyPattern.test(nkey), 'not a public user NKEY');
  return nkey;
}

/** A quoted string of the configuration language. Control characters have no place in it. */
function quoted(text: string): string {
  assert(!/\p{Cc}/u.test(text), 'a control character in the configuration');
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
