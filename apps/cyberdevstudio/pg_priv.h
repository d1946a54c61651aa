/* apps/cyberdevstudio/pg_priv.h: what the files of the private cluster share. Not for others.
 *
 * Threads: main thread only, as pg.h.
 */
#pragma once

#include "apps/cyberdevstudio/pg.h"

struct cds_pg {
    char bin_dir[512], data_dir[300], run_dir[300];
    int major;
    struct cds_identity owner; /**< change false: the cluster belongs to the starting user */
    struct cds_identity services;
    pid_t pid; /**< postmaster, 0 when down */
};

/**
 * Peer authentication knows users by name: does each that connects have one? Asked before anything is made.
 * @return CDS_OK; CDS_NOT_FOUND with the uid and the remedy
 */
CDS_MUST_USE cds_rc cds_pg_check_users(const struct cds_pg *pg, struct cds_err *reterr);
/** Settings, host based access and ident map, written anew before each start. */
CDS_MUST_USE cds_rc cds_pg_write_files(const struct cds_pg *pg, struct cds_err *reterr);
/** Uid that owns the cluster. */
uid_t cds_pg_uid(const struct cds_pg *pg);
/**
 * Clears the way for a new postmaster: kills processes of an earlier one that still work on the data folder and removes a pid file that
 * would keep the server from starting although nothing runs (empty, or naming a stranger's process).
 */
CDS_MUST_USE cds_rc cds_pg_clear_stale(const struct cds_pg *pg, struct cds_err *reterr);
