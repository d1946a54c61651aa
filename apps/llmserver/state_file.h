/* apps/llmserver/state_file.h: one state in a file: written whole, read whole, and known to be ours.
 *
 * Layout: "CDSSTATE", length of the head (32 bits, little-endian), the head (the text of a JSON object), the bytes of the state, HMAC-SHA256 of all
 * that with the key of this data folder. Whoever can write files but does not have the key can make none that is taken. Source:
 * apps/llmworker/exchange.h (the bytes); RFC 2104. Threads: blocking functions without state of their own; states.c calls them on a thread of its
 * pool.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

enum { CDS_STATE_HEAD_MAX = 65536, CDS_STATE_KEY = 32 };

/** Reads the key of a folder, or makes it. @return CDS_OK; CDS_SYSTEM; CDS_DENIED: others can read it */
CDS_MUST_USE cds_rc cds_state_key(const char *path, unsigned char ret[static CDS_STATE_KEY], struct cds_err *reterr);
/**
 * Begin of a file: where its head lies.
 * @param data  the first bytes of the file, len of them
 * @param size  of the whole file
 * @return CDS_OK with the head in data; CDS_BAD_PARAM: this is no such file
 */
CDS_MUST_USE cds_rc cds_state_parse(const void *data, size_t len, uint64_t size, const char **ret_head, size_t *ret_head_len, uint64_t *ret_bytes,
                                    struct cds_err *reterr);
/** Text of the head, without a look at the rest; malloc'ed. @return CDS_OK; CDS_NOT_FOUND; CDS_BAD_PARAM; CDS_SYSTEM */
CDS_MUST_USE cds_rc cds_state_peek(const char *path, char **ret_head, struct cds_err *reterr);
/** Writes `bytes` bytes of another file behind the head: into a file beside it, synced, renamed. @return CDS_OK; CDS_SYSTEM; CDS_EXHAUSTED: the disk
 * is full */
CDS_MUST_USE cds_rc cds_state_write(const char *path, const unsigned char key[static CDS_STATE_KEY], const char *head, int from, uint64_t bytes,
                                    struct cds_err *reterr);
/** Copies the bytes of a state into a file. head: what cds_state_peek told. @return CDS_OK; CDS_BAD_PARAM: the file was changed or cut; CDS_SYSTEM */
CDS_MUST_USE cds_rc cds_state_read(const char *path, const unsigned char key[static CDS_STATE_KEY], const char *head, int to, struct cds_err *reterr);
