/** Up to which documents somebody knows what was amended. */

/** The versions above which he asks for documents. */
export interface KnownVersions {
  readonly rootVersion: number;
  readonly registryVersion: number;
  readonly policyVersion: number;
}

interface Numbered {
  readonly version: number;
}

/** Of whoever has these as the newest. */
export function versionsOf(newest: {
  readonly root: Numbered;
  readonly registry: Numbered;
  readonly policy: Numbered;
}): KnownVersions {
  return {
    rootVersion: newest.root.version,
    registryVersion: newest.registry.version,
    policyVersion: newest.policy.version,
  };
}
