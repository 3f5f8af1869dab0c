/**
 * The signer of the mesh as a certificate authority: asked over the query lane, on the layer's own channel.
 * It judges by itself; what it gives is checked by the service that installs it.
 */

import { CertificateIssued } from '#schemas/queries.ts';
import { compile } from '#schemas/primitives.ts';
import { BusError } from '#shared/bus/bus.ts';
import { CryptoError } from '#shared/crypto/errors.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { Answer, Exchange } from '#shared/runtime/exchange.ts';
import { AdapterError } from '../adapter.ts';
import type {
  CertificateAuthority,
  CertificateOrder,
  IssuedCertificate,
} from '../service/certificate-authority.ts';

export interface SignerAuthorityPorts {
  readonly exchange: Exchange;
  readonly trust: TrustView;
}

const channel = 'layer-3';
const timeoutMs = 5_000;
const issuedCheck = compile(CertificateIssued);
/** What another try may help against. */
const passing = new Set(['ORCH-8007', 'ORCH-8013']);

export class SignerAuthority implements CertificateAuthority {
  readonly #ports: SignerAuthorityPorts;

  constructor(ports: SignerAuthorityPorts) {
    this.#ports = ports;
  }

  async issue({ request, validMs }: CertificateOrder): Promise<IssuedCertificate> {
    const { trust, exchange } = this.#ports;
    const signer = trust.agents().find(({ kind, revokedAtMs }) => {
      return kind === 'signer' && revokedAtMs === undefined;
    });
    if (signer === undefined) throw unreachable('no signer is enrolled');
    const { agentId } = signer;
    const answer = await asked(() =>
      exchange.ask({ agentId, channel }, { ask: 'issue-certificate', request, validMs }, timeoutMs),
    );
    if (!answer.ok) {
      const what = `the signer certifies nothing: ${answer.code}: ${answer.reason}`;
      if (passing.has(answer.code)) throw unreachable(what);
      throw new AdapterError('STATE_CONFLICT', what.slice(0, 500));
    }
    if (issuedCheck.check(answer.result)) return answer.result;
    throw unreachable('the signer answers in another form');
  }
}

async function asked(ask: () => Promise<Answer>): Promise<Answer> {
  try {
    return await ask();
  } catch (error) {
    // The bus is down, the signer is, or the channel's secret is on its way.
    if (!(error instanceof BusError || error instanceof CryptoError)) throw error;
    throw unreachable(`the signer does not answer: ${error.code}`, error);
  }
}

function unreachable(what: string, cause?: unknown): AdapterError {
  return new AdapterError('SYSTEM_UNREACHABLE', what, { cause, retryable: true });
}
