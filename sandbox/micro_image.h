/* sandbox/micro_image.h: what a microVM is made of: kernel, initramfs, root image; opened once, so that all VMs of a broker see the same.
 *
 * Source:  tools/setup_micro makes them; erofs on-disk format (magic and size), ELF, initramfs buffer format.
 * Threads: loop thread only.
 */
#pragma once

#include <stdint.h>

#include "lib/base/err.h"

struct micro_image {
    int kernel_fd, initrd_fd, root_fd; /**< -1: not open */
    uint64_t key;                      /**< changes with any of them */
};

/**
 * Opens and checks the files.
 * @param dir    folder of vmlinux, modules.cpio and root.erofs
 * @param agent  the static agent program
 * @param root   another root image; NULL or "": that of dir
 * @return CDS_OK; CDS_DENIED with rule micro.image: one of them is missing or broken, the message says which and how
 */
CDS_MUST_USE cds_rc micro_image_open(const char *dir, const char *agent, const char *root, struct micro_image *ret, struct cds_err *reterr);
void micro_image_close(struct micro_image *image);
/** One root image alone, checked as above. @param ret_fd  owned */
CDS_MUST_USE cds_rc micro_image_open_root(const char *path, const char *hint, int *ret_fd, struct cds_err *reterr);
