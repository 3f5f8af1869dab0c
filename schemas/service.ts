/**
 * What a layer's service is told: the configuration file of its process, the settings that its agent
 * derives from the policy and hands over, and how the two speak to each other about keys.
 */

import { Type, type Static } from 'typebox';
import { keyKinds, LayerNumber, SlotName } from './layers.ts';
import { TlsVersion } from './negotiation.ts';
import {
  Base64Url,
  DigestHex,
  IntegerRange,
  List,
  OneOf,
  StrictObject,
  Text,
  TimeMs,
  Uint,
  compile,
} from './primitives.ts';

const Path = Text(1024);

/** Listening address of the one service that is reached over the network: that of layer 3. */
const Listen = StrictObject({
  host: Text(253),
  /** 0 lets the system choose; the service's `listening` file then tells. */
  port: IntegerRange({ min: 0, max: 65_535 }),
  /** By which clients call it, and which its certificate has to name; `host` unless told. */
  names: Type.Optional(List(Text(253), { itemsMin: 1, itemsMax: 16 })),
});

/**
 * Which other layers a layer serves more than the public routes: each on a unix socket of its own, so
 * that whoever asks is known by the socket, and has what that layer needs and nothing else.
 */
export const peersServed: Readonly<Partial<Record<LayerNumber, readonly LayerNumber[]>>> = {
  /** Certificates. */
  1: [2],
  /** Introspection. */
  2: [4, 5, 6, 7],
  /** Data keys. */
  4: [5],
  /** Records. */
  5: [6],
};

/** By number of the layer. */
const LayerPaths = Type.Record(Type.String({ pattern: '^[1-7]$' }), Path);

/** The PKCS#11 token in which a service has its topmost key. */
export const ServiceToken = StrictObject({
  library: Path,
  label: Text(32),
  pinFile: Path,
  /** SoftHSM2 only: the value of SOFTHSM2_CONF for the token's process. */
  softhsmConfig: Type.Optional(Path),
  /** For one operation of the token, in milliseconds. */
  timeoutMs: IntegerRange({ min: 1, max: 60_000 }),
});
export type ServiceToken = Static<typeof ServiceToken>;

/** Paths are relative to the folder of the file. */
export const ServiceConfig = StrictObject({
  layer: LayerNumber,
  stateDirectory: Path,
  /** Unix socket (0600) of the public routes: what layer 3 forwards to, and who has no socket of his own. */
  serviceSocket: Path,
  /** Unix sockets (0600) of the routes of one other layer each, in a folder of its own. */
  peerSockets: LayerPaths,
  /** Unix socket (0600) on which its agent turns the keys, and administrators enrol users. */
  controlSocket: Path,
  /** Of the other layers: the socket that it opens for this one, or else its service socket. */
  peers: LayerPaths,
  listen: Type.Optional(Listen),
  /** A PostgreSQL server by its URL; without one the embedded database is used. */
  databaseUrlFile: Type.Optional(Path),
  /** Layer 4: where its root KEK is; in a file of its key store without one. */
  token: Type.Optional(ServiceToken),
  logLevel: Type.Optional(Text(10)),
  /** Uses of an old key within this span keep it from being retired; milliseconds. */
  recentUseMs: Type.Optional(IntegerRange({ min: 0, max: 24 * 3_600_000 })),
});
export type ServiceConfig = Static<typeof ServiceConfig>;
export const serviceConfigCheck = compile(ServiceConfig);

/** What the policy in force asks of the services. Kept by the service: the last good one holds. */
export const ServiceSettings = StrictObject({
  policyVersion: Uint(),
  policyDigest: DigestHex(),
  mfaRequired: Type.Boolean(),
  tlsVersionMin: TlsVersion,
  hybridKeyExchangeRequired: Type.Boolean(),
  /** TLS groups that a named exception of the policy allows beside SecP384r1MLKEM1024. */
  tlsGroupExceptions: List(Text(40), { itemsMax: 8 }),
  /** MACs that the policy allows layer 1 for the codes of a second factor. */
  secondFactorMacs: List(Text(40), { itemsMax: 8 }),
  aesKeyBitsMin: IntegerRange({ min: 128, max: 256 }),
  /** How long what was made under an old key stays valid, in milliseconds. */
  overlapMs: Uint(),
});
export type ServiceSettings = Static<typeof ServiceSettings>;
export const serviceSettingsCheck = compile(ServiceSettings);

