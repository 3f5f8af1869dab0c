/**
 * Renders the configuration file of a nats-server: loopback only, JetStream with every write synced
 * before it is acknowledged, one NKEY user per principal with exactly its allow lists, and one
 * administrator who is used while provisioning and never at run time.
 *
 * The file holds public keys only. Sizes are bounded: payload 1 MiB, what the server keeps for a
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
}

/** One message with its headers, at the most. */
export const payloadBytesMax = 1024 * 1024;

const pendingBytesMax = 64 * 1024 * 1024;
const memoryBytesMax = 64 * 1024 * 1024;
const nkeyPattern = /^U[A-Z2-7]{55}$/;

/** The text of the configuration file. Same input, same text. */
export function renderServerConfig(options: ServerConfigOptions): string {
  assert(
    Number.isInteger(options.port) && options.port > 0 && options.port < 65536,
    'no such port',
  );
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
authorization {
  timeout: 5
  users: [
${users.join('\n')}
  ]
}
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

function publicKey(nkey: string): string {
  assert(nkeyPattern.test(nkey), 'not a public user NKEY');
  return nkey;
}

/** A quoted string of the configuration language. Control characters have no place in it. */
function quoted(text: string): string {
  assert(!/\p{Cc}/u.test(text), 'a control character in the configuration');
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
