/**
 * An operator's signatures on a draft, made from key files alone: no bus, no running mesh. A root gets
 * two by each operator, ML-DSA-87 and SLH-DSA-SHAKE-256s; everything else gets one.
 */
import type { DocumentSignature } from '#schemas/document.ts';
import { toBase64Url, utf8 } from '#shared/crypto/bytes.ts';
import type { SigningKey, SlhDsaSigningKey } from '#shared/crypto/key-handle.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { documentBytes, documentContext, verifyDocument } from '#shared/crypto/signed-document.ts';
import { CliFault } from '../fault.ts';
import type { Draft } from './draft.ts';

export interface OperatorKeys {
  readonly identity: SigningKey;
  /** For roots; undefined where this operator has none. */
  readonly anchor?: SlhDsaSigningKey;
}

/**
 * The draft with this operator's signatures put to it, in place of those that no longer hold because the
 * document was changed after they were made. @throws CliFault ALREADY_SIGNED, KEY_MISSING
 */
export async function signDraft(
  crypto: CryptoProvider,
  { body, signatures }: Draft,
  { identity, anchor }: OperatorKeys,
): Promise<Draft> {
  const { keyIdHex } = identity.publicKey;
  const own = [...signatures].filter(({ key_id }) => key_id === keyIdHex);
  const accepted = {
    keys: [{ keyId: keyIdHex, publicKey: identity.publicKey.raw }],
    threshold: 1,
  };
  if (own.length > 0 && verifyDocument(crypto, { body, signatures: own }, accepted) === 'ok') {
    throw new CliFault({
      code: 'ALREADY_SIGNED',
      reason: `this operator has signed this ${body.kind} already`,
      hint: 'Pass the file on to another operator: --as OPERATOR.',
    });
  }
  if (body.kind === 'root' && anchor === undefined) {
    throw new CliFault({
      code: 'KEY_MISSING',
      reason: 'a root needs an SLH-DSA-SHAKE-256s signature too, and this operator has no such key',
      hint: 'Sign as an operator with an anchor key.',
    });
  }
  const message = documentBytes(body);
  const context = utf8(documentContext(body.kind));
  const made: DocumentSignature[] = [
    {
      key_id: keyIdHex,
      algorithm: 'ML-DSA-87',
      signature: toBase64Url(await crypto.signAsync(identity, { message, context })),
    },
  ];
  if (body.kind === 'root' && anchor !== undefined) {
    made.push({
      key_id: anchor.publicKey.keyIdHex,
      algorithm: 'SLH-DSA-SHAKE-256s',
      signature: toBase64Url(await crypto.signSlhDsaAsync(anchor, { message, context })),
    });
  }
  const madeBy = new Set(made.map(({ key_id }) => key_id));
  const others = signatures.filter(({ key_id }) => !madeBy.has(key_id));
  return { body, signatures: [...others, ...made] };
}
