/* apps/cyberdevstudio/pg.h: the private PostgreSQL cluster in the data folder.
 *
 * Source:  initdb(1), postgres(1), the format of postmaster.pid (miscadmin.h of PostgreSQL 15); docs/adr/0003-data-folder-and-users.md,
 *          docs/adr/0011-private-postgresql.md.
 * Threads: main thread only: the parent-death signal fires when the forking thread ends.
 * Rule:    the lock of the data folder is held by the caller for as long as a struct cds_pg lives.
 */
#pragma once

#include <sys/types.h>

#include "apps/cyberdevstudio/home.h"
#include "lib/config/config.h"

enum { CDS_PG_OLDEST = 15 /**< oldest major version that works */ };

struct cds_pg;
enum cds_pg_state { CDS_PG_DOWN, CDS_PG_STARTING, CDS_PG_READY };

/**
 * Finds initdb and postgres: database.bin_dir, else the newest of /usr/lib/postgresql/N/bin.
 * @param bin_dir    gets the folder
 * @param ret_major  15, 16, ...
 * @return CDS_OK; CDS_NOT_FOUND (none, or older than 15) with the remedy as hint
 */
CDS_MUST_USE cds_rc cds_pg_find(const struct cds_config *config, char *bin_dir, size_t size, int *ret_major, struct cds_err *reterr);

/**
 * Makes everything ready for cds_pg_spawn: system user when root, folders, initdb on first use, settings. May take seconds.
 * @param services  who else connects: the services' user gets into the socket folder
 * @param tick      called about every 50 ms while it waits, with what is being done; false gives up. May be NULL
 * @return CDS_OK; CDS_NOT_FOUND (binaries); CDS_CONFLICT (the folder belongs to another major version); CDS_EXHAUSTED (disk);
 *         CDS_CANCELLED (tick said so); CDS_SYSTEM
 */
CDS_MUST_USE cds_rc cds_pg_prepare(const struct cds_config *config, const struct cds_home *home, const struct cds_identity *services,
                                   bool (*tick)(void *user, const char *step), void *user, struct cds_pg **ret, struct cds_err *reterr);

/** Ends what an earlier server left behind and starts the postmaster; its output goes to log_fd (borrowed). The caller reaps the pid. */
CDS_MUST_USE cds_rc cds_pg_spawn(struct cds_pg *pg, int log_fd, pid_t *ret_pid, struct cds_err *reterr);
/** Does the started server answer? Reads postmaster.pid: line 1 must be our child, line 8 "ready". */
enum cds_pg_state cds_pg_poll(const struct cds_pg *pg);
/** The caller has reaped the postmaster. */
void cds_pg_exited(struct cds_pg *pg);
void cds_pg_free(struct cds_pg **pg);
