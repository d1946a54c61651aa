/* tests/support/torture.c: see torture.h. */
#include "tests/support/torture.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/test.h"

enum { ROUNDS_MAX = 100000 };

/* The C library's own entry points: declared nowhere, exported for exactly this. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void __libc_free(void *memory);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *old, size_t size);
void free(void *memory);

static struct {
    bool armed, all_from_there;
    unsigned seen, fail_at; /* 0: none fails */
    long live;              /* blocks made minus blocks freed while armed */
} now;

static bool refuse(void)
{
    if (!now.armed)
        return false;
    now.seen++;
    if (now.fail_at == 0 || now.seen < now.fail_at || (now.seen > now.fail_at && !now.all_from_there))
        return false;
    errno = ENOMEM;
    return true;
}

static void *counted(void *memory)
{
    now.live += now.armed && memory;
    return memory;
}

void *malloc(size_t size)
{
    return refuse() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return refuse() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size)
{
    if (refuse())
        return NULL;
    return old ? __libc_realloc(old, size) : counted(__libc_realloc(old, size));
}

void free(void *memory)
{
    now.live -= now.armed && memory;
    __libc_free(memory);
}

/** One run. @return its answer; *ret_live blocks it kept */
static cds_rc one(torture_fn *scenario, unsigned fail_at, bool all_from_there, unsigned *ret_seen, long *ret_live)
{
    now.fail_at = fail_at;
    now.all_from_there = all_from_there;
    now.seen = 0;
    now.live = 0;
    now.armed = true;
    cds_rc rc = scenario();
    now.armed = false;
    *ret_seen = now.seen;
    *ret_live = now.live;
    return rc;
}

unsigned torture(torture_fn *scenario)
{
    unsigned seen = 0, total = 0;
    long live = 0;
    assert_int_equal(one(scenario, 0, false, &seen, &live), CDS_OK);
    assert_int_equal(one(scenario, 0, false, &total, &live), CDS_OK);
    assert_int_equal(live, 0);
    for (int all = 0; all < 2; all++) {
        unsigned at = 0;
        do {
            cds_rc rc = one(scenario, ++at, all, &seen, &live);
            if (rc != CDS_OK && rc != CDS_EXHAUSTED)
                fail_msg("allocation %u of %u failed%s: answered %s instead of EXHAUSTED", at, total, all ? " and all after it" : "",
                         cds_rc_name(rc));
            if (live != 0)
                fail_msg("allocation %u of %u failed%s: %ld blocks were kept", at, total, all ? " and all after it" : "", live);
            if (rc == CDS_OK && seen >= at && all && at == 1 && total > 0)
                fail_msg("no allocation succeeded and yet all was well");
        } while (seen >= at && at < ROUNDS_MAX); /* fewer than that were made: the run was unharmed */
        assert_true(at < ROUNDS_MAX);
    }
    return total;
}

/** How a run in a child ended. */
struct fate {
    unsigned seen;
    long live;
    cds_rc rc;
    bool aborted;
};

static struct fate run_apart(torture_fn *scenario, unsigned fail_at, bool all_from_there)
{
    struct fate fate = {.rc = CDS_INTERNAL};
    int fds[2], status = 0;
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct fate own = {0};
        signal(SIGABRT, SIG_DFL); /* cmocka has a handler of its own */
        if (freopen("/dev/null", "w", stderr))
            own.rc = one(scenario, fail_at, all_from_there, &own.seen, &own.live);
        _exit(write(fds[1], &own, sizeof(own)) == (ssize_t)sizeof(own) ? 0 : 1);
    }
    close(fds[1]);
    ssize_t n = read(fds[0], &fate, sizeof(fate));
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (n != (ssize_t)sizeof(fate) && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT))
        fail_msg("allocation %u failed%s: the process ended with status %x", fail_at, all_from_there ? " and all after it" : "", (unsigned)status);
    fate.aborted = n != (ssize_t)sizeof(fate);
    return fate;
}

unsigned torture_apart(torture_fn *scenario, unsigned stride)
{
    struct fate unharmed = run_apart(scenario, 0, false);
    assert_int_equal(unharmed.rc, CDS_OK);
    for (int all = 0; all < 2; all++) {
        unsigned at = 1;
        struct fate fate;
        for (;; at += stride) {
            fate = run_apart(scenario, at, all);
            if (!fate.aborted && fate.rc != CDS_OK && fate.rc != CDS_EXHAUSTED)
                fail_msg("allocation %u of %u failed%s: answered %s", at, unharmed.seen, all ? " and all after it" : "", cds_rc_name(fate.rc));
            if (!fate.aborted && fate.seen < at) /* fewer than that were made: unharmed */
                break;
            assert_true(at < ROUNDS_MAX);
        }
    }
    return unharmed.seen;
}
