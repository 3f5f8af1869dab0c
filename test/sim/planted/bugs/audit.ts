/** Mistakes of the auditor, of senders' chains and outboxes: what is held twice, and what is put back. */

import { lines, type PlantedBug } from '../mutation.ts';

const restoration = 'agents/auditor/restoration.ts';
const senderChain = 'shared/crypto/sender-chain.ts';

export const auditBugs: readonly PlantedBug[] = [
  {
    name: 'log-without-a-barrier',
    invariant: 5,
    what: 'The auditor appends to its log without bringing it to the disk.',
    edits: [
      {
        file: 'agents/auditor/log.ts',
        find: lines(
          'await this.#file.write(start, joined(parts, end - start));',
          '      await this.#file.sync();',
        ),
        replace: 'await this.#file.write(start, joined(parts, end - start));',
      },
    ],
    seeds: [2],
    needs: {
      faults: ['crash', 'crash-at-point'],
      story:
        'Receipts name leaves that the disk does not have: seen at once, or when the auditor loses power.',
    },
  },
  {
    name: 'receipts-before-the-barrier',
    invariant: 5,
    what: 'Receipts are issued while the leaves are still being written.',
    edits: [
      {
        file: 'agents/auditor/intake.ts',
        find: '    if (!(await this.#append(arrivals))) return;\n',
        replace: '',
      },
      {
        file: 'agents/auditor/intake.ts',
        find: 'receipts.issue([...copies, ...arrivals.map(({ judged }) => judged.note)]);',
        replace: lines(
          'receipts.issue([...copies, ...arrivals.map(({ judged }) => judged.note)]);',
          '    if (!(await this.#append(arrivals))) return;',
        ),
      },
    ],
    seeds: [5],
    needs: {
      extent: 'whole',
      activities: ['rotation'],
      faults: ['disk-full', 'crash-at-point'],
      story:
        'The disk of the auditor is full, or it loses power, between the receipt and the barrier.',
    },
  },
  {
    name: 'entries-count-without-a-receipt',
    invariant: 5,
    what: 'An orchestrator lets an entry take effect once the bus has it, without waiting for an auditor.',
    edits: [
      {
        file: 'agents/orchestrator/saga-log.ts',
        find: lines(
          '        const verdict = verdicts.get(hash);',
          '        if (verdict === undefined) continue;',
        ),
        replace: lines(
          '        const verdict: Verdict = verdicts.get(hash) ?? {',
          "          verdict: 'accepted',",
          '          get receipt() {',
          '            return verdicts.get(hash)?.receipt ?? null;',
          '          },',
          '        };',
        ),
      },
      {
        file: 'agents/orchestrator/saga-log.ts',
        find: '      receipt: verdict.receipt,',
        replace: lines('      get receipt() {', '        return verdict.receipt;', '      },'),
      },
    ],
    seeds: [1, 3],
    needs: {
      extent: 'whole',
      activities: ['rotation'],
      faults: ['bus-forgets-unread'],
      faultsMin: 2,
      story:
        'The auditor is cut off, and the bus loses what it has not taken in: orchestrators go on from what never happened.',
    },
  },
  {
    name: 'time-out-taken-for-a-refusal',
    invariant: 5,
    what: 'What was published without an answer counts as not stored: the next event takes the same link.',
    edits: [
      {
        file: 'shared/runtime/principal.ts',
        find: lines('      this.renew();', '      throw error;'),
        replace: lines('      pending.refused();', '      throw error;'),
      },
    ],
    seeds: [1, 4],
    needs: {
      extent: 'whole',
      activities: ['rotation'],
      faults: ['acknowledgement-loss'],
      faultsMin: 2,
      longChance: 1,
      story:
        'Acknowledgements are lost for longer than a publish is tried (15 s): the event is stored, and its sender does not know.',
    },
  },
  {
    name: 'own-append-taken-for-anothers',
    invariant: 5,
    what: 'Each attempt of a publish has an id of its own, and a conflict is believed without looking whose message took the place: an append whose answer was lost counts as refused, and so does its place in the chain.',
    edits: [
      {
        file: 'shared/bus/publisher.ts',
        find: 'const token = tokenOf(request, attempt);',
        replace:
          'const token = `${request.messageId}.${Math.floor(this.#clock.monotonicMs())}${attempt}`;',
      },
      {
        file: 'shared/bus/publisher.ts',
        find: 'if (own?.messageId === messageId) {',
        replace: 'if (own?.messageId === messageId && own.sequence !== last?.sequence) {',
      },
      {
        file: 'shared/runtime/principal.ts',
        find: 'if (maybeStored) this.renew();',
        replace: 'if (maybeStored && outcome.lastSequence < 0) this.renew();',
      },
    ],
    needs: {
      extent: 'whole',
      activities: ['rotation'],
      faults: ['acknowledgement-loss'],
      victims: ['orchestrators'],
      faultsMin: 3,
      story: 'The answer to an append is lost, and the append is tried again.',
    },
  },
  {
    name: 'incarnation-by-name',
    invariant: 5,
    what: 'The incarnation of a sender is drawn from its name: counters, and with them nonces, begin again at each start.',
    edits: [
      {
        file: senderChain,
        find: 'this.incarnation = options.crypto.randomBytes(incarnationBytes);',
        replace:
          'this.incarnation = options.crypto.sha256(new TextEncoder().encode(options.sender));',
      },
    ],
    needs: { faults: ['crash', 'crash-at-point'], story: 'Any agent starts a second time.' },
  },
  {
    name: 'outbox-lets-go-at-the-bus',
    invariant: 15,
    what: 'A report leaves the outbox when the bus has it, and not when an auditor has.',
    edits: [
      {
        file: 'shared/runtime/outbox.ts',
        find: "options.settledBy ?? 'receipt'",
        replace: "options.settledBy ?? 'bus'",
      },
    ],
    seeds: [2, 3],
    needs: {
      extent: 'whole',
      activities: ['rotation'],
      faults: ['bus-forgets-unread'],
      story: 'The bus loses a report that the auditor, which is cut off, has not taken in.',
    },
  },
  {
    name: 'a-duplicate-is-believed',
    invariant: 15,
    what: 'What the bus calls a duplicate counts as stored without looking whether it is there.',
    edits: [
      {
        file: 'shared/bus/publisher.ts',
        find: 'if (await this.#holds(request, answer.sequence, attempt)) return answer;',
        replace: 'if (answer.duplicate) return answer;',
      },
    ],
    seeds: [2, 3],
    needs: {
      extent: 'whole',
      activities: ['rotation'],
      faults: ['bus-forgets-unread'],
      story:
        'The bus loses a message whose id it remembers and that no auditor has taken in, and the sender publishes it again.',
    },
  },
  {
    name: 'a-newer-message-vouches-for-an-older-one',
    invariant: 15,
    what: 'An agent that may see only the last message of its subject takes an older one for stored, however long its receipt is overdue.',
    edits: [
      {
        file: 'shared/bus/publisher.ts',
        find: 'return last.sequence > sequence && !isOverdue;',
        replace: 'return last.sequence > sequence;',
      },
    ],
    seeds: [5],
    needs: {
      extent: 'whole',
      activities: ['rotation'],
      faults: ['bus-forgets-unread'],
      story:
        'The bus loses a message whose id it remembers, and its sender has published a newer one on the same subject.',
    },
  },
  {
    name: 'what-is-under-way-is-not-missed',
    invariant: 15,
    what: 'What was put back and is lost again before it came through the stream counts as under way, and is not looked for afterwards.',
    edits: [
      {
        file: restoration,
        find: 'if (isDeep) this.#isOwed = wanted.length < known.length;',
        replace: 'if (isDeep) this.#isOwed = false;',
      },
      {
        file: restoration,
        find: 'const isLost = place === 0 || (found?.sequence ?? 0) < place;',
        replace: 'const isLost = (found?.sequence ?? 0) < place;',
      },
    ],
    seeds: [10],
    needs: {
      extent: 'several',
      activities: ['plan that waits'],
      faults: ['bus-rolled-back'],
      story: 'The bus comes back from an older copy twice within seconds, while a plan waits.',
    },
  },
  {
    name: 'restoration-leaves-out-the-first',
    invariant: 15,
    what: 'Of the events that the bus lost the first is taken for the last that is there, and not put back.',
    edits: [
      {
        file: restoration,
        find: 'for (const note of lost) {',
        replace: 'for (const note of lost.slice(1)) {',
      },
    ],
    seeds: [1, 2],
    needs: {
      extent: 'several',
      activities: ['plan that waits'],
      faults: ['bus-forgets'],
      story: 'The bus loses events of a plan that waits for its approval or execution.',
    },
  },
  {
    name: 'only-entries-are-put-back',
    invariant: 15,
    what: 'Reports and approvals that the bus lost are not put back, because entries repeat what they say.',
    edits: [
      {
        file: restoration,
        find: '.filter(({ expiresMs }) => expiresMs > nowMs);',
        replace: ".filter(({ type, expiresMs }) => type === 'saga-entry' && expiresMs > nowMs);",
      },
    ],
    seeds: [1, 2],
    needs: {
      extent: 'several',
      activities: ['plan that waits'],
      faults: ['bus-forgets'],
      story: 'The bus loses reports and approvals of a plan that waits for its execution.',
    },
  },
  {
    name: 'losses-are-gaps',
    invariant: 15,
    what: 'The auditor takes gaps alone for losses: a stream that came back from an older copy has none.',
    edits: [
      {
        file: restoration,
        find: 'if (state.lastSequence < known) await this.#startOver(state, known);',
        replace: 'if (state.messages === 0 && known > 0) await this.#startOver(state, known);',
      },
      {
        file: restoration,
        find: 'const hasLost = isAsked || gaps > this.#gaps || intake.losses > this.#losses;',
        replace: 'const hasLost = gaps > this.#gaps;',
      },
      {
        file: restoration,
        find: 'const missesLast = isFirst || hasLost || (await this.#missesLast());',
        replace:
          'const missesLast = isFirst || hasLost || (gaps > 0 && (await this.#missesLast()));',
      },
    ],
    seeds: [17, 18],
    needs: {
      extent: 'several',
      activities: ['plan that waits'],
      faults: ['bus-rolled-back'],
      story:
        'The bus comes back from an older copy while a plan waits for its approval or execution.',
    },
  },
  {
    name: 'a-lost-entry-is-waited-for',
    invariant: 13,
    what: 'An orchestrator that sees that the bus lost an entry goes on waiting for its receipt.',
    edits: [
      {
        file: 'agents/orchestrator/appender.ts',
        find: '        this.#saga.lost(sequence);\n',
        replace: '',
      },
    ],
    seeds: [1, 4],
    needs: {
      extent: 'whole',
      activities: ['rotation'],
      faults: ['bus-forgets', 'bus-forgets-unread'],
      story: 'The bus loses an entry that no auditor has taken in yet.',
    },
  },
];
