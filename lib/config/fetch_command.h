/* lib/config/fetch_command.h: the command line of cds-fetch for what comes from a server, as the options say: for the model server and the command
 * line.
 *
 * Source:  apps/fetch/main.c.
 * Threads: values.
 */
#pragma once

#include "lib/config/config.h"

enum { CDS_FETCH_ARGS = 15, CDS_FETCH_ARG_BYTES = 5200 };
struct cds_fetch_command {
    char text[CDS_FETCH_ARGS][CDS_FETCH_ARG_BYTES];
    const char *argv[CDS_FETCH_ARGS + 3];
};
/**
 * @param fetch, dir  the program, and the folder of models; fetch and word stay borrowed by ret->argv
 * @param word        "look" or "pull"
 * @param sha256      "": not given
 * @param ms          longest time it may take
 */
void cds_fetch_command(const struct cds_config *config, const char *fetch, const char *dir, const char *word, const char *source, const char *sha256,
                       uint64_t ms, struct cds_fetch_command *ret);
/** A source as it may be shown: an address without its query, which may carry a key. */
void cds_fetch_shown(const char *source, char *out, size_t size);
