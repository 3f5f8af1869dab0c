/** A client that tries the listener as a stranger would: by the roots, and by nothing else. */

import { checkServerIdentity, connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { isIP } from 'node:net';
import { tlsGroup, tlsSignatureAlgorithm } from '#shared/core/tls-parameters.ts';
import type { VerificationResult } from '../adapter.ts';

export interface ProbeTarget {
  readonly host: string;
  readonly port: number;
  readonly name: string;
  /** PEM. */
  readonly roots: readonly string[];
}

const timeoutMs = 5_000;

/** Whether the listener shows this certificate (DER), and it holds by the roots. */
export async function showsCertificate(
  target: ProbeTarget,
  certificate: Uint8Array,
): Promise<VerificationResult> {
  return await tried(target, {}, async (socket) => {
    const shown = socket.getPeerX509Certificate()?.raw;
    return shown !== undefined && Buffer.compare(shown, certificate) === 0
      ? { ok: true }
      : { ok: false, reason: 'the listener shows another certificate' };
  });
}

export type Shown =
  | { readonly status: 'shown'; readonly certificate: Uint8Array }
  | { readonly status: 'unreachable'; readonly reason: string };

/** The certificate (DER) that is shown to strangers, whether it holds or not. */
export async function shownCertificate(target: ProbeTarget): Promise<Shown> {
  let certificate: Uint8Array | undefined;
  const { reason = 'none was shown' } = await tried(
    target,
    { rejectUnauthorized: false },
    async (socket) => {
      certificate = socket.getPeerX509Certificate()?.raw;
      return { ok: true };
    },
  );
  return certificate === undefined
    ? { status: 'unreachable', reason }
    : { status: 'shown', certificate };
}

/** Whether a session that the listener gave out is taken up by it again. */
export async function resumes(target: ProbeTarget): Promise<VerificationResult> {
  let session: Buffer | undefined;
  const given = await tried(target, {}, async (socket) => {
    session = await new Promise<Buffer>((resolve) => {
      socket.once('session', resolve);
    });
    return { ok: true };
  });
  if (!given.ok || session === undefined) return given;
  return await tried(target, { session }, async (socket) =>
    socket.isSessionReused()
      ? { ok: true }
      : { ok: false, reason: 'the listener does not know its own ticket' },
  );
}

async function tried(
  { host, port, name, roots }: ProbeTarget,
  options: ConnectionOptions,
  look: (socket: TLSSocket) => Promise<VerificationResult>,
): Promise<VerificationResult> {
  const socket = connect({
    host: reachable(host),
    port,
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
    return await new Promise<VerificationResult>((resolve, reject) => {
      socket.on('error', reject);
      socket.once('close', () => reject(new Error('closed')));
      socket.once('secureConnect', () => void look(socket).then(resolve, reject));
    });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'closed';
    return { ok: false, reason: `a handshake with the listener failed: ${code}` };
  } finally {
    socket.destroy();
  }
}

/** Where a listener on every address is reached. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}
