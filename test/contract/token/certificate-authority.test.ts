/** The authority's key in each kind of token: certificates that others verify, and a key that stays. */

import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { CertificateOffice } from '#agents/signer/certificate-office.ts';
import { openFileToken } from '#shared/runtime/token/file-token.ts';
import { openPkcs11Token } from '#shared/runtime/token/pkcs11-token.ts';
import type { Token } from '#shared/runtime/token/token.ts';
import { makeCertificateRequest, openCertificateRequest } from '#shared/crypto/x509.ts';
import { makeSoftHsmToken, softHsm } from '../../support/softhsm.ts';
import { crypto, makeWorld } from '../../support/world.ts';

const names = ['localhost'];

describe('the certificate authority in a token', () => {
  test('file', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'gyre-authority-'));
    const pin = () => Buffer.from('a pin of the test');
    await expectCertificates(() => openFileToken({ label: 'test', directory, pin }));
    await rm(directory, { recursive: true });
  });

  test.runIf('libraryPath' in softHsm)('SoftHSM2', async () => {
    const hsm = await makeSoftHsmToken();
    await expectCertificates(() => openPkcs11Token(hsm.options));
    await hsm.remove();
  });
});

async function expectCertificates(openToken: () => Promise<Token>): Promise<void> {
  const world = await makeWorld();
  const database = new DatabaseSync(':memory:');
  const ports = { ...world, database, names, isLockedOut: () => false };
  const request = await makeCertificateRequest(crypto, { seed: crypto.randomBytes(32), names });
  const opened = openCertificateRequest(crypto, request);
  if (opened.status !== 'ok') throw new Error(opened.code);
  let token = await openToken();
  let office = await CertificateOffice.open({ ...ports, token });
  const { certificate: root } = await office.newRoot();
  office.keepRoot(root);
  await token.close();
  token = await openToken();
  office = await CertificateOffice.open({ ...ports, token });
  const { certificate } = await office.certify(opened, 60_000);
  await token.close();
  const authority = new X509Certificate(root);
  expect(authority.ca).toBe(true);
  expect(authority.verify(authority.publicKey)).toBe(true);
  const server = new X509Certificate(certificate);
  expect(server.verify(authority.publicKey)).toBe(true);
  expect(server.checkIssued(authority)).toBe(true);
  expect(server.checkHost('localhost')).toBe('localhost');
  database.close();
}
