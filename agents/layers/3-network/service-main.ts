/** The process of layer 3's service (network). One argument: the path of its configuration file. */

import { runService } from '../service/service-process.ts';
import { openService } from './service.ts';

runService({ layer: 3, open: openService, configPath: process.argv[2] });
