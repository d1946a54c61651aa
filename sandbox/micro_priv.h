/* sandbox/micro_priv.h: what the files of the engine micro share. Threads: loop thread only. */
#pragma once

#include "sandbox/micro.h"
#include "sandbox/micro_vm.h"
#include "sandbox/returned.h"

enum {
    MICRO_FIRST_MS = 20000,     /**< until the first machine of a job or template is READY; a loaded machine under emulation takes a fifth of it */
    MICRO_BOOT_MS = 40000,      /**< the same for the second, which takes its place once (ADR 0084), and for a canary */
    MICRO_RESTORE_MS = 20000,   /**< until a restored machine runs */
    MICRO_KVM_MS = 6000,        /**< until READY with hardware: a canary that hangs has no better chance later */
    MICRO_DOCTOR_MS = 5000,     /**< until msb's doctor has said what it thinks of the host */
    MICRO_MSB_MS = 25000,       /**< the same for msb, which takes 10 s to say why it failed */
    MICRO_START_MS = 20000,     /**< from EXEC to STARTED */
    MICRO_BACK_MS = 20000,      /**< from EXIT to the last file that returns */
    MICRO_PRESTART_MS = 150000, /**< interpreters started, and run once; nobody waits for it */
    MICRO_POOL_MAX = 8,
    MICRO_ROOTS_MAX = 2, /**< images of users whose template is kept; about 130 MB each */
    MICRO_JOB_ID = 1,
    MICRO_GUEST_MIB = 80 /**< what the guest's kernel and agent need of its RAM */
};

enum micro_tier { MICRO_TIER_MSB, MICRO_TIER_KVM, MICRO_TIER_TCG, MICRO_TIERS };

/** What is known of a tier. */
struct micro_tier_state {
    enum { MICRO_UNTRIED, MICRO_WORKS, MICRO_FAILS } state;
    uint32_t took_ms;
    char reason[256], remedy[160];
};

/** A template: a machine whose interpreters wait. Its memory is sealed: nothing can change it any more. */
struct micro_template {
    struct micro *engine;            /**< borrowed */
    const struct micro_image *image; /**< what its machines are made of; borrowed */
    int ram_fd, state_fd;            /**< -1: none */
    bool kvm;
    struct micro_vm *vm; /**< being made; NULL */
    struct cds_timer *deadline;
    bool again;  /**< the machine is the second one: the first did not boot in time */
    bool failed; /**< not tried again: cold boots serve */
    char reason[256];
    struct micro_waiting *waiting; /**< who asked for it */
};

/** A machine of the pool. */
struct micro_spare {
    struct micro *engine;
    struct micro_spare *next, **prev;
    struct micro_vm *vm;
    enum micro_language language;
    uint64_t deadline_ms; /* until it is ready */
    unsigned warmed;
    bool ready, kvm; /**< kvm: of which tier it is */
};

/** A root image of a user's, by its digest, and the template of its machines. */
struct micro_root {
    struct micro_root *next;
    char digest[65];
    struct micro_image files; /**< root_fd is its own, the others are the engine's */
    struct micro_template template;
    unsigned jobs; /**< that have it */
    uint64_t used_ms;
    bool forgotten; /**< its image was removed: it goes as soon as nothing needs it */
};

struct micro_pool {
    struct micro_spare *spares;
    uint64_t used_ms[MICRO_LANGUAGES]; /**< when a language was last asked for; 0: never */
    struct cds_timer *timer;
    unsigned failed; /**< spares that did not get ready, one after the other */
};

struct micro {
    struct cds_engine base;
    struct sandbox_host *host; /**< borrowed */
    char image_dir[512], agent[512], image[512], qemu[256], msb[512], cache[512];
    unsigned memory_mib, pool_target, pool_ttl_ms, tsc_khz;
    bool templates;
    struct micro_image files;
    bool have_files;
    struct micro_tier_state tiers[MICRO_TIERS];
    struct micro_canary *canary; /**< the try that is going on; NULL */
    struct micro_vm *vms;
    struct micro_job *jobs;
    struct micro_template template;
    struct micro_pool pool;
    struct micro_root *roots; /**< micro_roots.c */
};

static inline struct sandbox_host *micro_host(const struct micro *m)
{
    return m->host;
}
const char *micro_backend_name(enum micro_tier tier);  /**< "msb-kvm", "qemu-kvm", "qemu-tcg" */
const char *micro_boundary_name(enum micro_tier tier); /**< "hardware", "emulated" */
/** msb saves no machine for us: each of its jobs boots. */
static inline bool micro_tier_has_template(enum micro_tier tier)
{
    return tier == MICRO_TIER_KVM || tier == MICRO_TIER_TCG;
}
enum micro_language micro_language_of(const char *name);

