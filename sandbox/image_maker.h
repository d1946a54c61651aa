/* sandbox/image_maker.h: makes a root image of an archive or a folder: sandbox/image/make.py and mkfs.erofs in a jail of their own.
 *
 * The source is hostile: only the jail reads it. It has the rights of jobs, no network, and sees the folder it works in (writable), its source
 * (read-only) and the system's programs. The file it leaves is as hostile: who takes it looks at nothing but its kind and size.
 * Source:  sandbox/job.h, docs/adr/0047-images-by-name.md.
 * Threads: loop thread only.
 */
#pragma once

#include "lib/base/pool.h"
#include "sandbox/host.h"

enum { IMAGE_TREE_DEPTH = 64, IMAGE_MEMORY_BYTES = 1 << 30, IMAGE_TASKS = 32 };

struct image_plan {
    int source_fd; /**< the archive, or the folder (O_PATH or O_RDONLY); borrowed until image_maker_start returns */
    bool folder;
    int work_fd;        /**< empty folder that belongs to the jobs' user: "image" is the result, "root" the tree it was made of; borrowed */
    uint64_t bytes_max; /**< of the unpacked tree */
    unsigned entries_max;
    uint32_t wall_ms;
};
struct image_facts {
    unsigned languages; /**< bits of image_language(i) */
    uint64_t entries, tree_bytes;
};
/** Nothing of the jail lives any more. err NULL: there is a file work/image. */
typedef void image_maker_fn(void *user, const struct image_facts *facts, const struct cds_err *err);

struct image_maker;
/** @param script  make.py as installed; copied @param pool  looks at the disk; borrowed @param host borrowed, outlives it */
CDS_MUST_USE cds_rc image_maker_new(struct sandbox_host *host, struct cds_pool *pool, const char *script, struct image_maker **ret,
                                    struct cds_err *reterr);
/** Ends what runs without telling anybody. */
void image_maker_free(struct image_maker **maker);
/**
 * One at a time. It takes one of the places for runs. done is called once, never inside start.
 * @return CDS_OK; CDS_BUSY (another one, or all places are taken); CDS_UNAVAILABLE: python3 or mkfs.erofs is missing; CDS_EXHAUSTED; CDS_SYSTEM
 */
CDS_MUST_USE cds_rc image_maker_start(struct image_maker *maker, const struct image_plan *plan, image_maker_fn *done, void *user,
                                      struct cds_err *reterr);
/** done follows, with CDS_CANCELLED. */
void image_maker_cancel(struct image_maker *maker);
/** What the jail reported (one JSON object). @return CDS_OK; CDS_DENIED with the rule it names; CDS_SYSTEM: no such report */
CDS_MUST_USE cds_rc image_report_parse(const char *text, size_t len, struct image_facts *ret, struct cds_err *reterr);
