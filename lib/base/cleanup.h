/* lib/base/cleanup.h: clean-up at the declaration. Use: `CDS_CLEANUP(cds_free_ptr) char *p = NULL;`
 *
 * Threads: safe; each function touches nothing but its argument.
 */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/compiler.h"

static inline void cds_free_ptr(void *p)
{
    free(*(void **)p);
}
static inline void cds_close_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
static inline void cds_close_file(FILE **f)
{
    if (*f)
        fclose(*f);
}
static inline void cds_close_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}
/** Takes the value out, so that the clean-up finds nothing. */
static inline int cds_steal_fd(int *fd)
{
    int v = *fd;
    *fd = -1;
    return v;
}
