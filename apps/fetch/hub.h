/* apps/fetch/hub.h: which files of a repository of the hub make a model, their lengths and SHA-256.
 *
 * Source:  Hugging Face Hub API: GET /api/models/<repo>/tree/<revision>?recursive=true; files at /<repo>/resolve/<revision>/<path>.
 * Threads: one thread; it blocks.
 */
#pragma once

#include "apps/fetch/digest.h"
#include "apps/fetch/transfer.h"
#include "lib/json/json.h"

struct cds_remote_file {
    char url[CDS_URL_MAX];
    char name[CDS_FILE_NAME_MAX + 1]; /**< in our folder */
    uint64_t size;                    /**< 0: not known */
    char sha256[CDS_SHA256_HEX + 1];  /**< "": not known */
};
struct cds_remote {
    struct cds_remote_file *files; /**< owned: free() */
    unsigned count;
};

/** Lists the repository and chooses. @return CDS_OK; CDS_NOT_FOUND naming what there is; errors of cds_web_fetch */
CDS_MUST_USE cds_rc cds_hub_resolve(struct cds_web *web, const char *hub, const struct cds_source *source, struct cds_remote *ret,
                                    struct cds_err *reterr);
/** The choice alone, over the hub's list; exposed for tests. */
CDS_MUST_USE cds_rc cds_hub_choose(const cds_json *tree, const char *hub, const struct cds_source *source, struct cds_remote *ret,
                                   struct cds_err *reterr);
/** The files behind a plain address: one, or all parts of a split model. */
CDS_MUST_USE cds_rc cds_hub_plain(const struct cds_source *source, const char *sha256, struct cds_remote *ret, struct cds_err *reterr);
