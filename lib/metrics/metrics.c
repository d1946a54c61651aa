/* lib/metrics/metrics.c: see metrics.h. */
#include "lib/metrics/metrics.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/clock.h"

enum kind { COUNTER, GAUGE, SECONDS, UNTYPED, UNTYPED_SECONDS, HISTOGRAM };
enum { SERIES_MAX = 32, LABEL_MAX = 48, BUCKETS = 14 };

struct row {
    enum kind kind;
    const char *name, *label, *help;
};

static const struct row rows[CDS_M_COUNT] = {
#define CDS_METRIC(id, knd, nam, lbl, hlp) [CDS_M_##id] = {.kind = knd, .name = nam, .label = lbl, .help = hlp},
#include "lib/metrics/catalog.def"
#undef CDS_METRIC
};

/* Upper edges in microseconds: 10 ms, doubled up to 81.92 s (the edges of the OpenTelemetry GenAI convention). */
static const uint64_t edges_us[BUCKETS] = {10000,   20000,   40000,   80000,    160000,   320000,   640000,
                                           1280000, 2560000, 5120000, 10240000, 20480000, 40960000, 81920000};

struct series {
    char label[LABEL_MAX];
    atomic_llong value; /* count for histograms */
    atomic_ullong sum_us;
    atomic_ullong buckets[BUCKETS];
};

struct family {
    atomic_int count; /* series in use; they are never removed */
    struct series *series[SERIES_MAX + 1];
};

static struct family families[CDS_M_COUNT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards adding a series */

static struct series *find(const struct family *family, const char *label, int count)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(family->series[i]->label, label))
            return family->series[i];
    return NULL;
}

static struct series *series(enum cds_metric metric, const char *label)
{
    struct family *family = &families[metric];
    char name[LABEL_MAX];
    snprintf(name, sizeof(name), "%s", label && *rows[metric].label ? label : "");
    struct series *s = find(family, name, atomic_load(&family->count));
    if (s)
        return s;
    pthread_mutex_lock(&lock);
    int count = atomic_load(&family->count);
    if (count >= SERIES_MAX)
        snprintf(name, sizeof(name), "other");
    s = find(family, name, count);
    if (!s) {
        static struct series spare; /* out of memory: counted nowhere visible rather than crashing */
        s = calloc(1, sizeof(*s));
        if (s) {
            snprintf(s->label, sizeof(s->label), "%s", name);
            family->series[count] = s;
            atomic_store(&family->count, count + 1);
        } else {
            s = &spare;
        }
    }
    pthread_mutex_unlock(&lock);
    return s;
}

void cds_metric_add(enum cds_metric metric, const char *label, int64_t value)
{
    atomic_fetch_add(&series(metric, label)->value, value);
}

void cds_metric_set(enum cds_metric metric, const char *label, int64_t value)
{
    atomic_store(&series(metric, label)->value, value);
}

void cds_metric_us(enum cds_metric metric, const char *label, uint64_t microseconds)
{
    struct series *s = series(metric, label);
    if (rows[metric].kind != HISTOGRAM) {
        atomic_fetch_add(&s->value, (long long)microseconds);
        return;
    }
    for (int i = 0; i < BUCKETS; i++)
        if (microseconds <= edges_us[i]) {
            atomic_fetch_add(&s->buckets[i], 1);
            break;
        }
    atomic_fetch_add(&s->sum_us, microseconds);
    atomic_fetch_add(&s->value, 1);
}

int64_t cds_metric_get(enum cds_metric metric, const char *label)
{
    const struct family *family = &families[metric];
    const struct series *s = find(family, label && *rows[metric].label ? label : "", atomic_load(&family->count));
    return s ? (int64_t)atomic_load(&s->value) : 0;
}

/* ---- text ---- */
static void escape(const char *in, char out[static 2 * LABEL_MAX])
{
    size_t o = 0;
    for (; *in; in++) {
        if (*in == '\\' || *in == '"')
            out[o++] = '\\';
        if (*in == '\n') {
            out[o++] = '\\';
            out[o++] = 'n';
        } else {
            out[o++] = *in;
        }
    }
    out[o] = '\0';
}

static void put_histogram(struct cds_buf *buf, const struct row *row, const struct series *s)
{
    unsigned long long sum = 0, total = (unsigned long long)atomic_load(&s->value);
    for (int i = 0; i < BUCKETS; i++) {
        sum += atomic_load(&s->buckets[i]);
        cds_buf_addf(buf, "%s_bucket{le=\"%g\"} %llu\n", row->name, (double)edges_us[i] / 1e6, sum);
    }
    cds_buf_addf(buf, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.6f\n%s_count %llu\n", row->name, total, row->name, (double)atomic_load(&s->sum_us) / 1e6,
                 row->name, total);
}

static void put_series(struct cds_buf *buf, const struct row *row, const struct series *s)
{
    char label[2 * LABEL_MAX];
    if (row->kind == HISTOGRAM) {
        put_histogram(buf, row, s);
        return;
    }
    cds_buf_add_str(buf, row->name);
    if (*row->label) {
        escape(s->label, label);
        cds_buf_addf(buf, "{%s=\"%s\"}", row->label, label);
    }
    if (row->kind == SECONDS || row->kind == UNTYPED_SECONDS)
        cds_buf_addf(buf, " %.6f\n", (double)atomic_load(&s->value) / 1e6);
    else
        cds_buf_addf(buf, " %lld\n", atomic_load(&s->value));
}

static void put_family(struct cds_buf *buf, enum cds_metric metric, bool always)
{
    static const char *const types[] = {"counter", "gauge", "counter", "untyped", "untyped", "histogram"};
    const struct row *row = &rows[metric];
    int count = atomic_load(&families[metric].count);
    if (!count && !always)
        return;
    cds_buf_addf(buf, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name, types[row->kind]);
    for (int i = 0; i < count; i++)
        put_series(buf, row, families[metric].series[i]);
    if (!count) {
        static struct series zero;
        put_series(buf, row, &zero);
    }
}

static long long started_s;

__attribute__((constructor)) static void note_start(void)
{
    started_s = (long long)(cds_wall_ms() / 1000);
}

static void measure_process(void)
{
    struct rusage use;
    unsigned long size = 0, resident = 0;
    cds_metric_set(CDS_M_PROC_START, NULL, started_s);
    if (getrusage(RUSAGE_SELF, &use) == 0)
        cds_metric_set(CDS_M_PROC_CPU, NULL,
                       (int64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000 + use.ru_utime.tv_usec + use.ru_stime.tv_usec);
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%lu %lu", &size, &resident) == 2)
        cds_metric_set(CDS_M_PROC_RSS, NULL, (int64_t)resident * sysconf(_SC_PAGESIZE));
    if (f)
        fclose(f);
    DIR *d = opendir("/proc/self/fd");
    int64_t fds = -3; /* ".", ".." and the listing itself */
    while (d && readdir(d))
        fds++;
    if (d) {
        closedir(d);
        cds_metric_set(CDS_M_PROC_FDS, NULL, fds);
    }
}

cds_rc cds_metrics_text(struct cds_buf *buf, const enum cds_metric *always)
{
    bool wanted[CDS_M_COUNT] = {false};
    for (; always && *always != CDS_M_COUNT; always++)
        wanted[*always] = true;
    measure_process();
    for (int i = 0; i < CDS_M_COUNT; i++)
        put_family(buf, (enum cds_metric)i, wanted[i]);
    return cds_buf_trouble(buf);
}
