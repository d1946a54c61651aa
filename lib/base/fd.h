/* lib/base/fd.h: file descriptors: whole reads and writes, unix sockets, fd passing, small files.
 *
 * Threads: safe. Ownership: returned descriptors belong to the caller and are CLOEXEC.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

/** Writes everything or fails; waits with poll until deadline_ms if fd is non-blocking. */
CDS_MUST_USE cds_rc cds_write_all(int fd, const void *data, size_t len, uint64_t deadline_ms, struct cds_err *reterr);
CDS_MUST_USE cds_rc cds_set_nonblock(int fd, bool on);
/** Reads a whole small file into a buffer. @return CDS_OK, CDS_NOT_FOUND, CDS_TOO_LARGE (over the buffer's ceiling), CDS_SYSTEM */
CDS_MUST_USE cds_rc cds_read_file(const char *path, struct cds_buf *buf, struct cds_err *reterr);
/** Temporary file in the same folder, fsync, rename, fsync of the folder. */
CDS_MUST_USE cds_rc cds_write_file_atomic(const char *path, const void *data, size_t len, mode_t mode, struct cds_err *reterr);
/** mkdir -p with the mode for every folder it makes. */
CDS_MUST_USE cds_rc cds_mkdir_p(const char *path, mode_t mode, struct cds_err *reterr);
/** Listening unix stream socket, non-blocking; removes a stale socket file first (refuses any other file type). */
CDS_MUST_USE cds_rc cds_unix_listen(const char *path, mode_t mode, int *ret_fd, struct cds_err *reterr);
/** Connected unix stream socket, non-blocking. @return CDS_OK, CDS_UNAVAILABLE */
CDS_MUST_USE cds_rc cds_unix_connect(const char *path, int *ret_fd, struct cds_err *reterr);
/** Listening TCP socket, non-blocking, SO_REUSEADDR. A taken port is CDS_CONFLICT with a sentence that names it. */
CDS_MUST_USE cds_rc cds_tcp_listen(const char *address, uint16_t port, int *ret_fd, struct cds_err *reterr);
/** Starts a non-blocking TCP connect; *ret_fd becomes writable when it ends (check SO_ERROR). */
CDS_MUST_USE cds_rc cds_tcp_connect(const char *address, uint16_t port, int *ret_fd, struct cds_err *reterr);
