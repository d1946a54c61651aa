/* tests/sandbox/abuse/runner.c: plays the abuse list against the engines of this build and says what held, as TAP.
 *
 * cds-abuse --mode root|unprivileged|userns|userns-single [--old-kernel] [--pool] [--storm] [--rows FOLDER] [A01 ...]
 *
 * --mode        whose rights the broker has. root: as it is started by root. unprivileged: a uid of its own without any right. userns: root of a
 *               user namespace with a range of ids, as in a rootless container. userns-single: root of one with a single id.
 * --old-kernel  openat2, clone3 and landlock_create_ruleset answer ENOSYS, as on an older kernel or below a container's filter
 * --pool        each program is played a second time, in a jail that was ready before
 * --storm       the long cases, too
 *
 * Ends with 0 when all rows held, 1 when one did not, 2 when the list itself is wrong. Where this machine cannot give a mode every row is
 * counted as skipped and the reason stands beside it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "tests/sandbox/abuse/machines.h"
#include "tests/sandbox/abuse/mode.h"
#include "tests/sandbox/abuse/play.h"

enum { ROWS_MAX = 64, ROW_BYTES = 96 << 10, BASELINE_TURNS = 7, OVERALL_S = 1200, STORM_S = 7200 };

struct options {
    const char *rows, *only[ROWS_MAX];
    size_t only_count;
};

static struct row_condition conditions[ROW_CONDITIONS];

/* Words for the brackets in rows. */
static void set_conditions(const struct world *w)
{
    bool cgroup = cds_streq(sandbox_host_limits(w->host), "cgroup");
    const struct row_condition all[] = {{"cgroup", cgroup},
                                        {"rlimit", !cgroup},
                                        {"own_uid", w->host->who.change},
                                        {"same_uid", !w->host->who.change},
                                        {"root", w->mode == MODE_ROOT},
                                        {"userns", w->mode == MODE_USERNS || w->mode == MODE_USERNS_SINGLE},
                                        {"unprivileged", w->mode == MODE_UNPRIVILEGED},
                                        {"new_kernel", !w->old_kernel},
                                        {"old_kernel", w->old_kernel},
                                        {NULL, false}};
    memcpy(conditions, all, sizeof(all));
}

/* ---- one row ---- */
static bool play_row(struct world *w, const struct row *row, unsigned *ret_played, unsigned *ret_skipped)
{
    uint64_t began = cds_now_ms(), us;
    *ret_played = *ret_skipped = 0;
    for (size_t i = 0; i < row->case_count; i++) {
        const char *why = NULL;
        if (play_case(w, row, &row->cases[i], &why)) {
            ++*ret_played;
        } else {
            ++*ret_skipped;
            printf("# skipped: %s %s: %s\n", row->id, row->cases[i].name, why);
        }
    }
    host_doors_check(w);
    world_drain_pool(w);
    world_check_open(w);
    us = world_ask_neighbour(w);
    if (!us)
        complain(w, "another tenant got no answer afterwards");
    printf("# %s: %u cases in %llu ms; another tenant's 1+2 afterwards: %.2f times its baseline\n", row->id, *ret_played,
           (unsigned long long)(cds_now_ms() - began), (double)us / (double)w->baseline_us);
    return w->complaints[0] == '\0';
}

static void say_complaints(const struct world *w)
{
    char text[sizeof(w->complaints)], *rest = NULL;
    cds_strcpy(text, sizeof(text), w->complaints);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        printf("#   %s\n", line);
}

/* The engine is a new one for each row, the process is not: what a row leaves in it is seen. */
static int play_file(struct world *w, char *text, const char *file, unsigned number)
{
    static struct row row;
    unsigned played, skipped;
    world_remember(w);
    if (world_open(w, WORLD_SLOTS))
        return 2;
    set_conditions(w);
    if (!row_parse(text, conditions, &row) || !cds_starts_with(file, row.id)) {
        printf("Bail out! %s: %s\n", file, row.problem[0] ? row.problem : "the file's name does not begin with the row's");
        return 2;
    }
    bool known = machines_know(row.engine);
    bool good = !known || play_row(w, &row, &played, &skipped);
    machines_close(w);
    world_close(w);
    if (known)
        world_check_closed(w);
    good = good && !w->complaints[0];
    printf("%s %u - %s %s%s%s\n", good ? "ok" : "not ok", number, row.id, row.name,
           !known            ? " # SKIP the engine is not in this build: "
           : good && !played ? " # SKIP nothing of it can be played in this mode"
                             : "",
           known ? "" : row.engine);
    if (!good)
        say_complaints(w);
    fflush(stdout);
    row_free(&row);
    return good ? 0 : 1;
}

