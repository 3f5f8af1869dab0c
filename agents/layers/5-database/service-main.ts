/** The process of layer 5's service (database). One argument: the path of its configuration file. */

import { runService } from '../service/service-process.ts';
import { layer } from './adapter.ts';
import { openService } from './service.ts';

runService({ layer, open: openService, configPath: process.argv[2] });
