/** Rows of the mesh's own channels: how epochs change, what is kept, how long old versions are taken. */

import type { PolicyBody } from '#schemas/policy.ts';
import { Archive } from '#agents/auditor/archive.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { archiveChannel, archiveEpoch } from '#shared/core/channels.ts';
import { entitlementMisfit } from '#shared/core/entitlement.ts';
import { initialEpochs, stepEpoch, type EpochEvent, type EpochState } from '#shared/core/epoch.ts';
import { epochCommand, type EpochSituation } from '#shared/core/epoch-command.ts';
import { readAuditedFrame } from '#shared/crypto/audit-event.ts';
import { StaticKeyring } from '#shared/crypto/keyring.ts';
import { inForceLive } from '#shared/crypto/trust-in-force.ts';
import { crypto, type World } from '../../../support/world.ts';
import { digestOf, nowMs } from '../mesh.ts';
import { successor, under } from './living.ts';
import type { PolicyRow } from './row.ts';

const orchestrators = 'orchestrators (epochs)';
const members = ['auditor', 'orchestrator-a', 'signer'];
const entitledDigest = digestOf('entitled');

export const channelRows: readonly PolicyRow[] = [
  {
    field: 'policies.channels.epoch_max_ms',
    enforcedBy: orchestrators,
    change: ({ channels }) => (channels.epoch_max_ms = 60_000),
    run: (policy) => next(inUse(), policy, { nowMs: nowMs + 600_000 }),
    code: 'announce time',
  },
  {
    field: 'policies.channels.epoch_messages_max',
    enforcedBy: orchestrators,
    change: ({ channels }) => (channels.epoch_messages_max = 1_000),
    run: (policy) => next(inUse(), policy, { messages: 1_000 }),
    code: 'announce count',
  },
  {
    field: 'policies.channels.epoch_accept_ms',
    enforcedBy: orchestrators,
    change: ({ channels }) => (channels.epoch_accept_ms = 1_000),
    run: (policy) => next(announced(), policy, { nowMs: nowMs + 4_500 }),
    code: 'abandon',
  },
  {
    field: 'policies.channels.epoch_grace_ms',
    enforcedBy: 'everyone who reads the log of epochs',
    change: ({ channels }) => (channels.epoch_grace_ms = 3_600_000),
    run: ({ policies: { channels, rotation } }) => {
      const rules = { graceMs: channels.epoch_grace_ms, skewMs: rotation.clock_skew_ms };
      const state = after(superseded(), []);
      const close = { type: 'epoch-closed', epoch: 1, atMs: nowMs + 700_000 } as const;
      const step = stepEpoch(state, close, rules);
      return 'rejected' in step ? step.rejected : 'ok';
    },
    code: 'EPOCH_IN_GRACE',
  },
  {
    field: 'policies.channels.archive_control_events',
    enforcedBy: 'auditor',
    before: successor,
    change: ({ channels }) => (channels.archive_control_events = false),
    run: keeps,
    code: 'not kept',
  },
  {
    field: 'policies.channels.amendment_grace_ms',
    enforcedBy: 'every receiver',
    before: successor,
    change: ({ channels }) => (channels.amendment_grace_ms = 1_000),
    run: takesSuperseded,
    code: 'POLICY_NOT_IN_FORCE',
  },
];

/** What an orchestrator does next: `ok` where it waits. */
function next(state: EpochState, { policies }: PolicyBody, more: Partial<EpochSituation>): string {
  const command = epochCommand(state, {
    nowMs: nowMs + 10,
    rules: policies.channels,
    entitledDigest,
    candidates: members,
    prekeyed: new Set(members),
    keepers: ['signer'],
    lookingSinceMs: nowMs,
    isLost: false,
    messages: 0,
    wish: null,
    skewMs: 0,
    sagaSinceMs: null,
    audited: new Set(),
    isStale: false,
    ...more,
  });
  if (command.type === 'wait') return 'ok';
  return command.type === 'announce' ? `announce ${command.cause}` : command.type;
}

function announced(epoch = 1, state = initialEpochs('mesh')): EpochState {
  const announcementDigest = digestOf(`epoch ${epoch}`);
  const head = { epoch, cause: 'first', announcementDigest, entitledDigest } as const;
  return after(state, [
    { type: 'epoch-announced', ...head, members, atMs: nowMs, sequence: epoch },
  ]);
}

function inUse(epoch = 1, state = initialEpochs('mesh')): EpochState {
  const announcementDigest = digestOf(`epoch ${epoch}`);
  return after(announced(epoch, state), [
    ...members.map((agentId) => {
      const hash = digestOf(`${agentId} ${epoch}`);
      return { type: 'epoch-accepted', epoch, agentId, announcementDigest, hash } as const;
    }),
    { type: 'epoch-activated', epoch, accepted: members, absent: [], keepers: [], atMs: nowMs },
  ]);
}

function superseded(): EpochState {
  return inUse(2, inUse());
}

function after(state: EpochState, events: readonly EpochEvent[]): EpochState {
  return events.reduce((before, event) => {
    const step = stepEpoch(before, event, { graceMs: 600_000, skewMs: 1_000 });
    if ('rejected' in step) throw new Error(`${event.type}: ${step.rejected}`);
    return step.state;
  }, state);
}

/** An event that names the policy at genesis: its sender has not heard of the successor. */
function oldEvent(world: World) {
  return world.principal('op-1').seal({
    type: 'rotation-requested',
    subject: subjectsOf('test').request('op-1'),
    channel: 'operators',
    body: { requestId: 'r-1', rotationType: 'scheduled', layers: [1], reason: 'it is time' },
  });
}

async function keeps(policy: PolicyBody): Promise<string> {
  const { world, trust } = await under(policy);
  const secret = crypto.randomBytes(32);
  const keyring = new StaticKeyring([{ channel: archiveChannel, epoch: archiveEpoch, secret }]);
  const archive = new Archive({ auditor: 'auditor', crypto, trust, keyring });
  const { frame, disclosure } = oldEvent(world);
  const reading = readAuditedFrame(crypto, trust, frame);
  if (!reading.ok) return reading.code;
  const content = { salt: disclosure.salt, bodyBytes: disclosure.body };
  return archive.seal(reading.audited, 0, content) === undefined ? 'not kept' : 'ok';
}

async function takesSuperseded(policy: PolicyBody): Promise<string> {
  const { world, trust, adoptedAtMs } = await under(policy);
  const reading = readAuditedFrame(crypto, trust, oldEvent(world).frame);
  if (!reading.ok) return reading.code;
  const { parse } = subjectsOf('test');
  const inForce = inForceLive(trust, parse, { nowMs: () => adoptedAtMs + 10_000 });
  return entitlementMisfit(reading.audited.announced, reading.audited.sender, inForce) ?? 'ok';
}
