/** Starts the signer: `node agents/signer/main.ts <config.json>`. */

import type { TokenConfig } from '#schemas/config.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { BootError, bootAgent, runAgent } from '#shared/runtime/boot.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import type { TokenEvent } from '#shared/runtime/token/child-supervisor.ts';
import { openFileToken } from '#shared/runtime/token/file-token.ts';
import { openPkcs11Token } from '#shared/runtime/token/pkcs11-token.ts';
import type { Token } from '#shared/runtime/token/token.ts';
import { CertificateOffice } from './certificate-office.ts';
import { CheckpointMemory } from './checkpoint-memory.ts';
import { EpochRecord } from './epoch-record.ts';
import { EpochVault } from './epoch-vault.ts';
import { Signer } from './signer.ts';

runAgent(async () => {
  const agent = await bootAgent(process.argv[2] ?? 'config.json');
  const { config, crypto, log, disk, resolve } = agent;
  if (config.token === undefined) {
    throw new BootError(
      'CONFIG_INVALID',
      'a signer needs a token',
      'add `token` to the configuration',
    );
  }
  let restarts = 0;
  const token = await openToken(config.token, resolve, (event) => {
    if (event.kind === 'child-started') restarts = event.restarts;
    log[event.kind === 'child-lost' ? 'warn' : 'info']({ ...event }, 'token process');
  });
  const database = disk.database('signer.db');
  const outbox = new Outbox({
    database,
    clock: agent.clock,
    onConflict: ({ messageId }) => log.error({ messageId }, 'a signer appends to no log'),
    onTrouble: (error) => log.warn({ code: error.code }, error.message),
  });
  const record = new EpochRecord(database);
  const { mesh } = agent.trust;
  const vault = await EpochVault.open({ disk, mesh, token, record, log });
  (await vault.archiveKey(() => crypto.randomBytes(32))).fill(0);
  const isLockedOut = (agentId: string): boolean => agent.trustDesk.isLockedOut(agentId);
  const { certificateNames: names } = config;
  const certificates =
    names === undefined
      ? undefined
      : await CertificateOffice.open({ ...agent, token, database, isLockedOut, names });
  const signer = new Signer({
    ...agent,
    agentId: config.agentId,
    outbox,
    token,
    checkpoints: new CheckpointMemory(database, crypto),
    epochRecord: record,
    isLockedOut,
    ...(certificates === undefined ? {} : { certificates }),
    secrets: {
      keyring: agent.keyring,
      known: agent.epochs.announcements,
      onOrchestrator: () => agent.epochs.offerAgain(),
    },
    subjects: subjectsOf(agent.trust.mesh),
    childRestarts: () => restarts,
  });
  await agent.notices.start();
  await agent.epochs.start(vault);
  await signer.start();
  return {
    stop: async (): Promise<void> => {
      await agent.notices.stop();
      await signer.stop();
      await agent.epochs.stop();
    },
  };
});

function openToken(
  config: TokenConfig,
  resolve: (relative: string) => string,
  onTokenEvent: (event: TokenEvent) => void,
): Promise<Token> {
  const pin = { path: resolve(config.pinFile) };
  const directory = resolve(config.directory);
  if (config.kind === 'file') return openFileToken({ label: 'gyre', directory, pin });
  return openPkcs11Token({
    libraryPath: config.library,
    label: config.label,
    directory,
    pin,
    requestTimeoutMs: config.timeoutMs,
    ...(config.softhsmConfig === undefined
      ? {}
      : { env: { SOFTHSM2_CONF: resolve(config.softhsmConfig) } }),
    onEvent: onTokenEvent,
  });
}
