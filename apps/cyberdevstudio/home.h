/* apps/cyberdevstudio/home.h: the data folder: its lock, its folders and who may reach them, room on its disk.
 *
 *   <home>            0711 root, or 0700 of the user who starts the studio
 *   <home>/run        1731 root, group services: they may add files but not replace those of others; the sockets inside carry their own rights;
 *                     pg/ inside belongs to the cluster's user
 *   <home>/keys       0700 services: the signing key
 *   <home>/logs       0750 root, group services: api streams studio.jsonl
 *   <home>/models     0750 services
 *   <home>/projects   root: sandboxd alone, which may let its jobs pass through
 * A job (a user id of its own, sandbox/confine/identity.h) can reach none of them.
 * Threads: main thread only.
 */
#pragma once

#include <stdint.h>

#include "apps/cyberdevstudio/runas.h"
#include "lib/config/config.h"

enum { CDS_HOME_PATH_MAX = 80 /**< longest data folder: a socket path below it has to fit into sun_path (108 bytes) */ };

struct cds_home {
    char path[256]; /**< absolute, links resolved */
    int lock_fd;    /**< holds the flock for the life of the supervisor; -1: not held */
};

/**
 * Makes the data folder itself, or accepts one that is ours and empty or made by an earlier start, and resolves it.
 * @return CDS_OK; CDS_BAD_PARAM (path too long); CDS_CONFLICT (holds other things); CDS_DENIED (another owner); CDS_SYSTEM
 */
CDS_MUST_USE cds_rc cds_home_make(const struct cds_config *config, struct cds_home *ret, struct cds_err *reterr);
/** Takes the lock that makes this process the only one in charge of the data folder. @return CDS_OK; CDS_CONFLICT with the pid of the holder */
CDS_MUST_USE cds_rc cds_home_lock(struct cds_home *home, struct cds_err *reterr);
/** True when some process holds the lock; *ret_pid (may be NULL) gets its pid, 0 when unknown. */
bool cds_home_locked(const char *home_path, pid_t *ret_pid);
/** Makes the folders with owner and mode for services (change false: all belong to the current user). */
CDS_MUST_USE cds_rc cds_home_folders(const struct cds_home *home, const struct cds_identity *services, struct cds_err *reterr);
/** Bytes an unprivileged process may still write below path; UINT64_MAX when unknown. */
uint64_t cds_home_free_bytes(const char *path);
/** @return CDS_OK; CDS_EXHAUSTED when less than CDS_DISK_MIN_BYTES are free */
CDS_MUST_USE cds_rc cds_home_disk_check(const char *path, struct cds_err *reterr);
void cds_home_unlock(struct cds_home *home);

/** The database's WAL may grow to 256 MiB; a disk that fills up meanwhile stops it. */
#define CDS_DISK_MIN_BYTES (512ULL << 20)
