/**
 * What layer 2's service takes and gives: capabilities, what a service learns of one that it was
 * shown, roles and who has them, and the keys by which capabilities are verified.
 */

import { Type, type Static } from 'typebox';
import { AkpKey, KeyCertificate, SubjectName, TokenText } from './identity.ts';
import { layerNames, layerNumbers } from './layers.ts';
import {
  Identifier,
  IntegerRange,
  KebabName,
  List,
  OneOf,
  StrictObject,
  Text,
  TimeMs,
  Uint,
  compile,
} from './primitives.ts';

/** Everything that a capability may be for. */
export const scopes = [
  'patient:read',
  'patient:write',
  'observation:read',
  'observation:write',
  'consent:read',
  'consent:write',
  'record:read',
  'record:write',
  'encryption:use',
  'health:read',
] as const;
export const Scope = OneOf(scopes);
export type Scope = Static<typeof Scope>;
const ScopeList = List(Scope, { itemsMin: 1, itemsMax: scopes.length });

/** The one service that a capability is for, by the name of its layer. */
export const Audience = OneOf(layerNumbers.map((number) => layerNames[number]));
export type Audience = Static<typeof Audience>;

export const capabilityToken = {
  issuer: layerNames[2],
  type: 'capability+jwt',
  /** Capabilities of one request, at the most. */
  countMax: 16,
} as const;

export const CapabilityRequest = StrictObject({
  session: TokenText(),
  scope: ScopeList,
  audience: Audience,
  count: Type.Optional(IntegerRange({ min: 1, max: capabilityToken.countMax })),
});
export const capabilityRequestCheck = compile(CapabilityRequest);

export const Capabilities = StrictObject({
  tokens: List(TokenText(), { itemsMin: 1, itemsMax: capabilityToken.countMax }),
  expiresAtMs: TimeMs(),
});
export type Capabilities = Static<typeof Capabilities>;
export const capabilitiesCheck = compile(Capabilities);

export const CapabilityClaims = StrictObject({
  iss: OneOf([capabilityToken.issuer]),
  sub: SubjectName(),
  aud: Audience,
  /** Scopes, with a space between them (RFC 8693 section 4.2). */
  scope: Type.String({ pattern: '^[a-z]+:[a-z]+( [a-z]+:[a-z]+)*$', maxLength: 400 }),
  iat: Uint(),
  nbf: Uint(),
  exp: Uint(),
  /** The nonce: version of the key of its MAC, generation, 16 random bytes, MAC of 48 bytes. */
  jti: Type.String({
    pattern: '^[1-9][0-9]{0,9}\\.(0|[1-9][0-9]{0,9})\\.[A-Za-z0-9_-]{22}\\.[A-Za-z0-9_-]{64}$',
    maxLength: 112,
  }),
});
export type CapabilityClaims = Static<typeof CapabilityClaims>;
export const capabilityClaimsCheck = compile(CapabilityClaims);

/**
 * Anything may be shown: what is no capability is refused as one. It has to be for the layer that
 * asks, which is known by the socket.
 */
export const IntrospectionRequest = StrictObject({
  token: Text(16_384),
  scope: Text(64),
  /** Chosen by the asking service: the same one again, after a broken connection, is no replay. */
  requestId: Type.Optional(Identifier()),
});
export type IntrospectionRequest = Static<typeof IntrospectionRequest>;
export const introspectionRequestCheck = compile(IntrospectionRequest);

export const RoleName = KebabName();
export const roleNameCheck = compile(RoleName);
export const RoleEntry = StrictObject({ scopes: List(Scope, { itemsMax: scopes.length }) });
export const roleEntryCheck = compile(RoleEntry);
export const SubjectEntry = StrictObject({ roles: List(RoleName, { itemsMax: 32 }) });
export const subjectEntryCheck = compile(SubjectEntry);

export const CapabilityKeys = StrictObject({
  keys: List(AkpKey, { itemsMax: 64 }),
  certificates: List(KeyCertificate, { itemsMax: 64 }),
});
export type CapabilityKeys = Static<typeof CapabilityKeys>;
export const capabilityKeysCheck = compile(CapabilityKeys);
