/** A client that tries the listener as a stranger would: by the roots, and by nothing else. */

import { checkServerIdentity, connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { tlsGroup, tlsSignatureAlgorithm } from '#shared/core/tls-parameters.ts';
import { systemCode } from '#shared/runtime/durable-file.ts';
import { AdapterError, type VerificationResult } from '../adapter.ts';

/** Where a server of somebody else's listens, and what it is called. */
export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  readonly name: string;
}

/** A listener of this process, which is led a connection that takes no place of anybody's. */
export interface OwnListener {
  readonly connect: () => Duplex;
  readonly name: string;
}

export type ProbeTarget = (ServerAddress | OwnListener) & {
  /** PEM. */
  readonly roots: readonly string[];
};

/** `unreachable` says nothing of keys and certificates: no handshake came to its end, or was refused. */
export type Probed =
  | { readonly status: 'holds' }
  | { readonly status: 'fails'; readonly reason: string }
  | { readonly status: 'unreachable'; readonly reason: string };

const timeoutMs = 5_000;

/**
 * What an adapter's verification makes of it.
 * @throws AdapterError SYSTEM_UNREACHABLE, worth another try, where nothing was learned of the key
 */
export function verificationOf(probed: Probed): VerificationResult {
  switch (probed.status) {
    case 'holds':
      return { ok: true };
    case 'fails':
      return { ok: false, reason: probed.reason };
    case 'unreachable':
      throw new AdapterError('SYSTEM_UNREACHABLE', probed.reason, { retryable: true });
  }
}

/** Whether the listener shows this certificate (DER), and it holds by the roots. */
export async function showsCertificate(
  target: ProbeTarget,
  certificate: Uint8Array,
): Promise<Probed> {
  return await tried(target, {}, async (socket) => {
    const shown = socket.getPeerX509Certificate()?.raw;
    return shown !== undefined && Buffer.compare(shown, certificate) === 0
      ? { status: 'holds' }
      : { status: 'fails', reason: 'the listener shows another certificate' };
  });
}

export type Shown =
  | { readonly status: 'shown'; readonly certificate: Uint8Array }
  | { readonly status: 'unreachable'; readonly reason: string };

/** The certificate (DER) that is shown to strangers, whether it holds or not. */
export async function shownCertificate(target: ProbeTarget): Promise<Shown> {
  let certificate: Uint8Array | undefined;
  const probed = await tried(target, { rejectUnauthorized: false }, async (socket) => {
    certificate = socket.getPeerX509Certificate()?.raw;
    return { status: 'holds' };
  });
  if (certificate !== undefined) return { status: 'shown', certificate };
  const reason = probed.status === 'holds' ? 'none was shown' : probed.reason;
  return { status: 'unreachable', reason };
}

/** Whether a session that the listener gave out is taken up by it again. */
export async function resumes(target: ProbeTarget): Promise<Probed> {
  let session: Buffer | undefined;
  const given = await tried(target, {}, async (socket) => {
    session = await new Promise<Buffer>((resolve) => {
      socket.once('session', resolve);
    });
    return { status: 'holds' };
  });
  if (given.status !== 'holds' || session === undefined) return given;
  return await tried(target, { session }, async (socket) =>
    socket.isSessionReused()
      ? { status: 'holds' }
      : { status: 'fails', reason: 'the listener does not know its own ticket' },
  );
}

async function tried(
  target: ProbeTarget,
  options: ConnectionOptions,
  look: (socket: TLSSocket) => Promise<Probed>,
): Promise<Probed> {
  const { name, roots } = target;
  const way =
    'connect' in target
      ? { socket: target.connect() }
      : { host: reachable(target.host), port: target.port };
  const socket = connect({
    ...way,
    ca: [...roots],
    minVersion: 'TLSv1.3',
    ecdhCurve: tlsGroup,
    sigalgs: tlsSignatureAlgorithm,
    ALPNProtocols: ['http/1.1'],
    ...(isIP(name) === 0 ? { servername: name } : {}),
    checkServerIdentity: (_, certificate) => checkServerIdentity(name, certificate),
    ...options,
  });
  socket.setTimeout(timeoutMs, () => socket.destroy(new Error('no handshake in time')));
  // Tickets come behind the handshake, and only to those who read.
  socket.resume();
  try {
    return await new Promise<Probed>((resolve, reject) => {
      socket.on('error', reject);
      socket.once('close', () => reject(new Error('closed')));
      socket.once('secureConnect', () => void look(socket).then(resolve, reject));
    });
  } catch (error) {
    const code = systemCode(error) ?? 'closed';
    const reason = `a handshake with the listener failed: ${code}`;
    return { status: isLost(code) ? 'unreachable' : 'fails', reason };
  } finally {
    socket.destroy();
    if ('socket' in way) way.socket.destroy();
  }
}

/** The system's codes for connections, or an end without one. What OpenSSL refuses (EPROTO) is an answer. */
function isLost(code: string): boolean {
  return code === 'closed' || (code !== 'EPROTO' && /^E(?:[A-Z0-9]+|AI_[A-Z]+)$/.test(code));
}

/** Where a listener on every address is reached. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}
