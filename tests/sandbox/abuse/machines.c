/* tests/sandbox/abuse/machines.c: see machines.h. */
#include "tests/sandbox/abuse/machines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "sandbox/confine/jail.h"
#include "sandbox/micro_priv.h"
#include "sandbox/wasm.h"
#include "sandbox/wasm_cache.h"

enum { PREPARE_MS = 240000, WORDS_MAX = 512, WORD = 80, HOSTILE = 1, WASM = 2, ANSWER_MS = 60000 };
static const char qemu[] = "/usr/bin/qemu-system-x86_64";
static char words[WORDS_MAX][WORD];
static size_t word_count;

bool machines_know(const char *engine)
{
    return cds_streq(engine, "run") || cds_streq(engine, "fs") || cds_streq(engine, "api") || cds_streq(engine, "micro") || cds_streq(engine, "wasm");
}

static struct cds_engine *open_micro(struct world *w, bool hostile)
{
    char program[512], images[600], agent[600];
    struct cds_engine *ret;
    struct cds_err err = {.message = ""};
    cds_program_dir(program, sizeof(program));
    snprintf(images, sizeof(images), "%s/../share/micro", program);
    snprintf(agent, sizeof(agent), "%s/../%s", program, hostile ? "hostile/agent" : "lib/micro/agent");
    const struct micro_settings settings = {.image_dir = images,
                                            .agent = agent,
                                            .image = "",
                                            .qemu = qemu,
                                            .msb = "/nowhere",
                                            .cache = "",
                                            .memory_mib = 256,
                                            .pool_ttl_ms = 1000,
                                            .templates = !hostile};
    if (cds_micro_engine_new(w->host, &settings, &ret, &err)) {
        complain(w, "the engine micro cannot be opened: %s", err.message);
        return NULL;
    }
    return ret;
}

/* ---- the template ---- */
static void on_prepared(void *user, const struct cds_err *err)
{
    int *state = user;
    *state = err ? -1 : 1;
    if (err)
        fprintf(stderr, "abuse: %s\n", err->message);
}

static bool prepare(struct world *w, struct cds_engine *e)
{
    int state = 0;
    struct cds_err err = {.message = ""};
    if (e->ops->prepare(e, "python", on_prepared, &state, &err))
        state = -1;
    for (uint64_t end = cds_now_ms() + PREPARE_MS; !state && cds_now_ms() < end;)
        cds_loop_once(w->loop, 50);
    if (state != 1)
        complain(w, "the template cannot be made: %s", err.message);
    return state == 1;
}

static struct cds_engine *open_wasm(struct world *w)
{
    char program[512], library[600], worker[600], cache[96];
    struct cds_engine *ret;
    struct cds_err err = {.message = ""};
    cds_program_dir(program, sizeof(program));
    snprintf(library, sizeof(library), "%s/../lib/wasmer/libwasmer.so", program);
    snprintf(worker, sizeof(worker), "%s/../bin/cds-wasmworker", program);
    snprintf(cache, sizeof(cache), "%s-cache", w->base);
    const struct wasm_settings settings = {.library = library, .worker = worker, .cache_dir = cache};
    if (cds_wasm_engine_new(w->host, &settings, &ret, &err)) {
        complain(w, "the engine wasm cannot be opened: %s", err.message);
        return NULL;
    }
    return ret;
}

static struct cds_engine *pick_wasm(struct world *w, const char **ret_why)
{
    char program[512], library[600];
    cds_program_dir(program, sizeof(program));
    snprintf(library, sizeof(library), "%s/../lib/wasmer/libwasmer.so", program);
    if (w->pooled)
        *ret_why = "workers that wait are played by tests/sandbox/wasm.test.mjs";
    else if (access(library, R_OK))
        *ret_why = "libwasmer is not built (make wasmer), or not to be read in this mode";
    if (*ret_why)
        return NULL;
    return w->machines[WASM] ? w->machines[WASM] : (w->machines[WASM] = open_wasm(w));
}

