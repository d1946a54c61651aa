/* sandbox/image_desk.h: the images of a broker: the store, and the one image that is being added.
 *
 * Stages of an addition: prepare (folder of work, source opened) → fetch (registry only) → make (jail) → take (check, digest, put in place) or clean;
 * each can be cancelled, and what is left of it after a crash is removed before the next one.
 * Source:  schemas/rpc/image.*.json, docs/adr/0047-images-by-name.md.
 * Threads: loop thread only; a thread of its own does what blocks on the disk.
 */
#pragma once

#include "sandbox/broker.h"
#include "sandbox/image_store.h"

enum { IMAGE_ENTRIES_MAX = 200000 };

struct image_desk;

CDS_MUST_USE cds_rc image_desk_new(struct broker *broker, struct image_desk **ret, struct cds_err *reterr);
/** Ends what is being added; its engines are still there. */
void image_desk_free(struct image_desk **desk);
struct image_store *image_desk_store(struct image_desk *desk);
/** call_image.c: takes over one image.* call. */
void image_call(struct client *client, const struct cds_rpc_request *request);
/** Cancels the client's addition of that call id. */
void image_call_cancel(struct client *client, int64_t call);
/** The client is gone: what it adds is cancelled. */
void image_call_drop_all(struct client *client);

/** What is to be added; texts are copied. Exactly one of path, host_path and reference. */
struct image_source {
    const char *name;
    int project_fd;        /**< of path; taken over; -1 else */
    const char *path;      /**< below the project, parsed */
    const char *host_path; /**< of this machine, absolute: from the command line */
    const char *reference; /**< of a registry, checked */
};
/** image NULL: err says why. Told once, also after a cancel; never inside image_desk_add. */
typedef void image_added_fn(void *user, const struct image *image, const struct cds_err *err);
/** @return CDS_OK; CDS_CONFLICT: the name is taken; CDS_EXHAUSTED, rule image.count; CDS_BUSY: one is being added */
CDS_MUST_USE cds_rc image_desk_add(struct image_desk *desk, const struct image_source *source, image_added_fn *done, void *user,
                                   struct cds_err *reterr);
/** done follows. */
void image_desk_cancel(struct image_desk *desk);
