/* sandbox/micro.h: the engine micro: python, node and sh in a microVM of their own, destroyed after one job.
 *
 * Tiers, the strongest first: microsandbox (msb) on KVM, QEMU on KVM, QEMU under emulation. The first is used of which a virtual machine has booted
 * here; /dev/kvm alone proves nothing. Where none works a job is refused with rule micro.no_backend: no weaker boundary is taken. With QEMU a
 * job's machine comes from the pool (restored, warmed, frozen), else from the template, else it boots; with msb it boots.
 *
 * Source:  sandbox/sandbox.h (the interface), docs/adr/0028-microvm.md, docs/adr/0029-microvm-random-and-templates.md, docs/adr/0046-msb.md.
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/host.h"
#include "sandbox/sandbox.h"

struct micro_settings {
    const char *image_dir; /**< folder that tools/setup_micro made; copied, as all texts */
    const char *agent;     /**< static agent program */
    const char *image;     /**< another root image (erofs); "": that of image_dir */
    const char *qemu;      /**< program */
    const char *msb;       /**< program of microsandbox, in a folder of its own: what is beside its folder is shown to it, too */
    const char *cache;     /**< file that remembers which tiers work; "": none */
    unsigned memory_mib;   /**< RAM of a guest */
    unsigned pool;         /**< machines kept ready for each language used lately; 0: none */
    unsigned pool_ttl_ms;  /**< how long after its last use a language counts as used */
    bool templates;        /**< false: every machine boots (tests) */
};

/** @param host  borrowed, outlives the engine */
CDS_MUST_USE cds_rc cds_micro_engine_new(struct sandbox_host *host, const struct micro_settings *settings, struct cds_engine **ret,
                                         struct cds_err *reterr);
/** The image of that digest is gone: nothing is kept of it that no run has. */
void cds_micro_forget(struct cds_engine *engine, const char *digest);
