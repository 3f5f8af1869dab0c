/**
 * Epochs: how the mesh's own channels get their secrets. An orchestrator draws 32 bytes per channel and
 * epoch, encapsulates them to a one-time prekey of every member, and has the announcement stated by the
 * signer; members accept it, and it comes into use when all have, or have had their time. Everything
 * here travels on the channel `notices`, whose key anyone can derive: it is signed, not secret.
 */

import { Type, type Static } from 'typebox';
import { Instant, signedDocument } from './document.ts';
import {
  AgentId,
  Bytes,
  BytesMax,
  DigestHex,
  KebabName,
  List,
  OneOf,
  StrictObject,
  Text,
  Uint,
} from './primitives.ts';

/** Members of one channel, at the most: 2 KiB for each in one event (name, digest, capsule). */
export const epochMembersMax = 200;
/** Channels of one mesh: saga, mesh, operators, telemetry and layer-1 to layer-7. */
export const channelsMax = 16;

/** Why a channel was rekeyed. */
export const epochCauses = [
  'first',
  'time',
  'count',
  'membership',
  'suspicion',
  'operator',
  /** Nobody holds the secret of the epoch in use any more. */
  'lost',
] as const;
export const EpochCause = OneOf(epochCauses);
export type EpochCause = Static<typeof EpochCause>;

export const EpochNumber = Uint(0xffff_ffff);

/**
 * One-time hybrid KEM keys of one agent, one per channel; each is destroyed after its use. An event
 * holds all that may still be used, so that the last one of an agent says everything. A prekey is used
 * up by an announcement that stands in the log: what was stated and never appended used nothing, for
 * the orchestrator that asked for it may be gone, and another one must be able to go on.
 */
export const PrekeysPublished = StrictObject({
  prekeys: List(
    StrictObject({
      channel: KebabName(),
      /** SHA3-256 of the public key. */
      prekeyId: DigestHex(),
      /** X25519MLKEM1024: ML-KEM-1024 (1,568) and X25519 (32). */
      publicKey: Bytes(1600),
    }),
    { itemsMin: 1, itemsMax: channelsMax },
  ),
});
export type PrekeysPublished = Static<typeof PrekeysPublished>;

/** The secret of one channel and epoch for one member. */
export const EpochCapsule = StrictObject({
  agentId: AgentId(),
  prekeyId: DigestHex(),
  /** X25519MLKEM1024 ciphertext. */
  kemCiphertext: Bytes(1600),
  /** ChaCha20-Poly1305 of the 32-byte secret, with its tag. */
  sealedSecret: Bytes(48),
});
export type EpochCapsule = Static<typeof EpochCapsule>;

/** What the signer states of an epoch before anyone may take it. */
export const EpochAnnouncementBody = StrictObject({
  kind: Type.Literal('epoch_announcement'),
  mesh: KebabName(),
  channel: KebabName(),
  /** One above the last one announced for this channel: epochs never go down (invariant 6). */
  epoch: EpochNumber,
  cause: EpochCause,
  /** SHA3-256 over label, channel, epoch and secret: shows a wrong secret, hides the right one. */
  secret_commitment: DigestHex(),
  /** Who is given the secret, in order of agent id, and the digest of each one's capsule. */
  members: List(StrictObject({ agent_id: AgentId(), capsule_digest: DigestHex() }), {
    itemsMin: 1,
    itemsMax: epochMembersMax,
  }),
  /**
   * SHA3-256 over all who may hold the secret, members and those who ask for it (`entitledDigest` in
   * `shared/crypto/epoch-capsule.ts`): once it is another one, the epoch is due for its successor.
   */
  entitled_digest: DigestHex(),
  issued_at: Instant(),
});
export type EpochAnnouncementBody = Static<typeof EpochAnnouncementBody>;
export const EpochAnnouncement = signedDocument(EpochAnnouncementBody);
export type EpochAnnouncement = Static<typeof EpochAnnouncement>;

