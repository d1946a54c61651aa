// link: app_llmserver
/* bench/ledger_admit.c: what an admission costs the model server: reservation and settlement through apps/llmserver/metering.c on a real database,
 * which takes what waits as one batch, with a journal beside it. Prints {"requests", "failed", "cpu_us", "wall_us" per request, "p50_us", "p99_us" of
 * both together}; CPU of this process alone. Run by tools/bench_ledger.
 *
 *   ledger_admit CONNINFO USERS REQUESTS IN_FLIGHT [RATE]      users are 00000000-0000-7000-9000-000000000001 and up, the model is "m"
 *
 * RATE: so many begin in a second, at even distances; time counts from the moment at which one was due, and not in the first second. Without: the
 * next one begins when one ends.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "apps/llmserver/metering.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"

enum { READY_MS = 30000, TOKENS = 300, IN_FLIGHT_MAX = 512 };

struct one {
    struct one *next_free;
    uint64_t due_us;
    char user[CDS_UUID_LEN + 1], id[CDS_UUID_LEN + 1], admitted[CDS_METER_TIME_LEN + 1];
};

static struct cds_meter *meter;
static struct one *idle;
static long wanted, begun, done, failed, users;
static uint32_t *took_us; /* of each that was done, in the order of their ends */

static uint64_t now_us(void)
{
    return cds_now_ns() / 1000;
}

static void end(struct one *one)
{
    took_us[done++] = (uint32_t)(now_us() - one->due_us);
    one->next_free = idle;
    idle = one;
}

static void on_settled(void *user, const struct cds_meter_booked *booked)
{
    end(user);
}

static struct cds_meter_request request_of(const struct one *one)
{
    return (struct cds_meter_request){
        .user_id = one->user, .request_id = one->id, .model = "m", .key_id = "", .admitted = one->admitted, .prompt_tokens = 44};
}

static void on_granted(void *user, const struct cds_err *err)
{
    struct one *one = user;
    const struct cds_meter_request request = request_of(one);
    if (err) {
        if (!failed++)
            fprintf(stderr, "%s %s\n", err->message, err->detail);
        end(one);
        return;
    }
    cds_meter_settle(meter, &request, &(struct cds_meter_used){44, 0, 200}, "stop", on_settled, one);
}

static void start(uint64_t due_us)
{
    struct cds_err err;
    struct one *one = idle;
    idle = one->next_free;
    one->due_us = due_us;
    snprintf(one->user, sizeof(one->user), "00000000-0000-7000-9000-%012u", (unsigned)(1 + begun % users));
    cds_uuid7(one->id);
    cds_meter_now(one->admitted);
    const struct cds_meter_request request = request_of(one);
    begun++;
    if (cds_meter_reserve(meter, &request, TOKENS, on_granted, one, &err))
        on_granted(one, &err);
}

static int by_size(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

int main(int argc, char **argv)
{
    static struct one flights[IN_FLIGHT_MAX];
    struct cds_err err = {0};
    struct cds_loop *loop = NULL;
    char node[CDS_UUID_LEN + 1];
    if (argc < 5 || argc > 6)
        return 2;
    users = atol(argv[2]);
    wanted = atol(argv[3]);
    long in_flight = atol(argv[4]), rate = argc == 6 ? atol(argv[5]) : 0;
    cds_uuid7(node);
    char journal[64];
    snprintf(journal, sizeof(journal), "/tmp/cds-bench-%d.journal", (int)getpid());
    const struct cds_meter_options options = {.conninfo = argv[1], .node = node, .price_in = 1, .price_out = 1, .journal_path = journal};
    struct cds_meter_options mine = options;
    took_us = wanted > 0 ? calloc((size_t)wanted, sizeof(*took_us)) : NULL;
    if (!took_us || users < 1 || in_flight < 1 || in_flight > IN_FLIGHT_MAX || rate < 0 || cds_loop_new(&loop, &err))
        return 2;
    mine.loop = loop;
    if (cds_meter_new(&mine, &meter, &err)) {
        fprintf(stderr, "%s %s\n", err.message, err.detail);
        return 1;
    }
    for (uint64_t until = cds_now_ms() + READY_MS; cds_meter_ready(meter, &err) && cds_now_ms() < until;)
        cds_loop_once(loop, 20);
    for (long i = 0; i < in_flight; i++) {
        flights[i].next_free = idle;
        idle = &flights[i];
    }
    double cpu = cpu_us();
    const uint64_t wall = now_us();
    while (done < wanted) {
        for (uint64_t now; idle && begun < wanted;) {
            now = now_us();
            const uint64_t due = rate ? wall + (uint64_t)begun * 1000000 / (uint64_t)rate : now;
            if (due > now)
                break;
            start(due);
        }
        cds_loop_once(loop, rate ? 1 : 100);
    }
    const double each_us = (double)(now_us() - wall) / (double)wanted, each_cpu_us = (cpu_us() - cpu) / (double)wanted;
    const long warm = rate && rate * 2 <= wanted ? rate : 0, counted = wanted - warm; /* the first second: connections, plans */
    qsort(took_us + warm, (size_t)counted, sizeof(*took_us), by_size);
    printf("{\"requests\": %ld, \"failed\": %ld, \"cpu_us\": %.1f, \"wall_us\": %.1f, \"p50_us\": %" PRIu32 ", \"p99_us\": %" PRIu32 "}\n", done,
           failed, each_cpu_us, each_us, took_us[warm + counted / 2], took_us[warm + counted * 99 / 100]);
    free(took_us);
    cds_meter_free(&meter);
    unlink(journal);
    cds_loop_free(&loop);
    return failed ? 1 : 0;
}
