/** The control socket of a service: the adapter's operations, settings and counts, for its agent. */

import type { Hono } from 'hono';
import { compile } from '#schemas/primitives.ts';
import { serviceControls, type ServiceControl } from '#schemas/service.ts';
import { fromBase64Url, toBase64Url } from '#shared/crypto/bytes.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { AdapterError, type AdapterErrorCode, type KeyVersion } from '../adapter.ts';
import type { CertifiedKeys } from './certificate-authority.ts';
import { bodyOf, Refused, serviceApp } from './http-app.ts';
import type { LayerService } from './service.ts';

/** Where an operation is asked for, below the control socket. */
export function controlPath(control: ServiceControl): string {
  return `/v1/control/${control}`;
}

const checks = {
  slot: compile(serviceControls.samples.request),
  version: compile(serviceControls.prepare.request),
  activate: compile(serviceControls.activate.request),
  freeze: compile(serviceControls.freeze.request),
  install: compile(serviceControls['install-certificate'].request),
  configure: compile(serviceControls.configure.request),
};

/** 409: the adapter's own refusal, with its code. */
const status = {
  SLOT_UNKNOWN: 409,
  VERSION_UNKNOWN: 409,
  STATE_CONFLICT: 409,
  STORE_FAILED: 409,
  SYSTEM_UNREACHABLE: 409,
  DISK_FULL: 409,
} as const satisfies Readonly<Record<AdapterErrorCode, 409>>;

type On = (
  control: ServiceControl,
  answer: (context: Parameters<typeof bodyOf>[0]) => unknown,
) => void;

/** `more`: what is measured beside the service. */
export function controlRoutes(
  service: LayerService,
  log: Log,
  more: () => Readonly<Record<string, number>> = () => ({}),
): Hono {
  const { adapter } = service;
  const { app } = serviceApp<AdapterErrorCode>({ log, status });
  const on: On = (control, answer) =>
    app.post(controlPath(control), async (context) => {
      try {
        return context.json((await answer(context)) ?? {});
      } catch (error) {
        if (!(error instanceof AdapterError)) throw error;
        const { code, message, retryable } = error;
        throw new Refused(code, message.slice(0, 1_000), { retryable });
      }
    });
  on('describe', () => ({
    name: adapter.name,
    fingerprint: adapter.fingerprint(),
    ...(service.custody === undefined ? {} : { custody: service.custody() }),
  }));
  on('inspect', async () =>
    (await adapter.inspect()).map((slot) => ({ ...slot, versions: slot.versions.map(written) })),
  );
  on('prepare', async (context) => {
    const { slot, version } = await bodyOf(context, checks.version);
    return written(await adapter.prepare(slot, version));
  });
  on('activate', async (context) => {
    const { slot, version, challenge } = await bodyOf(context, checks.activate);
    const bytes = fromBase64Url(challenge);
    if (bytes === undefined)
      throw new Refused('REQUEST_MALFORMED', 'the challenge is not base64url');
    const { proof } = await adapter.activate(slot, version, bytes);
    return proof === undefined ? {} : { proof: toBase64Url(proof) };
  });
  on('verify', async (context) => {
    const { slot, version } = await bodyOf(context, checks.version);
    return await adapter.verify(slot, version);
  });
  on('rollback', async (context) => {
    const { slot, version } = await bodyOf(context, checks.version);
    await adapter.rollback(slot, version);
  });
  on('retire', async (context) => {
    const { slot, version } = await bodyOf(context, checks.version);
    await adapter.retire(slot, version);
  });
  on('uses-lately', async (context) => {
    const { slot, version } = await bodyOf(context, checks.version);
    return { uses: await adapter.usesLately(slot, version) };
  });
  on('samples', async (context) => adapter.samples((await bodyOf(context, checks.slot)).slot));
  on('freeze', async (context) => {
    const { slot, frozen } = await bodyOf(context, checks.freeze);
    await adapter.freeze(slot, frozen);
  });
  on('configure', async (context) => service.configure(await bodyOf(context, checks.configure)));
  on('take-counts', () => service.takeCounts());
  on('measure', () => ({ ...service.measure(), ...more() }));
  if (service.certificates !== undefined) certificateControls(on, service.certificates);
  if (service.adminRoutes !== undefined) app.route('/v1/admin', service.adminRoutes);
  return app;
}

/** For services whose keys are certified. */
function certificateControls(on: On, certificates: CertifiedKeys): void {
  on('certificate-request', async (context) => {
    const { slot, version } = await bodyOf(context, checks.version);
    const request = await certificates.request(slot, version);
    return request === undefined ? {} : { request: toBase64Url(request) };
  });
  on('install-certificate', async (context) => {
    const { slot, version, chain, roots } = await bodyOf(context, checks.install);
    const issued = { chain: chain.map(bytesOf), roots: roots.map(bytesOf) };
    await certificates.install(slot, version, issued);
  });
}

function bytesOf(text: string): Uint8Array {
  const bytes = fromBase64Url(text);
  if (bytes !== undefined) return bytes;
  throw new Refused('REQUEST_MALFORMED', 'a certificate is not base64url');
}

function written({ publicKey, ...version }: KeyVersion) {
  return publicKey === undefined ? version : { ...version, publicKey: toBase64Url(publicKey) };
}