/* micro_tiers.c: what works here. */
/** Opens the images and looks for QEMU. @return CDS_OK; CDS_DENIED with rule micro.no_backend or micro.image */
CDS_MUST_USE cds_rc micro_ready(struct micro *m, struct cds_err *reterr);
/** The strongest tier that works; MICRO_TIERS: not known yet, a try is needed. @return CDS_OK; CDS_DENIED, rule micro.no_backend */
CDS_MUST_USE cds_rc micro_choose(struct micro *m, enum micro_tier *ret, struct cds_err *reterr);
typedef void micro_tried_fn(void *user);
/** Tries what was not tried yet (or everything again), one tier after the other; done is called once, later. @return CDS_OK; CDS_BUSY; CDS_EXHAUSTED
 */
CDS_MUST_USE cds_rc micro_try(struct micro *m, bool again, micro_tried_fn *done, void *user, struct cds_err *reterr);
/** Nobody with this user is told any more. */
void micro_try_forget(struct micro *m, const void *user);
void micro_try_end(struct micro *m);
void micro_plan(const struct micro *m, enum micro_tier tier, struct micro_vm_plan *ret);
/** kHz of the time stamp counter, measured; 0 where there is none to trust. */
unsigned micro_tsc_khz(void);

/* micro_cache.c: remembered for one boot of the machine and one set of programs. */
void micro_cache_load(struct micro *m);
void micro_cache_save(const struct micro *m);

/* micro_template.c */
void micro_template_init(struct micro_template *t, struct micro *m, const struct micro_image *image);
bool micro_template_ready(const struct micro_template *t, enum micro_tier tier);
/** Begins to make it, when it is neither there nor being made. done may be NULL. */
CDS_MUST_USE cds_rc micro_template_make(struct micro_template *t, enum micro_tier tier, cds_prepare_fn_done *done, void *user,
                                        struct cds_err *reterr);
/** A job is over: when nothing runs the template is made, if it is not there; nobody waits for it. */
void micro_template_prepare_next(struct micro_template *t, enum micro_tier tier);
/** A new machine from the template. */
CDS_MUST_USE cds_rc micro_template_restore(struct micro_template *t, const struct micro_vm_ops *ops, void *user, struct micro_vm **ret,
                                           struct cds_err *reterr);
/** Ends the machine that it is being made of. False: that one is saved already, and its end comes by the loop. */
bool micro_template_stop(struct micro_template *t);
void micro_template_end(struct micro_template *t);

/* micro_roots.c */
/** What a job with an image of a user's starts from; the one that was not used for longest is given up for it. @param ret  give it back */
CDS_MUST_USE cds_rc micro_root_take(struct micro *m, const struct cds_job_image *image, struct micro_root **ret, struct cds_err *reterr);
void micro_root_give(struct micro *m, struct micro_root *root);
/** Gives up what was forgotten while it was needed; a root's template calls it last of all, since it may go with it. */
void micro_roots_tidy(struct micro *m);
void micro_roots_end(struct micro *m);

/* micro_pool.c */
/** A warm machine of that tier for the language; NULL: there is none. Its SEED is due. */
struct micro_vm *micro_pool_take(struct micro *m, enum micro_language language, enum micro_tier tier);
/** The one that would be taken, without taking it (measurements, tests). */
struct micro_vm *micro_pool_look(const struct micro *m, enum micro_language language);
/** Fills it up a little later. */
void micro_pool_wake(struct micro *m);
CDS_MUST_USE cds_rc micro_pool_open(struct micro *m, struct cds_err *reterr);
void micro_pool_end(struct micro *m);

/* micro_files.c */
/**
 * Appends the code, the files and the project of a job as frames.
 * @param given  NULL, or what is given of the project is noted there
 * @return CDS_OK; CDS_DENIED with rule micro.project_size; CDS_EXHAUSTED; CDS_SYSTEM
 */
CDS_MUST_USE cds_rc micro_add_files(const struct micro *m, const struct cds_job_spec *spec, struct cds_buf *out, struct returned *given,
                                    struct cds_err *reterr);
/** Appends standard input and EXEC. memory_bytes: what the job may use of its guest */
CDS_MUST_USE cds_rc micro_add_exec(const struct cds_job_spec *spec, uint64_t memory_bytes, uint64_t tmp_bytes, struct cds_buf *out,
                                   struct cds_err *reterr);

/* micro_job.c */
CDS_MUST_USE cds_rc micro_acquire(struct cds_engine *engine, const struct cds_job_spec *spec, struct cds_job **ret, struct cds_err *reterr);
CDS_MUST_USE cds_rc micro_exec(struct cds_job *job, const struct cds_job_spec *spec, const struct cds_job_events *events, void *user,
                               struct cds_err *reterr);
CDS_MUST_USE cds_rc micro_write(struct cds_job *job, const char *data, size_t len, struct cds_err *reterr);
CDS_MUST_USE cds_rc micro_resize(struct cds_job *job, unsigned rows, unsigned cols, struct cds_err *reterr);
void micro_hold(struct cds_job *job, bool hold);
void micro_kill(struct cds_job *job, enum cds_run_end reason);
void micro_stats(const struct cds_job *job, struct cds_job_stats *ret);
void micro_release(struct cds_job *job);
void micro_jobs_end(struct micro *m);
