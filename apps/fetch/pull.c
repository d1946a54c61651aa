#include "apps/fetch/pull.h"

#include <stdlib.h>

#include "apps/fetch/pulling.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"

/** Which of the files that are wanted are there already, under their names. */
static cds_rc look_for_parts(struct cds_pulling *pulling, unsigned *ret_present, struct cds_err *reterr)
{
    cds_rc rc = CDS_OK;
    *ret_present = 0;
    for (unsigned i = 0; rc == CDS_OK && i < pulling->reach.remote.count; i++) {
        rc = cds_present_look(pulling, &pulling->reach.remote.files[i], &pulling->present[i], reterr);
        *ret_present += rc == CDS_OK && pulling->present[i];
    }
    return rc;
}

/** Parts that have their names already are those of a download that ended while it gave them: they are read again and taken as they are. */
static cds_rc open_parts(struct cds_pulling *pulling, struct cds_err *reterr)
{
    cds_rc rc = CDS_OK;
    for (unsigned i = 0; rc == CDS_OK && i < pulling->reach.remote.count; i++) {
        const struct cds_remote_file *f = &pulling->reach.remote.files[i];
        char sha256[CDS_SHA256_HEX + 1];
        pulling->opened++;
        if (pulling->present[i]) {
            cds_present_digest(pulling, f, sha256);
            rc = cds_part_take(&pulling->parts[i], pulling->options->dir, f->name, sha256, reterr);
        } else {
            rc = cds_part_open(&pulling->parts[i], pulling->options->dir, f->name, pulling->reach.label, f->size, f->sha256, reterr);
        }
        cds_tell_note(pulling, i);
    }
    return rc;
}

static cds_rc fetch_all(struct cds_pulling *pulling, struct cds_web *web, bool *ret_present, struct cds_err *reterr)
{
    unsigned present = 0;
    cds_rc rc = cds_reach_resolve(&pulling->reach, web, reterr);
    if (rc == CDS_OK)
        rc = look_for_parts(pulling, &present, reterr);
    if (rc != CDS_OK)
        return rc;
    unsigned count = pulling->reach.remote.count;
    *ret_present = present == count;
    if (*ret_present)
        return CDS_OK;
    rc = cds_head_room(pulling, reterr);
    if (rc == CDS_OK)
        rc = open_parts(pulling, reterr);
    if (rc == CDS_OK)
        rc = cds_head_read(pulling, web, reterr);
    if (rc == CDS_OK)
        rc = cds_head_room(pulling, reterr); /* the lengths are known now */
    if (rc == CDS_OK) {
        cds_tell_state(pulling, "downloading");
        rc = cds_bulk_get(pulling, web, reterr);
    }
    if (rc == CDS_OK)
        cds_tell_state(pulling, "verifying");
    for (unsigned i = 0; rc == CDS_OK && i < count; i++)
        rc = cds_part_verify(&pulling->parts[i], reterr);
    /* The first part last: it is the one that is listed. */
    for (unsigned i = count; rc == CDS_OK && i-- > 0;)
        rc = cds_part_finish(&pulling->parts[i], pulling->reach.label, reterr);
    return rc;
}

/** After a refusal that another try would meet again nothing stays behind. */
static bool in_vain(cds_rc rc, const struct cds_err *err)
{
    return rc == CDS_BAD_PARAM || rc == CDS_TOO_LARGE || (rc == CDS_DENIED && cds_streq(err->rule, "llm.parameters_max"));
}

static cds_rc known_here(struct cds_pulling *pulling, bool *ret_known, struct cds_err *reterr)
{
    char name[CDS_FILE_NAME_MAX + 1];
    struct cds_remote *remote = &pulling->reach.remote;
    *ret_known = cds_present_offline(pulling, name);
    if (!*ret_known)
        return CDS_OK;
    remote->files = calloc(1, sizeof(*remote->files));
    if (!remote->files)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for a download.");
    remote->count = 1;
    cds_strcpy(remote->files[0].name, sizeof(remote->files[0].name), name);
    return CDS_OK;
}

int cds_pull(const struct cds_pull_options *options)
{
    static struct cds_pulling pulling; /* large; one per process */
    struct cds_web *web = NULL;
    struct cds_err err = {0};
    bool present = false;
    pulling = (struct cds_pulling){.options = options, .lock = PTHREAD_MUTEX_INITIALIZER};
    cds_tell_state(&pulling, "resolving");
    cds_rc rc = cds_reach_open(&options->reach, &pulling.reach, &err);
    if (rc == CDS_OK)
        rc = cds_mkdir_p(options->dir, 0700, &err);
    if (rc == CDS_OK)
        rc = known_here(&pulling, &present, &err);
    if (rc == CDS_OK && !present)
        rc = cds_reach_key(&pulling.reach, &err);
    if (rc == CDS_OK && !present)
        rc = cds_reach_web(&pulling.reach, &pulling.stop, &web, &err);
    if (rc == CDS_OK && !present)
        rc = fetch_all(&pulling, web, &present, &err);
    /* What has no verified byte is nothing to go on with. */
    for (unsigned i = 0; rc != CDS_OK && i < pulling.opened; i++)
        if (in_vain(rc, &err) || pulling.parts[i].done == 0)
            cds_part_remove(&pulling.parts[i]);
    cds_tell_end(&pulling, rc, present ? "present" : "done", &err);
    for (unsigned i = 0; i < pulling.opened; i++)
        cds_part_close(&pulling.parts[i]);
    cds_web_free(&web);
    cds_reach_close(&pulling.reach);
    cds_json_unref(pulling.facts);
    return rc == CDS_OK ? 0 : 1;
}