const slotFields = { slot: SlotName() };
const versionFields = { ...slotFields, version: Uint() };

/** The longest public half is an ML-DSA-87 key: 2,592 bytes. */
const PublicHalf = Base64Url(8_192);

export const ServiceKeyVersion = StrictObject({
  version: Uint(),
  keyId: DigestHex(),
  publicDigest: DigestHex(),
  publicKey: Type.Optional(PublicHalf),
  state: OneOf(['prepared', 'primary', 'accepted', 'withdrawn']),
  createdAtMs: TimeMs(),
  activatedAtMs: Type.Optional(TimeMs()),
});

export const ServiceInspection = List(
  StrictObject({
    slot: SlotName(),
    keyKind: OneOf(keyKinds),
    algorithm: Text(64),
    frozen: Type.Boolean(),
    highestVersion: Uint(),
    versions: List(ServiceKeyVersion, { itemsMax: 64 }),
  }),
  { itemsMax: 16 },
);

const ServiceSamples = StrictObject({
  operations: Uint(),
  failures: Uint(),
  latencyPercent: Uint(),
});

const UsageCounts = List(
  StrictObject({ slot: SlotName(), version: Uint(), operations: Uint(), failures: Uint() }),
  { itemsMax: 64 },
);

/** One certificate or request in DER, at most 11 KB of it. */
const CertificateText = Base64Url(15_000);

const Metrics = Type.Record(Type.String({ pattern: '^[a-z][a-z0-9-]{0,63}$' }), Type.Number());

/**
 * Operations of the control socket: what is asked and what is answered, in JSON; bytes as unpadded
 * base64url. Every one may be repeated with the same arguments.
 */
export const serviceControls = {
  describe: {
    request: StrictObject({}),
    answer: StrictObject({
      name: Text(64),
      fingerprint: DigestHex(),
      /** Of services whose topmost key can be in a token: where it is, and what to tell people of it. */
      custody: Type.Optional(StrictObject({ kind: OneOf(['token', 'file']), notice: Text(200) })),
    }),
  },
  inspect: { request: StrictObject({}), answer: ServiceInspection },
  prepare: { request: StrictObject(versionFields), answer: ServiceKeyVersion },
  activate: {
    request: StrictObject({ ...versionFields, challenge: Base64Url(1_024) }),
    answer: StrictObject({ proof: Type.Optional(Base64Url(16_384)) }),
  },
  verify: {
    request: StrictObject(versionFields),
    answer: StrictObject({ ok: Type.Boolean(), reason: Type.Optional(Text(1_000)) }),
  },
  rollback: { request: StrictObject(versionFields), answer: StrictObject({}) },
  retire: { request: StrictObject(versionFields), answer: StrictObject({}) },
  'uses-lately': { request: StrictObject(versionFields), answer: StrictObject({ uses: Uint() }) },
  samples: { request: StrictObject(slotFields), answer: ServiceSamples },
  freeze: {
    request: StrictObject({ ...slotFields, frozen: Type.Boolean() }),
    answer: StrictObject({}),
  },
  configure: { request: ServiceSettings, answer: StrictObject({}) },
  /* Services whose keys are certified: what they ask of an authority, and what it gave. */
  'certificate-request': {
    request: StrictObject(versionFields),
    /** PKCS#10 in DER; absent where the key has a certificate of an authority with time before it. */
    answer: StrictObject({ request: Type.Optional(CertificateText) }),
  },
  'install-certificate': {
    request: StrictObject({
      ...versionFields,
      /** The server's certificate first. */
      chain: List(CertificateText, { itemsMin: 1, itemsMax: 2 }),
      roots: List(CertificateText, { itemsMin: 1, itemsMax: 2 }),
    }),
    answer: StrictObject({}),
  },
  'take-counts': { request: StrictObject({}), answer: UsageCounts },
  measure: { request: StrictObject({}), answer: Metrics },
} as const;
export type ServiceControl = keyof typeof serviceControls;
export const serviceControlNames = Object.keys(serviceControls) as readonly ServiceControl[];

/** Every refusal or fault of a service: a code that programs act on, and words for people. */
export const ServiceProblem = StrictObject({
  error: StrictObject({
    code: Type.String({ pattern: '^[A-Z][A-Z0-9_-]{1,63}$' }),
    reason: Text(1_000),
    retryable: Type.Optional(Type.Boolean()),
  }),
});
export const serviceProblemCheck = compile(ServiceProblem);
