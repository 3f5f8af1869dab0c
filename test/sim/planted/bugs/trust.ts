/** Mistakes with documents, revocations, epochs and secrets. */

import { lines, type PlantedBug } from '../mutation.ts';

const review = 'shared/core/document-review.ts';
const member = 'shared/runtime/epoch-member.ts';

export const trustBugs: readonly PlantedBug[] = [
  {
    name: 'older-documents-are-taken',
    invariant: 6,
    what: 'A registry or policy is adopted whatever its version, if it is signed and has not expired.',
    edits: [
      {
        file: review,
        find: "if (standing.isKnown(offered.digest)) return 'ROLLBACK';",
        replace: 'if (standing.isKnown(offered.digest)) return undefined;',
      },
      {
        file: review,
        find: 'expiresAtMs > issuedAtMs && issuedAtMs >= standing.issuedAtMs;',
        replace: 'expiresAtMs > issuedAtMs || issuedAtMs >= standing.issuedAtMs;',
      },
    ],
    seeds: [2],
    needs: {
      extent: 'several',
      faults: ['crash', 'duplication'],
      activities: [
        'policy amended in mid-rotation',
        'registry amended in mid-rotation',
        'bad offers',
      ],
      story:
        'Two amendments of one kind, and then the first offer once more: an orchestrator that starts reads all offers again, somebody offers an old document.',
    },
  },
  {
    name: 'expiry-by-the-own-clock',
    invariant: 13,
    what: 'Whether an offered document has expired is decided by the clock of whoever hears the offer, and nobody asks the auditor, or hears from it, what it alone has in force.',
    edits: [
      {
        file: review,
        find: 'return expiresAtMs <= saidAtMs + skewMs;',
        replace: 'return expiresAtMs <= nowMs;',
      },
      {
        file: 'agents/auditor/unoffered.ts',
        find: 'book.unofferedOf(trust).length === 0',
        replace: 'trust !== undefined',
      },
      {
        file: 'shared/runtime/document-questions.ts',
        find: "const tellers = ['orchestrator', 'auditor'] as const;",
        replace: "const tellers = ['orchestrator'] as const;",
      },
    ],
    seeds: [18],
    needs: {
      faults: ['clock-skew'],
      activities: ['bad offers'],
      story:
        'Somebody offers what expired a moment ago while the clock of the auditor is slow: it alone is under the document.',
    },
  },
  {
    name: 'documents-are-kept-in-the-background',
    invariant: 6,
    what: 'A document is in force at once and is written down a second later.',
    edits: [
      {
        file: 'shared/runtime/trust-desk.ts',
        find: '    store.keepDocument(document, nowMs);\n',
        replace: '    this.#ports.clock.after(1_000, () => store.keepDocument(document, nowMs));\n',
      },
    ],
    needs: {
      extent: 'several',
      faults: ['crash', 'crash-at-point'],
      activities: ['policy amended in mid-rotation', 'registry amended in mid-rotation'],
      story:
        'An agent dies within a second of an adoption, and says something under the older version after its restart.',
    },
  },
  {
    name: 'revocation-of-a-copy',
    invariant: 12,
    what: 'A revocation is noted in a copy of the enrolments, and the agent is listened to as before.',
    edits: [
      {
        file: 'shared/crypto/enrolments.ts',
        find: 'this.#byId.set(agentId, { ...enrolled, revokedAtMs });',
        replace: 'new Map(this.#byId).set(agentId, { ...enrolled, revokedAtMs });',
      },
    ],
    seeds: [2],
    needs: { faults: ['revocation'], story: 'A layer agent is revoked and goes on speaking.' },
  },
  {
    name: 'seals-are-for-others-to-check',
    invariant: 12,
    what: 'The auditor takes frames into its log without looking whether their sender sealed them.',
    edits: [
      {
        file: 'agents/auditor/book.ts',
        find: 'if (!isSealedBySender(crypto, audited)) return',
        replace: "if (audited.hash === '' && !isSealedBySender(crypto, audited)) return",
      },
    ],
    needs: {
      faults: ['wire-attack'],
      story: 'Somebody changes a part of a frame and publishes it on its subject once more.',
    },
  },
  {
    name: 'any-schema-version-is-read',
    invariant: 12,
    what: 'Nobody looks at the schema version of an event: what an agent of another version says is read as if it were of this one.',
    edits: [
      {
        file: 'shared/core/entitlement.ts',
        find: 'if (event.schemaVersion !== type.schemaVersion) return',
        replace: 'if (event.schemaVersion < type.schemaVersion) return',
      },
    ],
    seeds: [1, 2],
    needs: {
      extent: 'whole',
      activities: ['rotation'],
      faults: ['previous-version'],
      story: 'An agent of another version advertises what it can do, and reports.',
    },
  },
  {
    name: 'epoch-goes-back',
    invariant: 6,
    what: 'An activation puts its epoch into use, also where a later one is.',
    edits: [
      {
        file: 'shared/crypto/epoch-keyring.ts',
        find: 'if (known.current !== undefined && known.current > epoch) {',
        replace: 'if (known.current === epoch) {',
      },
    ],
    seeds: [8],
    needs: {
      faults: ['crash', 'pause', 'duplication', 'delay'],
      activities: ['epochs turned in mid-rotation'],
      hasEpochs: true,
      rules: 'short-epochs',
      story:
        'Epochs are turned, and a member hears of the older activation again: it starts and reads the log, or a message is delivered twice.',
    },
  },
  {
    name: 'epoch-mark-goes-down',
    invariant: 6,
    what: 'The signer remembers the epoch that it heard of last, and not the highest one.',
    edits: [
      {
        file: 'agents/signer/epoch-record.ts',
        find: 'SET highest = max(highest, excluded.highest)',
        replace: 'SET highest = excluded.highest',
      },
    ],
    needs: {
      faults: ['crash'],
      activities: ['epochs turned in mid-rotation'],
      hasEpochs: true,
      rules: 'short-epochs',
      story: 'Epochs are turned, or the signer reads their logs again.',
    },
  },
  {
    name: 'closed-epochs-stay-in-the-vault',
    invariant: 11,
    what: 'The signer notes that an epoch is closed, and leaves its secret in the vault until the next start.',
    edits: [
      {
        file: 'agents/signer/epoch-vault.ts',
        find: '      await usable(() => this.#files.wipe(name));\n',
        replace: '',
      },
    ],
    needs: {
      faults: [],
      activities: ['epochs turned in mid-rotation'],
      hasEpochs: true,
      rules: 'short-epochs',
      story: 'Secrets by epochs; epochs are turned, and the older one is closed after its grace.',
    },
  },
  {
    name: 'epoch-in-use-before-it-is-accepted',
    invariant: 1,
    what: 'An epoch comes into use as soon as the signer keeps its secret; whoever has not accepted it is absent.',
    edits: [
      {
        file: 'shared/core/epoch-command.ts',
        find: 'if (absent.length > 0 && nowMs < dueMs)',
        replace: 'if (keepers.some((agentId) => absent.includes(agentId)) && nowMs < dueMs)',
      },
    ],
    needs: {
      faults: [],
      activities: ['epochs turned in mid-rotation'],
      hasEpochs: true,
      story: 'Any epoch, also the first: acceptances come one by one.',
    },
  },
  {
    name: 'secret-in-a-log-line',
    invariant: 11,
    what: 'A member logs what it holds, with the secret among the fields.',
    edits: [
      {
        file: member,
        find: '    keyring.hold(held);\n    taken.secret.fill(0);',
        replace: lines(
          '    keyring.hold(held);',
          '    const shown = { ...held, secret: Buffer.from(held.secret).toString("hex") };',
          "    this.#ports.log.debug(shown, 'a secret is held');",
          '    taken.secret.fill(0);',
        ),
      },
    ],
    needs: {
      faults: [],
      activities: ['epochs turned in mid-rotation'],
      hasEpochs: true,
      story: 'Any epoch that begins or is asked for.',
    },
  },
];
