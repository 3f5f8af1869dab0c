/** The process of layer 3's agent (network). One argument: the path of its configuration file. */

import { validMsMax } from '#shared/core/certificate-evidence.ts';
import { runLayerAgent } from '../layer-main.ts';
import { layer, openAdapter } from './adapter.ts';
import { CertifiedAdapter } from '../service/certified-adapter.ts';
import { SignerAuthority } from './signer-authority.ts';

runLayerAgent({
  layer,
  openAdapter,
  configPath: process.argv[2],
  attach: ({ exchange, trust, clock, log }, remote) =>
    new CertifiedAdapter({
      remote,
      authority: new SignerAuthority({ exchange, trust }),
      validMs: () => validMsMax(trust.policy),
      clock,
      log,
    }),
});