/** One entry of a channel's epoch log (`saga.epoch.<channel>`). */
export const EpochEntry = StrictObject({
  channel: KebabName(),
  epoch: EpochNumber,
  event: Type.Union([
    StrictObject({
      type: Type.Literal('epoch-announced'),
      announcement: EpochAnnouncement,
      capsules: List(EpochCapsule, { itemsMin: 1, itemsMax: epochMembersMax }),
    }),
    /** Senders use the epoch from here on. */
    StrictObject({
      type: Type.Literal('epoch-activated'),
      /** Statement hashes of the members' acceptances. */
      accepted: List(DigestHex(), { itemsMax: epochMembersMax }),
      /** Members that did not answer in time; they get the secret when they ask for it. */
      absent: List(AgentId(), { itemsMax: epochMembersMax }),
    }),
    /** The epoch is over: every holder wipes its secret. */
    StrictObject({ type: Type.Literal('epoch-closed') }),
    /** It was announced and never came into use (a member refused it, a newer one overtook it). */
    StrictObject({ type: Type.Literal('epoch-abandoned'), reason: Text(200) }),
  ]),
});
export type EpochEntry = Static<typeof EpochEntry>;

/** A member's word that it holds the secret that the announcement commits to. */
export const EpochAccepted = StrictObject({
  channel: KebabName(),
  epoch: EpochNumber,
  /** SHA3-256 of the announcement. */
  announcementDigest: DigestHex(),
});
export type EpochAccepted = Static<typeof EpochAccepted>;

/** An operator wants a channel rekeyed now. */
export const EpochRotationRequested = StrictObject({
  requestId: Text(64),
  /** All channels where absent. */
  channel: Type.Optional(KebabName()),
  cause: OneOf(['operator', 'suspicion']),
  reason: Text(500),
});
export type EpochRotationRequested = Static<typeof EpochRotationRequested>;

/** Epochs of one channel whose secrets are held at once; beyond that the oldest is closed. */
export const epochsHeldMax = 256;
/** Secrets in one answer: channels times epochs would not fit, so the newest of each channel come first. */
export const secretsGivenMax = 1536;
/** Announcements in one answer: three of each channel. */
export const announcementsGivenMax = 3 * channelsMax;

/** Epochs that one question may name, so that their announcements come with the answer. */
export const epochsWantedMax = 24;

/** Where an epoch of a channel stands: not yet used, used by senders, or only to be opened. */
export const epochStandings = ['announced', 'active', 'superseded'] as const;
export const EpochStanding = OneOf(epochStandings);
export type EpochStanding = Static<typeof EpochStanding>;

/** What the encapsulated part of an answer to `epoch-secrets` holds. */
export const EpochSecretsGiven = List(
  StrictObject({
    channel: KebabName(),
    epoch: EpochNumber,
    secret: Bytes(32),
    standing: EpochStanding,
  }),
  { itemsMax: secretsGivenMax },
);
export type EpochSecretsGiven = Static<typeof EpochSecretsGiven>;

/**
 * Answer to `epoch-secrets`: the secrets of the asker's channels, encapsulated to the hybrid key that
 * it drew for this one question, and the announcements by which it checks the newest of them.
 */
export const EpochSecretsAnswer = StrictObject({
  kemCiphertext: Bytes(1600),
  /** ChaCha20-Poly1305 of canonical MessagePack of `EpochSecretsGiven`. */
  sealed: BytesMax(256 * 1024),
  announcements: List(EpochAnnouncement, { itemsMax: announcementsGivenMax }),
});
export type EpochSecretsAnswer = Static<typeof EpochSecretsAnswer>;

/** Where a channel stands, as `gyre epoch show` tells it. */
export const EpochStatus = StrictObject({
  channel: KebabName(),
  /** The epoch that senders use; 0 before the first. */
  epoch: EpochNumber,
  cause: Type.Optional(EpochCause),
  activatedAtMs: Type.Optional(Uint()),
  /** Epochs whose secrets are still held, highest first. */
  open: List(EpochNumber, { itemsMax: epochsHeldMax }),
  /** Those of them that are kept only until an auditor has read what was sealed under them. */
  unaudited: List(EpochNumber, { itemsMax: epochsHeldMax }),
  /** Announced and not yet in use. */
  pending: Type.Optional(EpochNumber),
  members: List(AgentId(), { itemsMax: epochMembersMax }),
  absent: List(AgentId(), { itemsMax: epochMembersMax }),
  messages: Uint(),
});
export type EpochStatus = Static<typeof EpochStatus>;
export const EpochStatusList = StrictObject({
  channels: List(EpochStatus, { itemsMax: channelsMax }),
});
