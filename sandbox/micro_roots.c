/* sandbox/micro_roots.c: root images of users that the engine has had to do with lately: each has a template of its own, the oldest are given up.
 *
 * The store (image_store.h) knows names; here the digest of the file counts, so the same file under another name is the same machine. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "sandbox/micro_priv.h"

static void drop(struct micro *m, struct micro_root *root)
{
    struct micro_root **at = &m->roots;
    while (*at != root)
        at = &(*at)->next;
    *at = root->next;
    micro_template_end(&root->template);
    close(root->files.root_fd);
    free(root);
}

/* A template that is being made is let finish: its end comes by the loop. */
static bool idle(const struct micro_root *root)
{
    return !root->jobs && !root->template.vm;
}

/* More than there may be only while runs have them all. */
static void trim(struct micro *m, unsigned most)
{
    unsigned count = 0;
    for (const struct micro_root *root = m->roots; root; root = root->next)
        count++;
    while (count > most) {
        struct micro_root *oldest = NULL;
        for (struct micro_root *root = m->roots; root; root = root->next)
            if (idle(root) && (!oldest || root->used_ms < oldest->used_ms))
                oldest = root;
        if (!oldest)
            return;
        drop(m, oldest);
        count--;
    }
}

static struct micro_root *find(const struct micro *m, const char *digest)
{
    struct micro_root *root = m->roots;
    while (root && !cds_streq(root->digest, digest))
        root = root->next;
    return root;
}

cds_rc micro_root_take(struct micro *m, const struct cds_job_image *image, struct micro_root **ret, struct cds_err *reterr)
{
    struct micro_root *root = find(m, image->digest);
    if (!root) {
        trim(m, MICRO_ROOTS_MAX - 1);
        root = calloc(1, sizeof(*root));
        const int fd = root ? fcntl(image->fd, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST) : -1;
        if (fd < 0) {
            free(root);
            return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is no memory, or no descriptor, for the image of this run.");
        }
        root->files = (struct micro_image){m->files.kernel_fd, m->files.initrd_fd, fd, m->files.key};
        cds_strcpy(root->digest, sizeof(root->digest), image->digest);
        micro_template_init(&root->template, m, &root->files);
        root->next = m->roots;
        m->roots = root;
    }
    root->jobs++;
    root->used_ms = cds_now_ms();
    root->forgotten = false; /* the same file was brought again */
    *ret = root;
    return CDS_OK;
}

void micro_root_give(struct micro *m, struct micro_root *root)
{
    root->jobs--;
    root->used_ms = cds_now_ms();
    micro_roots_tidy(m);
    trim(m, MICRO_ROOTS_MAX);
}

void micro_roots_tidy(struct micro *m)
{
    for (struct micro_root *root = m->roots, *next; root; root = next) {
        next = root->next;
        if (root->forgotten && idle(root))
            drop(m, root);
    }
}

void cds_micro_forget(struct cds_engine *engine, const char *digest)
{
    struct micro *m = (struct micro *)engine;
    struct micro_root *root = find(m, digest);
    if (!root)
        return;
    root->forgotten = true;
    if (!root->jobs)
        (void)micro_template_stop(&root->template);
    micro_roots_tidy(m);
}

void micro_roots_end(struct micro *m)
{
    while (m->roots) {
        struct micro_root *root = m->roots;
        m->roots = root->next;
        micro_template_end(&root->template);
        close(root->files.root_fd);
        free(root);
    }
}
