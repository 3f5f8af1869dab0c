/** What a detached supervisor tells the command that started it, until the mesh is ready. */
import type { ExitCode } from '../fault.ts';

export type SupervisorMessage =
  | { readonly type: 'progress'; readonly line: string }
  | { readonly type: 'ready' }
  | {
      readonly type: 'fault';
      readonly code: string;
      readonly reason: string;
      readonly hint: string;
      readonly exitCode: ExitCode;
    };

/** Both ends are this program; the check is for the type. */
export function isSupervisorMessage(value: unknown): value is SupervisorMessage {
  return typeof value === 'object' && value !== null && 'type' in value;
}
