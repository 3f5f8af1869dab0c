/**
 * Who may say and hear what on the bus: a pure function from a principal to allow lists. Whatever
 * is not listed is denied. It is the second fence: the first is that events are sealed.
 *
 * Invariants: nobody may create, change, purge, delete or restore a stream or delete a message at
 * run time; a layer agent may create no consumer and read only its own; an inbox belongs to one
 * principal; what is kept for late comers everyone running may read and only orchestrators write.
 * The in-memory bus enforces the same lists.
 */
import assert from 'node:assert';
import { bucketNames } from './bus.ts';
import { streamNames } from './bus.ts';
import type { StreamName } from './bus.ts';
import { consumersOf } from './streams.ts';
import type { BusPrincipal } from './streams.ts';
import {
  bucketSubjects,
  followConsumerName,
  followSlotsMax,
  inboxPrefix,
  jetstreamSubjects,
  subjectMatches,
  subjectsOf,
} from './subjects.ts';
import type { Subjects } from './subjects.ts';

export interface Permissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
  /** Whether it may answer, once, a request that was delivered to it. */
  readonly answers: boolean;
}

/**
 * How a principal may read single messages: any message of the streams through the stream's leader,
 * the last message of the subjects it may publish on (possibly from a replica), or none.
 */
export type ReadScope = 'streams' | 'own-subjects' | 'none';

export function readScopeOf(principal: BusPrincipal): ReadScope {
  switch (principal.kind) {
    case 'orchestrator':
    case 'auditor':
      return 'streams';
    case 'signer':
    case 'layer':
      return 'own-subjects';
    case 'operator':
      return 'none';
  }
}

/** The layer that looks for anomalies: it reads what the others measure, and asks for actions. */
const selfHealingLayer = 7;

/** The allow lists of one principal of a mesh. */
export function permissionsOf(mesh: string, principal: BusPrincipal): Permissions {
  const subjects = subjectsOf(mesh);
  const { id } = principal;
  const inbox = `${inboxPrefix(id)}.>`;
  if (principal.kind === 'operator') {
    return {
      publish: [subjects.request(id), subjects.trust(id), subjects.patterns.query],
      subscribe: [inbox],
      answers: false,
    };
  }
  return {
    publish: [
      ...ownSubjects(subjects, principal),
      // Everyone asks: for the secrets of epochs, if for nothing else.
      subjects.patterns.query,
      subjects.dead(id),
      ...durables(subjects, principal),
      ...reads(subjects, principal),
      ...buckets(principal),
    ],
    subscribe: [inbox, subjects.query(id)],
    answers: true,
  };
}

/** Whether an allow list covers a subject without wildcards. */
export function allows(list: readonly string[], subject: string): boolean {
  return list.some((pattern) => subjectMatches(pattern, subject));
}

/** Whether an allow list covers all that a subscription with wildcards could receive. */
export function allowsSubscription(list: readonly string[], wanted: string): boolean {
  return list.some((pattern) => covers(pattern.split('.'), wanted.split('.')));
}

function ownSubjects(subjects: Subjects, principal: BusPrincipal): string[] {
  const { patterns } = subjects;
  const { id } = principal;
  const notices = [
    subjects.trust(id),
    subjects.prekey(id),
    subjects.epochReport(id),
    patterns.negotiation,
  ];
  switch (principal.kind) {
    case 'layer': {
      assert(principal.layer !== undefined, 'a layer agent has a layer');
      return [
        subjects.report(principal.layer, principal.id),
        subjects.capability(principal.layer, principal.id),
        subjects.telemetry(principal.layer, principal.id),
        ...(principal.layer === selfHealingLayer ? [subjects.healing(principal.id)] : []),
        ...notices,
      ];
    }
    case 'orchestrator':
      return [patterns.saga, patterns.step, ...notices];
    case 'auditor':
      // What the bus lost of a live saga goes back to where it was, in the auditor's envelope.
      return [
        patterns.saga,
        patterns.report,
        patterns.request,
        patterns.healing,
        patterns.audit,
        ...notices,
      ];
    case 'signer':
      return [subjects.signerLog(), ...notices];
    case 'operator':
      return [];
  }
}

