/** The process of layer 7's service (self-healing). One argument: the path of its configuration file. */

import { runService } from '../service/service-process.ts';
import { layer } from './adapter.ts';
import { openService } from './service.ts';

runService({ layer, open: openService, configPath: process.argv[2] });
