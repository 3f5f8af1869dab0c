/**
 * A port that whoever started the service holds for it, told by an open descriptor in the environment:
 * connections wait in the system's queue while the service is started anew. Without one the service
 * binds the port of its configuration itself.
 */

export const listenVariable = 'GYRE_LISTEN_FD';

/** The first three are no sockets to listen on. */
const descriptor = /^(?:[3-9]|[1-9][0-9]{1,4})$/;

/** Undefined where nothing is told. */
export function listeningDescriptor(
  environment: Readonly<Record<string, string | undefined>>,
): number | undefined {
  const told = environment[listenVariable];
  return told !== undefined && descriptor.test(told) ? Number(told) : undefined;
}