function durables(subjects: Subjects, principal: BusPrincipal): string[] {
  return consumersOf(subjects, principal).flatMap(({ stream, name }) => [
    jetstreamSubjects.consumerInfo(stream, name),
    jetstreamSubjects.consumerNext(stream, name),
    ...jetstreamSubjects.acks(stream, name),
  ]);
}

function reads(subjects: Subjects, principal: BusPrincipal): string[] {
  const { patterns } = subjects;
  const { id } = principal;
  switch (principal.kind) {
    case 'layer':
      return [
        ...ownSubjects(subjects, principal).map((subject) => {
          const stream =
            subjects.parse(subject)?.kind === 'telemetry' ? 'GYRE_BULK' : 'GYRE_CONTROL';
          return jetstreamSubjects.directGetLast(stream, subject);
        }),
        ...(principal.layer === selfHealingLayer
          ? [
              jetstreamSubjects.streamInfo('GYRE_BULK'),
              ...follows('GYRE_BULK', id, [patterns.telemetry]),
            ]
          : []),
      ];
    case 'orchestrator':
      return (['GYRE_CONTROL', 'GYRE_AUDIT', 'GYRE_BULK'] as const).flatMap((stream) => [
        ...wholeStream(stream),
        ...follows(stream, id, undefined),
      ]);
    case 'auditor':
      return streamNames.flatMap((stream) => [
        ...wholeStream(stream),
        ...follows(stream, id, undefined),
      ]);
    case 'signer':
      return [
        jetstreamSubjects.streamInfo('GYRE_CONTROL'),
        jetstreamSubjects.streamInfo('GYRE_AUDIT'),
        jetstreamSubjects.directGetLast('GYRE_CONTROL', patterns.saga),
        jetstreamSubjects.directGetLast('GYRE_CONTROL', subjects.signerLog()),
        // One subject per follow, so that the server can hold the signer to it.
        ...follows('GYRE_CONTROL', id, [
          patterns.saga,
          patterns.trust,
          patterns.prekey,
          patterns.epochReport,
        ]),
        ...follows('GYRE_AUDIT', id, [patterns.audit]),
      ];
    case 'operator':
      return [];
  }
}

function buckets({ kind }: BusPrincipal): string[] {
  return bucketNames.flatMap((bucket) => [
    ...wholeBucket(bucket),
    ...(kind === 'orchestrator' ? [bucketSubjects.all(bucket)] : []),
  ]);
}

function wholeBucket(bucket: (typeof bucketNames)[number]): string[] {
  const stream = bucketSubjects.stream(bucket);
  return [jetstreamSubjects.streamInfo(stream), jetstreamSubjects.messageGet(stream)];
}

function wholeStream(stream: StreamName): string[] {
  return [jetstreamSubjects.streamInfo(stream), jetstreamSubjects.messageGet(stream)];
}

/** What `follow` needs. With `filters` only subjects under one of them can be followed. */
function follows(
  stream: StreamName,
  agentId: string,
  filters: readonly string[] | undefined,
): string[] {
  return Array.from({ length: followSlotsMax }, (_, slot) => {
    const name = followConsumerName(agentId, slot);
    const create =
      filters === undefined
        ? [
            jetstreamSubjects.consumerCreate(stream, name),
            jetstreamSubjects.consumerCreate(stream, name, '>'),
          ]
        : filters.map((filter) => jetstreamSubjects.consumerCreate(stream, name, filter));
    return [
      ...create,
      jetstreamSubjects.consumerDelete(stream, name),
      jetstreamSubjects.consumerNext(stream, name),
    ];
  }).flat();
}

function covers(pattern: readonly string[], wanted: readonly string[]): boolean {
  for (const [index, token] of pattern.entries()) {
    const found = wanted[index];
    if (found === undefined) return false;
    if (token === '>') return true;
    if (found === '>' || (token !== '*' && token !== found)) return false;
  }
  return pattern.length === wanted.length;
}
