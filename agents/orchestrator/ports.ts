/** What the parts of an orchestrator share: its ports, its configuration, its view of the mesh. */

import type { Bus } from '#shared/bus/bus.ts';
import type { Subjects } from '#shared/bus/subjects.ts';
import type { EpochKeyring } from '#shared/crypto/epoch-keyring.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { EpochMember } from '#shared/runtime/epoch-member.ts';
import type { Exchange } from '#shared/runtime/exchange.ts';
import type { Clock, Log } from '#shared/runtime/ports.ts';
import type { Notices } from '#shared/runtime/notices.ts';
import type { TrustDesk } from '#shared/runtime/trust-desk.ts';
import type { TelemetryDesk } from './telemetry-desk.ts';

export interface OrchestratorPorts {
  readonly agentId: string;
  readonly exchange: Exchange;
  readonly bus: Bus;
  readonly trust: TrustView;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Log;
  readonly subjects: Subjects;
  /** Shown to operators; nothing decides by it. */
  readonly telemetry: TelemetryDesk;
  /** Silence after which another orchestrator's work is taken over. */
  readonly takeoverMs: number;
}

/** What an orchestrator is made of beside that. */
export interface OrchestratorParts extends OrchestratorPorts {
  /** What every agent hears; not started yet. */
  readonly notices: Notices;
  readonly trustDesk: Pick<TrustDesk, 'isLockedOut' | 'lockoutOf' | 'lockouts'>;
  /** The secrets of the channels, not started yet; absent where they are fixed. */
  readonly epochs?: EpochMember;
  readonly keyring?: EpochKeyring;
}

/** How long one question to an agent may take. */
export const askTimeoutMs = 2_000;
/** How long the signer may take: a token's child may have to be started again. */
export const signTimeoutMs = 8_000;
/** Pause before work that failed for want of the bus or an agent is tried again. */
export const retryDelayMs = 400;