struct cds_engine *machines_pick(struct world *w, const struct row *row, const struct row_case *c, const char **ret_why)
{
    bool hostile = case_get(c, "attack") != NULL;
    if (cds_streq(row->engine, "wasm"))
        return pick_wasm(w, ret_why);
    if (!cds_streq(row->engine, "micro"))
        return w->engine;
    if (w->mode != MODE_ROOT || w->old_kernel || w->pooled)
        *ret_why = "machines are played in the mode root alone: what holds QEMU is the jail, whose rows are played in every mode";
    else if (access(qemu, X_OK))
        *ret_why = "QEMU is not installed (make micro)";
    if (*ret_why)
        return NULL;
    struct cds_engine **e = &w->machines[hostile ? HOSTILE : 0];
    if (!*e && !(*e = open_micro(w, hostile)))
        return NULL;
    return !case_get(c, "template") || prepare(w, *e) ? *e : NULL;
}

void machines_close(struct world *w)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(w->machines); i++) {
        if (w->machines[i])
            w->machines[i]->ops->close(w->machines[i]);
        w->machines[i] = NULL;
    }
    word_count = 0;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s-cache'", w->base);
    if (system(command))
        complain(w, "the cache of compiled code cannot be removed");
}

void machines_try_template(struct world *w, const struct row_case *c, unsigned number)
{
    const struct micro *m = (const struct micro *)w->playing;
    const int fds[] = {m->template.ram_fd, m->template.state_fd};
    for (size_t i = 0; i < CDS_ARRAY_LEN(fds); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[i]);
        CDS_CLEANUP(cds_close_fd) int again = open(path, O_RDWR | O_CLOEXEC);
        void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
        if (map != MAP_FAILED || pwrite(fds[i], "x", 1, 0) >= 0 || ftruncate(fds[i], 0) == 0 || (again >= 0 && pwrite(again, "x", 1, 0) >= 0) ||
            fcntl(fds[i], F_ADD_SEALS, 0) == 0)
            complain(w, "%s: the template can be written", c->name);
    }
}

/* ---- compiled code ---- */
void machines_tamper_code(struct world *w, const struct row_case *c, unsigned number)
{
    char folder[96], path[400];
    unsigned changed = 0;
    struct wasm_cache_counts counts = {.writing = 1};
    for (uint64_t end = cds_now_ms() + 5000; (counts.writing || !counts.kept) && cds_now_ms() < end; cds_wasm_engine_counts(w->playing, &counts))
        cds_loop_once(w->loop, 20);
    w->playing->ops->close(w->playing);
    snprintf(folder, sizeof(folder), "%s-cache", w->base);
    CDS_CLEANUP(cds_close_dir) DIR *dir = opendir(folder);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        unsigned char byte;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        CDS_CLEANUP(cds_close_fd) int fd = strstr(e->d_name, ".aot") ? open(path, O_RDWR | O_CLOEXEC) : -1;
        if (fd < 0 || pread(fd, &byte, 1, 200) != 1)
            continue;
        byte ^= 1;
        changed += pwrite(fd, &byte, 1, 200) == 1;
    }
    if (!changed)
        complain(w, "%s: no compiled code was kept", c->name);
    w->machines[WASM] = w->playing = open_wasm(w);
}

void machines_check_refused_code(struct world *w, const struct row_case *c, unsigned number)
{
    struct wasm_cache_counts counts = {.refused = 0};
    cds_wasm_engine_counts(w->playing, &counts);
    if (counts.refused < number)
        complain(w, "%s: the changed code was taken", c->name);
}

/* ---- SEED ---- */
struct unseeded {
    struct micro_vm *vm;
    bool over;
    char said[MICRO_REASON_MAX + 1];
};

static bool on_frame(void *user, enum micro_type type, uint32_t id, const char *payload, size_t len)
{
    struct unseeded *u = user;
    if (type == MICRO_READY) {
        struct cds_buf frames = cds_buf_init(4096);
        const char *const argv[] = {"/bin/true"}, *const env[] = {"PATH=/bin"};
        const struct micro_exec e = {.memory_bytes = 64 << 20, .tmp_bytes = 1 << 20, .output_bytes = 4096, .max_tasks = 8, .cpu_ms = 1000};
        u->vm->decoder.job = 1;
        micro_frame_add_exec(&frames, 1, e, argv, 1, env, 1);
        if (micro_vm_send(u->vm, &frames))
            return true;
    }
    snprintf(u->said, sizeof(u->said), "%u %.*s", type, type == MICRO_REFUSED ? (int)len : 0, payload);
    u->over = true;
    return true;
}

static void on_state(void *user)
{
}

static void on_lost(void *user, const char *why)
{
    struct unseeded *u = user;
    cds_strcpy(u->said, sizeof(u->said), why);
    u->over = true;
}

