/* sandbox/image_store.h: root images of microVMs that users brought, by name: a file NAME.erofs and its record NAME.json in one folder.
 *
 * The record is what makes an image be there: it is written last and removed first, so a crash leaves at most a file that the next start removes.
 * Source:  schemas/rpc/image.list.json, docs/adr/0047-images-by-name.md.
 * Threads: loop thread only, except image_commit (any).
 * Owner:   the desk (image_desk.h). What images_take gives is counted: an image in use is not removed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/json/json.h"

enum { IMAGE_NAME_MAX = 63, IMAGE_DIGEST_LEN = 64, IMAGE_FROM_MAX = 300, IMAGE_LANGUAGES = 3, IMAGE_RECORD_MAX = 8192, IMAGE_FILES_MAX = 4096 };
#define IMAGE_DEFAULT "default" /* the one that set-up made, or option micro.image: always there, under a name nobody can give */

struct image {
    struct image *next;
    char name[IMAGE_NAME_MAX + 1];
    char digest[IMAGE_DIGEST_LEN + 1]; /**< SHA-256 of the file, lower-case hex */
    char kind[16];                     /**< "archive", "folder", "registry" */
    char from[IMAGE_FROM_MAX + 1];     /**< path or reference, for people */
    uint64_t size_bytes;               /**< of the file */
    uint64_t tree_bytes, entries;      /**< of what is in it */
    int64_t added_ms;                  /**< since 1970 UTC */
    unsigned languages;                /**< bit i: image_language(i) */
    unsigned users;                    /**< runs that have it */
};

struct image_store {
    char dir[600];
    int dir_fd;
    struct image *all; /**< in the order of names */
    unsigned count;
};

/** "python", "node", "sh"; static. NULL out of range. */
const char *image_language(unsigned index);
/** [a-z0-9][a-z0-9._-]{0,62}. @return CDS_OK; CDS_BAD_PARAM with pointer */
CDS_MUST_USE cds_rc image_name_check(const char *name, const char *pointer, struct cds_err *reterr);

/** Reads the records; removes files without one. A record that cannot be read is left alone and logged: its image is not there. */
CDS_MUST_USE cds_rc image_store_open(const char *dir, struct image_store *ret, struct cds_err *reterr);
void image_store_close(struct image_store *store);
/** NULL: none of that name. */
struct image *image_find(const struct image_store *store, const char *name);
/**
 * The file of an image for one run.
 * @param ret     give it back with image_give @param ret_fd  read-only, owned
 * @return CDS_OK; CDS_NOT_FOUND, rule image.unknown; CDS_BAD_PARAM, rule image.language: no such interpreter in it; CDS_DENIED, rule micro.image:
 * broken
 */
CDS_MUST_USE cds_rc image_take(struct image_store *store, const char *name, const char *language, struct image **ret, int *ret_fd,
                               struct cds_err *reterr);
void image_give(struct image *image);
/** Puts a finished file (name below from_fd) and its record in place, durably. The list does not know it yet: image_add. */
CDS_MUST_USE cds_rc image_commit(const struct image_store *store, const struct image *image, int from_fd, const char *from_name,
                                 struct cds_err *reterr);
/** @param image  copied @return CDS_OK; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc image_add(struct image_store *store, const struct image *image, struct cds_err *reterr);
/** @return CDS_OK; CDS_NOT_FOUND, rule image.unknown; CDS_CONFLICT, rule image.in_use */
CDS_MUST_USE cds_rc image_remove(struct image_store *store, const char *name, struct cds_err *reterr);
/** One image as image.list tells it; from: also where it came from. */
cds_json *image_json(const struct image *image, bool from);
/** A record, checked. @return CDS_OK; CDS_SYSTEM */
CDS_MUST_USE cds_rc image_record_parse(const char *text, size_t len, const char *name, struct image *ret, struct cds_err *reterr);