/* ---- the list ---- */
static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t list_rows(int folder, const struct options *o, char *files[static ROWS_MAX])
{
    size_t n = 0;
    CDS_CLEANUP(cds_close_dir) DIR *dir = fdopendir(dup(folder));
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        bool wanted = o->only_count == 0;
        for (size_t i = 0; i < o->only_count; i++)
            wanted = wanted || cds_starts_with(e->d_name, o->only[i]);
        if (e->d_name[0] == 'A' && !strchr(e->d_name, '.') && wanted && n < ROWS_MAX)
            files[n++] = strdup(e->d_name);
    }
    qsort(files, n, sizeof(*files), by_name);
    return n;
}

static char *read_row(int folder, const char *file)
{
    CDS_CLEANUP(cds_close_fd) int fd = openat(folder, file, O_RDONLY | O_CLOEXEC);
    char *text = calloc(1, ROW_BYTES);
    size_t len = 0;
    for (ssize_t n; text && fd >= 0 && len < ROW_BYTES - 1 && (n = read(fd, text + len, ROW_BYTES - 1 - len)) > 0;)
        len += (size_t)n;
    if (!text || fd < 0 || len == 0 || len == ROW_BYTES - 1) {
        printf("Bail out! %s cannot be read, is empty or too long\n", file);
        exit(2);
    }
    return text;
}

static int by_time(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Also warms up what the process allocates once. */
static int take_baseline(struct world *w)
{
    uint64_t us[BASELINE_TURNS];
    if (world_open(w, WORLD_SLOTS))
        return -1;
    for (size_t i = 0; i < BASELINE_TURNS; i++)
        if (!(us[i] = world_ask_neighbour(w))) {
            fprintf(stderr, "abuse: a jailed 1+2 does not give 3\n");
            return -1;
        }
    qsort(us, BASELINE_TURNS, sizeof(*us), by_time);
    w->baseline_us = us[BASELINE_TURNS / 2];
    printf("# mode %s%s, limits by %s; 1+2 of another tenant takes %.1f ms\n", mode_name(w->mode),
           w->old_kernel ? ", old kernel"
           : w->pooled   ? ", pool"
                         : "",
           sandbox_host_limits(w->host), (double)w->baseline_us / 1000);
    world_close(w);
    return 0;
}

static int play_all(struct world *w, int folder, const struct options *o)
{
    char *files[ROWS_MAX];
    size_t n = list_rows(folder, o, files);
    int worst = 0;
    alarm(w->storm ? STORM_S : OVERALL_S);
    if (n == 0 || world_make(w) || host_doors_open(w) || take_baseline(w)) {
        printf("Bail out! there are no rows, or no sandbox\n");
        if (w->base[0])
            world_unmake(w);
        return 2;
    }
    printf("1..%zu\n", n);
    for (size_t i = 0; i < n && worst < 2; i++) {
        int bad = play_file(w, read_row(folder, files[i]), files[i], (unsigned)i + 1);
        worst = bad > worst ? bad : worst;
        free(files[i]);
    }
    world_unmake(w);
    return worst;
}

static int skip_all(int folder, const struct options *o, const char *why)
{
    char *files[ROWS_MAX];
    size_t n = list_rows(folder, o, files);
    printf("# SKIPPED: %s\n1..%zu\n", why, n);
    for (size_t i = 0; i < n; i++)
        printf("ok %zu - %s # SKIP %s\n", i + 1, files[i], why);
    return 0;
}

static void usage(void)
{
    fprintf(stderr, "usage: cds-abuse --mode root|unprivileged|userns|userns-single [--old-kernel] [--pool] [--storm] [--rows FOLDER] [A01 ...]\n");
    exit(2);
}

int main(int argc, char **argv)
{
    static struct world w = {.mode = MODE_COUNT};
    struct options o = {.rows = CDS_SOURCE_DIR "/tests/sandbox/abuse"};
    char why[256] = "";
    for (int i = 1; i < argc; i++) {
        if (cds_streq(argv[i], "--mode") && i + 1 < argc)
            w.mode = mode_find(argv[++i]);
        else if (cds_streq(argv[i], "--rows") && i + 1 < argc)
            o.rows = argv[++i];
        else if (cds_streq(argv[i], "--old-kernel"))
            w.old_kernel = true;
        else if (cds_streq(argv[i], "--pool"))
            w.pooled = true;
        else if (cds_streq(argv[i], "--storm"))
            w.storm = true;
        else if (argv[i][0] == 'A' && o.only_count < ROWS_MAX)
            o.only[o.only_count++] = argv[i];
        else
            usage();
    }
    int folder = open(o.rows, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w.mode == MODE_COUNT || folder < 0)
        usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    int code = mode_enter(&w, why, sizeof(why)); /* may go on in a child: its code is ours then */
    if (code >= 0)
        return code;
    return why[0] ? skip_all(folder, &o, why) : play_all(&w, folder, &o);
}