void machines_exec_without_seed(struct world *w, const struct row_case *c, unsigned number)
{
    static const struct micro_vm_ops ops = {on_frame, on_state, on_lost};
    struct micro *m = (struct micro *)w->playing;
    struct unseeded u = {.over = false};
    struct micro_vm_plan plan;
    struct cds_err err = {.message = ""};
    micro_plan(m, MICRO_TIER_TCG, &plan);
    if (micro_ready(m, &err) || micro_vm_start(w->host, &m->vms, &plan, &ops, &u, &u.vm, &err)) {
        complain(w, "%s: %s", c->name, err.message);
        return;
    }
    for (uint64_t end = cds_now_ms() + ANSWER_MS; !u.over && cds_now_ms() < end;)
        cds_loop_once(w->loop, 50);
    micro_vm_end(&u.vm, NULL, NULL);
    for (uint64_t end = cds_now_ms() + ANSWER_MS; m->vms && cds_now_ms() < end;)
        cds_loop_once(w->loop, 50);
    if (!strstr(u.said, "not seeded"))
        complain(w, "%s: it was not refused: %s", c->name, u.said);
}

/* ---- random values ---- */
void machines_check_unique(struct world *w, const struct row_case *c, const char *text, size_t len)
{
    char copy[4096], *rest = NULL;
    snprintf(copy, sizeof(copy), "%.*s", (int)(len < sizeof(copy) - 1 ? len : sizeof(copy) - 1), text);
    for (char *word = strtok_r(copy, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
        for (size_t i = 0; i < word_count; i++)
            if (cds_streq(words[i], word))
                complain(w, "%s: %s came twice", c->name, word);
        if (word_count < WORDS_MAX)
            cds_strcpy(words[word_count++], WORD, word);
    }
}

/* ---- in the place of QEMU ---- */
static int lift(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST);
    close(fd);
    return high;
}

void machines_play_vmm(struct world *w, const struct row_case *c)
{
    static char out[16384];
    static const char *const env[] = {"PATH=/usr/bin", NULL};
    CDS_CLEANUP(cds_free_ptr) char *code = play_fill_in(w, c->code);
    const char *const argv[] = {"/usr/bin/python3", "-c", code, NULL};
    const struct cds_run_limits limits = {10000, 10000, 512 << 20, 4096, 64, 1 << 20, 0};
    struct cds_err err = {.message = ""};
    int p[2], pidfd = -1, report = -1, go = -1, status = 0;
    pid_t pid = 0;
    int sealed = lift(memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING)), given = lift(memfd_create("given", MFD_CLOEXEC));
    if (ftruncate(sealed, 4096) || write(given, "given", 5) != 5 ||
        fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) || pipe2(p, O_CLOEXEC))
        abort();
    int to = lift(p[1]), null = lift(open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int pass[] = {sealed, -1, given};
    const struct cds_jail_plan plan = {.who = &w->host->who,
                                       .limits = &limits,
                                       .big_address_space = true,
                                       .base = w->host->root_dir,
                                       .project_fd = -1,
                                       .access = CDS_PROJECT_NONE,
                                       .argv = argv,
                                       .env = env,
                                       .stdin_fd = null,
                                       .stdout_fd = to,
                                       .stderr_fd = to,
                                       .said_fd = -1,
                                       .pass = pass,
                                       .pass_count = 3,
                                       .order_fd = -1,
                                       .start_fd = -1,
                                       .vmm = true,
                                       .clone_cgroup_fd = -1};
    struct play result = {.world = w, .name = c->name, .out = out, .result = {.end = CDS_END_OK, .reason = ""}};
    if (cds_jail_start(&plan, &pid, &pidfd, &report, &go, &err) || cds_jail_go(&w->host->who, pid, &go, &err))
        complain(w, "%s: %s", c->name, err.message);
    close(to);
    for (ssize_t n; (n = read(p[0], out + result.out_len, sizeof(out) - result.out_len)) > 0;)
        result.out_len += (size_t)n;
    if (pid > 0)
        waitpid(pid, &status, 0);
    const int all[] = {p[0], null, given, sealed, pidfd, report};
    for (size_t i = 0; i < CDS_ARRAY_LEN(all); i++)
        if (all[i] >= 0)
            close(all[i]);
    play_check(&result, c);
}
