/** What layer 4 may be asked: with a capability on its service socket, for data keys on a layer's own. */

import { randomUUID } from 'node:crypto';
import type { Context, Hono } from 'hono';
import type { LayerNumber } from '#schemas/layers.ts';
import { Base64Url, IntegerRange, StrictObject, Type, compile } from '#schemas/primitives.ts';
import { fromBase64Url, toBase64Url } from '#shared/crypto/bytes.ts';
import {
  capabilityStatus,
  requireCapability,
  type CapabilityCode,
  type CapabilityDesk,
} from '../service/capability-check.ts';
import {
  bodyOf,
  Refused,
  serviceApp,
  type RefusalCounts,
  type ServiceApps,
} from '../service/http-app.ts';
import type { Log } from '#shared/runtime/ports.ts';
import type { DataKeys } from './data-keys.ts';
import { objectStatus, type ObjectCode, type Objects } from './objects.ts';

/** Of a plaintext, in bytes. */
export const plaintextBytesMax = 128 * 1024;
const plaintextCharsMax = Math.ceil((plaintextBytesMax * 4) / 3);
const bodyBytesMax = 2 * plaintextBytesMax;
const scope = 'encryption:use';
const status = { ...capabilityStatus, ...objectStatus };

/** ASCII, so that every language has the same bytes for it. */
const ObjectId = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._~:/@-]{0,127}$' });
const ContextText = Type.String({ pattern: '^[ -~]{0,512}$' });
const bound = { objectId: ObjectId, context: ContextText };

const checks = {
  dataKey: compile(StrictObject(bound)),
  encrypt: compile(
    StrictObject({
      objectId: Type.Optional(ObjectId),
      context: ContextText,
      /** Unpadded base64url; empty for an empty object. */
      plaintext: Type.String({ pattern: '^[A-Za-z0-9_-]*$', maxLength: plaintextCharsMax }),
      keyBits: Type.Optional(IntegerRange({ min: 128, max: 256 })),
    }),
  ),
  decrypt: compile(StrictObject({ ...bound, ciphertext: Base64Url(plaintextCharsMax + 256) })),
  objectId: compile(StrictObject({ objectId: ObjectId })),
};

export interface EncryptionRoutesOptions {
  readonly dataKeys: DataKeys;
  readonly objects: Objects;
  readonly desk: CapabilityDesk;
  readonly health: () => unknown;
  readonly log: Log;
}

export function encryptionRoutes(options: EncryptionRoutesOptions): ServiceApps {
  const { objects, desk, health, log } = options;
  const service = serviceApp<CapabilityCode | ObjectCode>({ log, status, bodyBytesMax });
  const { app, refusals } = service;
  app.get('/v1/health', (context) => context.json(health()));
  app.post('/v1/objects/encrypt', async (context) => {
    const { subject } = await requireCapability(context, desk, scope);
    const asked = await bodyOf(context, checks.encrypt);
    const { objectId = randomUUID(), keyBits } = asked;
    const object = { owner: ownerOf(subject), objectId, context: asked.context };
    const plaintext = bytesOf(asked.plaintext, 'plaintext');
    const { sealed, kekVersion } = await objects.encrypt(object, plaintext, keyBits);
    return context.json({ objectId, ciphertext: toBase64Url(sealed), kekVersion });
  });
  app.post('/v1/objects/decrypt', async (context) => {
    const { subject } = await requireCapability(context, desk, scope);
    const asked = await bodyOf(context, checks.decrypt);
    const { objectId } = asked;
    const object = { owner: ownerOf(subject), objectId, context: asked.context };
    const plaintext = await objects.decrypt(object, bytesOf(asked.ciphertext, 'ciphertext'));
    return context.json({ objectId, plaintext: toBase64Url(plaintext) });
  });
  app.delete('/v1/objects/:objectId{.+}', async (context) => {
    const { subject } = await requireCapability(context, desk, scope);
    objects.remove({ owner: ownerOf(subject), ...nameOf(context) });
    return context.json({});
  });
  return { app, refusals, peerRoutes: { 5: dataKeyRoutes(options, refusals, 5) } };
}

/** For one other layer: its own data keys, whatever those of others are called. */
function dataKeyRoutes(
  options: EncryptionRoutesOptions,
  refusals: RefusalCounts,
  peer: LayerNumber,
): Hono {
  const { dataKeys, objects, log } = options;
  const owner = `layer:${peer}`;
  const { app } = serviceApp<CapabilityCode | ObjectCode>({ log, status, bodyBytesMax, refusals });
  app.post('/internal/v1/data-keys', async (context) => {
    const object = { owner, ...(await bodyOf(context, checks.dataKey)) };
    objects.requireStrength(256);
    const { key, kekVersion } = await dataKeys.make(object);
    return context.json({ objectId: object.objectId, key: revealed(key), kekVersion });
  });
  app.post('/internal/v1/data-keys/open', async (context) => {
    const object = { owner, ...(await bodyOf(context, checks.dataKey)) };
    const { key, kekVersion } = await dataKeys.open(object);
    return context.json({ objectId: object.objectId, key: revealed(key), kekVersion });
  });
  app.delete('/internal/v1/data-keys/:objectId{.+}', (context) => {
    objects.remove({ owner, ...nameOf(context) });
    return context.json({});
  });
  return app;
}

/** Of the path. @throws Refused REQUEST_MALFORMED */
function nameOf(context: Context): { readonly objectId: string } {
  const name = { objectId: context.req.param('objectId') };
  if (checks.objectId.check(name)) return name;
  throw new Refused('REQUEST_MALFORMED', 'no such name');
}

/** Never that of a layer. */
function ownerOf(subject: string): string {
  return `subject:${subject}`;
}

function revealed(key: Uint8Array): string {
  const text = toBase64Url(key);
  key.fill(0);
  return text;
}

function bytesOf(text: string, field: string): Uint8Array {
  const bytes = fromBase64Url(text);
  if (bytes !== undefined) return bytes;
  throw new Refused('REQUEST_MALFORMED', `/${field}: must be base64url`);
}
