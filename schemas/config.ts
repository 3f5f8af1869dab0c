/**
 * The configuration file of one agent. Paths are relative to the folder of the file. Secrets are
 * never in it: it names the files (mode 0600) that hold them.
 */

import { Type, type Static } from 'typebox';
import { LayerNumber } from './layers.ts';
import { NegotiationConstraints, TlsVersion } from './negotiation.ts';
import {
  AgentId,
  DigestHex,
  DurationMs,
  IntegerRange,
  KebabName,
  List,
  OneOf,
  StrictObject,
  Text,
  Uint,
  compile,
} from './primitives.ts';
import { AgentKind } from './trust.ts';

const Path = Text(1024);

/** `host:port` of a nats-server. */
const NatsAddress = Text(200);

export const TokenConfig = Type.Union([
  StrictObject({
    kind: Type.Literal('pkcs11'),
    library: Path,
    label: Text(32),
    pinFile: Path,
    /** Wrapped seeds live here. */
    directory: Path,
    /** SoftHSM2 only: the value of SOFTHSM2_CONF for the token's process. */
    softhsmConfig: Type.Optional(Path),
    timeoutMs: DurationMs(60_000),
  }),
  StrictObject({ kind: Type.Literal('file'), directory: Path, pinFile: Path }),
]);
export type TokenConfig = Static<typeof TokenConfig>;

/** Implementations of the algorithms that an agent takes, best first. */
export const ProviderPreference = List(OneOf(['native', 'noble']), { itemsMin: 1, itemsMax: 2 });
export type ProviderPreference = Static<typeof ProviderPreference>;

const Program = {
  /** With a slash: a path; without one it is looked for on the PATH. */
  program: Path,
  arguments: Type.Optional(List(Text(4_096), { itemsMax: 64 })),
  timeoutMs: Type.Optional(DurationMs(600_000)),
  /** Of a failure: the end of standard error to the agent's log. False unless told, as it may hold secrets. */
  logsStandardError: Type.Optional(Type.Boolean()),
};

/** A system of somebody else's whose keys the agent turns (docs/adapters.md). */
export const AttachedSystem = Type.Union([
  StrictObject({ kind: Type.Literal('command'), ...Program }),
  StrictObject({
    kind: Type.Literal('key-files'),
    directory: Path,
    reload: Type.Optional(StrictObject(Program)),
  }),
  StrictObject({
    kind: Type.Literal('certificate-files'),
    directory: Path,
    /** That its certificates have to have. */
    names: List(Text(253), { itemsMin: 1, itemsMax: 16 }),
    /** Where the TLS server listens. */
    address: StrictObject({ host: Text(253), port: IntegerRange({ min: 1, max: 65_535 }) }),
    reload: StrictObject(Program),
  }),
]);
export type AttachedSystem = Static<typeof AttachedSystem>;

export const AgentConfig = StrictObject({
  mesh: KebabName(),
  agentId: AgentId(),
  agentKind: AgentKind,
  layer: Type.Optional(LayerNumber),
  /** Pinned: SHA3-256 of the root document that this agent trusts. */
  rootDigest: DigestHex(),
  trustBundle: Path,
  /** One server, or those of a cluster: the agent stays with whichever answers. */
  natsUrl: Type.Union([NatsAddress, List(NatsAddress, { itemsMin: 1, itemsMax: 9 })]),
  /** 32-byte seed of the ML-DSA-87 identity key. */
  identitySeedFile: Path,
  /** 64-byte seed of the enrolled ML-KEM-1024 key; read by nothing (see `kem_key`). */
  kemSeedFile: Path,
  nkeySeedFile: Path,
  /** Native alone unless told: a runtime without it is refused rather than slowed down. */
  providers: Type.Optional(ProviderPreference),
  /** Where the agent keeps its databases. */
  stateDirectory: Path,
  logLevel: Type.Optional(Text(10)),
  /** Layer agents: unix socket on which local workloads use the keys. */
  keyServiceSocket: Type.Optional(Path),
  /** Layer agents: control socket of the layer's service; without one the agent holds the keys. */
  serviceControlSocket: Type.Optional(Path),
  /** Layer agents: what is attached in place of a service or of keys in the agent. */
  attached: Type.Optional(AttachedSystem),
  /** Layer agents: uses of an old key within this span keep it from being retired. */
  recentUseMs: Type.Optional(DurationMs()),
  /** Layer agents: what they ask of negotiations, and the TLS that their systems speak. */
  negotiation: Type.Optional(
    StrictObject({
      constraints: NegotiationConstraints,
      tlsVersionMin: Type.Optional(TlsVersion),
    }),
  ),
  /** Layer agents: between two heartbeats; 1,000 unless told. */
  heartbeatMs: Type.Optional(IntegerRange({ min: 100, max: 60_000 })),
  /** Signer only. */
  token: Type.Optional(TokenConfig),
  /** Signer only: names and addresses of servers that it certifies; none, and it is no authority. */
  certificateNames: Type.Optional(List(Text(253), { itemsMin: 1, itemsMax: 64 })),
  /** Orchestrators: silence after which another one's saga is taken over. */
  takeoverMs: Type.Optional(DurationMs(600_000)),
  /** Auditor: checkpoint after so many new leaves, or so long after the last one. */
  checkpointLeaves: Type.Optional(Uint(1_000_000)),
  checkpointMs: Type.Optional(DurationMs(3_600_000)),
});
export type AgentConfig = Static<typeof AgentConfig>;

export const agentConfigCheck = compile(AgentConfig);

const attachedKinds = ['command', 'key-files', 'certificate-files'] as const;
const attachedChecks = {
  command: compile(AttachedSystem.anyOf[0]),
  'key-files': compile(AttachedSystem.anyOf[1]),
  'certificate-files': compile(AttachedSystem.anyOf[2]),
} satisfies Readonly<Record<AttachedSystem['kind'], unknown>>;

/**
 * What is wrong with a configuration, for people: of what is attached only what its kind asks for, and of
 * an unknown kind which one was given and which ones there are.
 */
export function agentConfigFaults(value: unknown): string[] {
  const faults = agentConfigCheck.errors(value);
  const attached = isObject(value) ? value['attached'] : undefined;
  if (!isObject(attached)) return faults;
  const given = attached['kind'];
  const kind = attachedKinds.find((known) => known === given);
  const ofAttached =
    kind === undefined
      ? [`/attached/kind: is ${named(given)}, must be one of ${attachedKinds.join(', ')}`]
      : attachedChecks[kind]
          .errors(attached)
          .map((fault) => `/attached${fault.replace(/^\/:/, ':')}`);
  return [...faults.filter((fault) => !/^\/attached[/:]/.test(fault)), ...ofAttached];
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A kind is no secret; it is cut all the same. */
function named(kind: unknown): string {
  if (kind === undefined) return 'not given';
  return typeof kind === 'string' ? JSON.stringify(kind.slice(0, 40)) : 'no text';
}
