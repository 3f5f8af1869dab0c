/** Mistakes of a layer agent: what it writes down and when, which commands it obeys, how it keeps keys. */

import { lines, type PlantedBug } from '../mutation.ts';

const agent = 'agents/layers/layer-agent.ts';
const stepStore = 'agents/layers/step-store.ts';
const effects = 'agents/layers/step-effects.ts';
const keyStore = 'agents/layers/embedded/key-store.ts';

export const layerBugs: readonly PlantedBug[] = [
  {
    name: 'accepted-keys-behind-the-report',
    invariant: 1,
    what: 'The keys of a step are written after the transaction of its outcome and report, not in it.',
    edits: [
      {
        file: stepStore,
        find: '      this.#recordKeys(outcome);\n',
        replace: '',
      },
      {
        file: stepStore,
        find: lines('      enqueue();', '    });', '  }'),
        replace: lines('      enqueue();', '    });', '    this.#recordKeys(outcome);', '  }'),
      },
    ],
    seeds: [3, 42],
    needs: {
      extent: 'whole',
      hasSecond: true,
      activities: ['rotation'],
      faults: ['crash-at-point'],
      victims: ['layers'],
      faultsMin: 6,
      story: 'A member dies between the two writes, and its report goes out after the restart.',
    },
  },
  {
    name: 'primary-in-two-transactions',
    invariant: 3,
    what: 'The old key gives up its place in one transaction, the new key takes it in the next.',
    edits: [
      {
        file: keyStore,
        find: lines(
          '      this.#setPrimary(slot, version, canary, atMs);',
          '    });',
          '  }',
          '',
          '  /** `version` becomes',
        ),
        replace: lines(
          '    });',
          "    this.#transact('the new key was not made primary', () => {",
          '      this.#setPrimary(slot, version, canary, atMs);',
          '    });',
          '  }',
          '',
          '  /** `version` becomes',
        ),
      },
    ],
    seeds: [2],
    needs: {
      faults: ['crash-at-point'],
      story: 'Any activation, looked at after each commit; or a crash between the two commits.',
    },
  },
  {
    name: 'demotes-the-number-before',
    invariant: 4,
    what: 'An activation takes the place from the version with the number before, and nothing forbids two primary keys.',
    edits: [
      {
        file: keyStore,
        find: 'CREATE UNIQUE INDEX IF NOT EXISTS one_primary',
        replace: 'CREATE INDEX IF NOT EXISTS one_primary',
      },
      {
        file: keyStore,
        find: "`UPDATE versions SET state = 'accepted' WHERE slot = ? AND state = 'primary'`,",
        replace:
          "`UPDATE versions SET state = 'accepted' WHERE slot = ? AND version = ${version - 1}`,",
      },
    ],
    seeds: [2, 4],
    needs: {
      extent: 'several',
      faults: [],
      activities: ['rotation after one that went back'],
      story: 'A slot is turned again after a rotation of it went back: numbers are skipped.',
    },
  },
  {
    name: 'old-verification-keys-stay',
    invariant: 4,
    what: 'The retirement of a signature key is reported and not done: it can do no harm, somebody thought.',
    edits: [
      {
        file: effects,
        find: 'await adapter.retire(slot.slot, checkpoint.version);',
        replace:
          "if (slot.keyKind !== 'signature') await adapter.retire(slot.slot, checkpoint.version);",
      },
    ],
    seeds: [2],
    needs: { faults: [], story: 'Any rotation that is retired.' },
  },
  {
    name: 'overtaken-commands-are-obeyed',
    invariant: 7,
    what: 'An agent does not hold the index of a command against what it did for the rotation already, nor whether the rotation still holds the slot.',
    edits: [
      {
        file: 'shared/core/step-evidence.ts',
        find: 'if (command.sagaIndex < lastSagaIndex) {',
        replace: 'if (command.sagaIndex < 0 && lastSagaIndex > 0) {',
      },
      {
        file: agent,
        find: 'store.lastIndexOf(task.sagaId) > task.sagaIndex;',
        replace: 'store.saga(task.sagaId) === undefined;',
      },
      {
        file: 'agents/layers/step-planning.ts',
        find: 'if (store.holderOf(base.slot) !== command.sagaId || base.candidate === undefined) {',
        replace: 'if (base.candidate === undefined) {',
      },
    ],
    seeds: [98],
    needs: {
      extent: 'several',
      activities: ['rotation that is called back'],
      faults: ['reordering'],
      victims: ['orchestrators'],
      faultsMin: 4,
      story:
        'A command reaches an agent behind a later one of its rotation: it was under way while the rotation went back.',
    },
  },
  {
    name: 'repeated-commands-are-carried-out',
    invariant: 8,
    what: 'A command that comes again is carried out again, and its outcome is written over.',
    edits: [
      {
        file: agent,
        find: lines(
          '    if (reported !== undefined) {',
          '      this.#report(reported);',
          '      return;',
          '    }',
        ),
        replace: "    if (reported?.operation === 'freeze') return;",
      },
      {
        file: stepStore,
        find: "'UPDATE steps SET report = ?, at_ms = ? WHERE step_key = ? AND report IS NULL',",
        replace: "'UPDATE steps SET report = ?, at_ms = ? WHERE step_key = ?',",
      },
    ],
    needs: {
      extent: 'whole',
      activities: ['rotation'],
      faults: ['reordering'],
      victims: ['orchestrators'],
      faultsMin: 4,
      story:
        'Another orchestrator takes over and sends a command that was under way, which then comes again, behind later ones.',
    },
  },
  {
    name: 'effect-before-the-intent',
    invariant: 8,
    what: 'The effect is tried first, so that no intent is written down for what cannot be done.',
    edits: [
      {
        file: agent,
        find: '    store.recordIntent({ task, saga, reserves }, nowMs);',
        replace: lines(
          '    await runEffect(task, this.#ports);',
          '    store.recordIntent({ task, saga, reserves }, nowMs);',
        ),
      },
    ],
    seeds: [2],
    needs: {
      faults: ['crash-at-point'],
      story:
        'Any step that changes a key, looked at when it changes; or a crash between the two: the key is made twice.',
    },
  },
  {
    name: 'commits-that-are-not-waited-for',
    invariant: 8,
    what: 'The database of steps, reports and outbox does not wait for the disk when it commits.',
    edits: [
      {
        file: 'shared/runtime/outbox-store.ts',
        find: 'PRAGMA synchronous = FULL;',
        replace: 'PRAGMA synchronous = OFF;',
      },
    ],
    seeds: [3],
    needs: {
      extent: 'whole',
      faults: ['crash', 'crash-at-point', 'crash-in-recovery'],
      story:
        'A layer agent or the signer loses power: what it wrote down is gone, and what it did and said is not.',
    },
  },
  {
    name: 'retired-while-in-use',
    invariant: 9,
    what: 'An owner lets go of the old key, and destroys it, without asking whether it was used lately.',
    edits: [
      {
        file: effects,
        find: "slot.role === 'owner' ? await adapter.usesLately(slot.slot, slot.checkpoint.version) : 0;",
        replace: "slot.role === 'owner' ? (await adapter.samples(slot.slot)).failures : 0;",
      },
      {
        file: effects,
        find: 'const inUse = await adapter.usesLately(slot.slot, checkpoint.version);',
        replace: 'const inUse = (await adapter.samples(slot.slot)).failures;',
      },
    ],
    needs: {
      faults: [],
      activities: ['rotation'],
      hasWorkload: true,
      story: 'Something verifies or decrypts with an old key shortly before it is retired.',
    },
  },
  {
    name: 'new-key-destroyed-when-going-back',
    invariant: 9,
    what: 'A key store that goes back destroys the newer keys, also those under which something was made.',
    edits: [
      {
        file: keyStore,
        find: lines(
          "        `UPDATE versions SET state = 'withdrawn'",
          "          WHERE slot = ? AND version > ? AND state IN ('primary', 'accepted')`,",
        ),
        replace: lines(
          '        `${destroying}',
          "          WHERE slot = ? AND version > ? AND state IN ('primary', 'accepted')`,",
        ),
      },
    ],
    seeds: [0],
    needs: {
      faults: [],
      activities: ['rotation that is called back'],
      story: 'A rotation goes back after an activation.',
    },
  },
  {
    name: 'freeze-reported-and-not-done',
    invariant: 14,
    what: 'A freeze is reported without stopping anything.',
    edits: [
      {
        file: effects,
        find: 'await adapter.freeze(slot.slot, true);',
        replace: 'await adapter.samples(slot.slot);',
      },
    ],
    needs: {
      faults: [],
      activities: ['rotation that cannot go back'],
      rules: 'impatient',
      story: 'A rotation is locked out: an owner is away for all attempts of its rollback.',
    },
  },
  {
    name: 'secret-as-public-half',
    invariant: 11,
    what: 'Symmetric keys have themselves as their public half, which reports and inspections name.',
    edits: [
      {
        file: 'agents/layers/embedded/key-kinds.ts',
        find: lines("    case 'mac':", "    case 'aead':", '      return undefined;'),
        replace: lines(
          "    case 'mac':",
          "    case 'aead':",
          '      return Uint8Array.from(secret);',
        ),
      },
    ],
    needs: {
      faults: [],
      activities: ['rotation'],
      story: 'A rotation of a layer with a symmetric key: 2 to 6.',
    },
  },
  {
    name: 'poisoned-command-blocks-its-consumer',
    invariant: 12,
    what: 'What cannot be opened is tried again instead of being set aside, as often as it takes.',
    edits: [
      {
        file: agent,
        find: "if (opening.status === 'refused') return { deadLetter: opening.code };",
        replace: "if (opening.status === 'refused') return { retryAfterMs: behindRetryMs };",
      },
      {
        file: 'shared/bus/delivery.ts',
        find: 'if (message.deliveryCount > options.attemptsMax) {',
        replace: 'if (message.deliveryCount > 1000 * options.attemptsMax) {',
      },
      {
        file: 'shared/bus/delivery.ts',
        find: '} else if (message.deliveryCount >= options.attemptsMax) {',
        replace: '} else if (message.deliveryCount >= 1000 * options.attemptsMax) {',
      },
    ],
    seeds: [2],
    needs: {
      faults: ['wire-attack'],
      story: 'Somebody replays, tampers with or makes up a command on the subject of an agent.',
    },
  },
  {
    name: 'chain-goes-on-from-what-was-not-stored',
    invariant: 5,
    what: 'A report that could not be written down stays the link of the next one.',
    edits: [
      {
        file: agent,
        find: lines('      this.#ports.exchange.renew();', '      throw error;'),
        replace: '      throw error;',
      },
    ],
    seeds: [3],
    needs: {
      extent: 'whole',
      activities: ['rotation'],
      faults: ['disk-full'],
      story:
        'The disk of an agent is full when it writes down an outcome, and has room again later.',
    },
  },
];
