/* apps/cyberdevstudio/services.h: which user the services run as, decided once per start.
 *
 * Threads: main thread only (getpwnam and fork).
 */
#pragma once

#include "apps/cyberdevstudio/runas.h"
#include "lib/config/config.h"

/**
 * As root: the user studio.run_user, created when absent and may_create, if it can execute the programs and read the files beside them. Otherwise the
 * services stay what the supervisor is, and note says why in one sentence ("" when that is simply the user who typed the command).
 * The data folder must exist already.
 */
void cds_services_identity(const struct cds_config *config, const char *home, const char *program_dir, bool may_create, struct cds_identity *ret,
                           char *note, size_t note_size);
