/* sandbox/image_pull.h: fetches an image from a registry with microsandbox (msb), into an archive as `docker save` writes it.
 *
 * msb needs the network, so it runs outside of the jail, with the rights of jobs, no privileges to gain, and its own folder; an admin names what it
 * fetches. Where there are control groups they bound its memory and tasks, and with the group dies whatever left its session. What it leaves is as
 * hostile as any archive.
 * Source:  `msb pull --help`, `msb save --help`; docs/adr/0047-images-by-name.md.
 * Threads: loop thread only.
 */
#pragma once

#include "lib/base/pool.h"
#include "sandbox/host.h"

enum { IMAGE_REFERENCE_MAX = 255, IMAGE_PULL_ARGS = 8, IMAGE_PULL_MEMORY = 1 << 30, IMAGE_PULL_TASKS = 256, IMAGE_PULL_ENTRIES = 20000 };
#define IMAGE_PULL_ARCHIVE "archive.tar"

struct image_pull_plan {
    const char *msb;       /**< program */
    const char *reference; /**< checked by image_reference_check */
    int work_fd;           /**< folder of the jobs' user that it may fill; IMAGE_PULL_ARCHIVE is the result */
    uint64_t bytes_max; /**< of the archive, and of each file; all of the folder (layers, what they unpack to, the archive) may be four times that */
    struct cds_pool *pool; /**< looks at the folder; borrowed, outlives it */
    uint32_t wall_ms;
};
/** Nothing of it runs any more. err NULL: the archive is there. */
typedef void image_pull_fn(void *user, const struct cds_err *err);
struct image_pull;

/** registry/name:tag or name@sha256:...: letters, digits, . _ - / : @, not beginning with a hyphen. @return CDS_OK; CDS_BAD_PARAM */
CDS_MUST_USE cds_rc image_reference_check(const char *reference, struct cds_err *reterr);
/** The words of a step: 0 fetches, 1 writes the archive. */
void image_pull_command(const struct image_pull_plan *plan, int step, const char *ret[static IMAGE_PULL_ARGS]);
/** done is called once, never inside start. @return CDS_OK; CDS_EXHAUSTED; CDS_SYSTEM */
CDS_MUST_USE cds_rc image_pull_start(struct sandbox_host *host, const struct image_pull_plan *plan, image_pull_fn *done, void *user,
                                     struct image_pull **ret, struct cds_err *reterr);
/** done follows, with CDS_CANCELLED. */
void image_pull_cancel(struct image_pull *pull);
/** Ends it without telling anybody. */
void image_pull_free(struct image_pull **pull);
