/* lib/base/random.h: random bytes and request ids. Threads: safe. Source: getrandom(2), RFC 9562 section 5.7. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { CDS_UUID_LEN = 36 /**< text form without the NUL */ };

/** Fills buf from getrandom; aborts the process if the kernel cannot (there is no safe way on). */
void cds_random(void *buf, size_t len);
/** A UUIDv7 as text; rising within one process even inside one millisecond. */
void cds_uuid7(char out[static CDS_UUID_LEN + 1]);
/** 1 if text is a UUID in lower-case hex with dashes. */
int cds_uuid_valid(const char *text);
