/**
 * Which algorithms the processor has instructions for, as the kernel tells. Where nothing is told
 * (other systems than Linux), nothing is claimed.
 */

import { readFileSync } from 'node:fs';

const processorFile = '/proc/cpuinfo';

/** Registry names. Never throws. */
export function acceleratedAlgorithms(read = readProcessorFile): ReadonlySet<string> {
  const features = /^(?:flags|Features)\s*:(.*)$/m.exec(read())?.[1]?.split(/\s+/) ?? [];
  // x86 has the carry-less multiplication that GCM needs as pclmulqdq, ARM as pmull.
  const hasGcm = features.includes('pclmulqdq') || features.includes('pmull');
  return new Set(features.includes('aes') && hasGcm ? ['AES-256-GCM'] : []);
}

function readProcessorFile(): string {
  try {
    return readFileSync(processorFile, 'utf8');
  } catch (error) {
    // Only its absence is expected, and it says that nothing is known.
    if (error instanceof Error && 'code' in error) return '';
    throw error;
  }
}
