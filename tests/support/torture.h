/* tests/support/torture.h: a scenario again and again, each time with another allocation failing.
 *
 * The program's malloc, calloc and realloc are replaced (torture.c), so that libraries underneath meet the failure too. Not with sanitizers: they
 * replace the allocator themselves.
 * Threads: the scenario runs on the calling thread and may start none.
 */
#pragma once

#include "lib/base/err.h"

/**
 * One scenario: does its work and frees everything it made, also when it fails. It asserts what must hold whether memory is there or not.
 * @return CDS_OK, or what the library said
 */
typedef cds_rc torture_fn(void);
/**
 * Runs it once unharmed (this must succeed, and warms caches), then with the first allocation failing, the second, ... until it needs no more;
 * and all that again with every allocation from there on failing.
 * Fails the test when the scenario answers something else than CDS_OK or CDS_EXHAUSTED, or keeps memory. @return how many allocations it makes
 */
unsigned torture(torture_fn *scenario);
/** The same, each run in a process of its own, for scenarios that read JSON texts: such a run may also end by abort(), and by nothing else.
 *  stride: 1 tries every allocation, n every n-th of a scenario that makes thousands. */
unsigned torture_apart(torture_fn *scenario, unsigned stride);
