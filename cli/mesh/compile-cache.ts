/**
 * Where Node keeps the code that it has stripped of types and compiled: a mesh is a dozen processes
 * of the same files, and reading them once is a third of each start. A cache only; it may be deleted.
 */
import { join } from 'node:path';
import { projectRoot, type Environment } from './tools.ts';

export const compileCacheDirectory = join(projectRoot, '.cache', 'compile');

export function environmentOfChildren(environment: Environment): Environment {
  return { NODE_COMPILE_CACHE: compileCacheDirectory, ...environment };
}
