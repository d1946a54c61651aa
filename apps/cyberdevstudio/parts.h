/* apps/cyberdevstudio/parts.h: the parts of a studio in the order they start, and the rules of their restart. Pure data.
 *
 * Threads: safe; the functions are pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/config/config.h"

enum cds_part_id {
    CDS_PART_POSTGRES,
    CDS_PART_AUTH,
    CDS_PART_SANDBOXD,
    CDS_PART_EGRESS,
    CDS_PART_LLMSERVER,
    CDS_PART_API,
    CDS_PART_PREVIEW,
    CDS_PART_UI,
    CDS_PART_COUNT
};

/** One part. */
struct cds_part_def {
    const char *name;    /**< in tables and messages */
    const char *program; /**< file beside the supervisor; NULL: PostgreSQL, which pg.h starts */
    enum cds_opt port;   /**< its TCP port, CDS_OPT_COUNT: none */
    bool stays_root;     /**< needs root to confine jobs; the others become studio.run_user */
    bool database;       /**< may know the connection string of an external database */
    int stop_wave;       /**< parts of one wave stop together; 0 first */
};
extern const struct cds_part_def cds_part_defs[CDS_PART_COUNT];

enum {
    CDS_BACKOFF_FIRST_MS = 100,
    CDS_BACKOFF_MAX_MS = 10000,
    CDS_BACKOFF_RESET_MS = 30000, /**< a part that lived this long begins again at the first step */
    CDS_STOP_WAVES = 3,
};
/** Pause before the next start: doubles from the last pause (0: none yet), begins again after a long life. */
uint32_t cds_backoff_next(uint32_t last_ms, uint64_t alive_ms);
/** True for a command-line flag that a child gets as it was typed: --config=FILE and --section.name=VALUE, without the data folder (passed
 *  resolved) and, unless database, without database.*. */
bool cds_flag_passes(const char *flag, bool database);
/** Address as it stands in a URL: IPv6 in brackets, "any" addresses as loopback. Returns buf. */
char *cds_url_host(const char *bind, char *buf, size_t size);
/** Public URL without a slash at the end: ui.public_url or http://<bind>:<ui.port>. Returns buf. */
char *cds_public_url(const struct cds_config *config, char *buf, size_t size);
