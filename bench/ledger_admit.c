// link: app_llmserver
/* bench/ledger_admit.c: what an admission costs the model server: reservation and settlement through apps/llmserver/metering.c on a real database, so
 * many in flight at once; prints {"requests", "cpu_us", "wall_us"} per request, CPU of this process alone. Run by tools/bench_ledger.
 *
 *   ledger_admit CONNINFO USERS REQUESTS IN_FLIGHT      users are 00000000-0000-7000-9000-000000000001 and up, the model is "m"
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "apps/llmserver/metering.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"

enum { READY_MS = 30000, TOKENS = 300, IN_FLIGHT_MAX = 512 };

struct one {
    char user[CDS_UUID_LEN + 1], id[CDS_UUID_LEN + 1], admitted[CDS_METER_TIME_LEN + 1];
};

static struct cds_meter *meter;
static long wanted, begun, done, failed, users;

static void start(struct one *one);

static void on_settled(void *user, const struct cds_meter_booked *booked)
{
    done++;
    if (begun < wanted)
        start(user);
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
        done++;
        return;
    }
    cds_meter_settle(meter, &request, &(struct cds_meter_used){44, 0, 200}, "stop", on_settled, one);
}

static void start(struct one *one)
{
    struct cds_err err;
    snprintf(one->user, sizeof(one->user), "00000000-0000-7000-9000-%012u", (unsigned)(1 + begun % users));
    cds_uuid7(one->id);
    cds_meter_now(one->admitted);
    const struct cds_meter_request request = request_of(one);
    begun++;
    if (cds_meter_reserve(meter, &request, TOKENS, on_granted, one, &err))
        on_granted(one, &err);
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
    if (argc != 5)
        return 2;
    users = atol(argv[2]);
    wanted = atol(argv[3]);
    long in_flight = atol(argv[4]);
    cds_uuid7(node);
    const struct cds_meter_options options = {.conninfo = argv[1], .node = node, .price_in = 1, .price_out = 1};
    struct cds_meter_options mine = options;
    if (users < 1 || in_flight < 1 || in_flight > IN_FLIGHT_MAX || cds_loop_new(&loop, &err))
        return 2;
    mine.loop = loop;
    if (cds_meter_new(&mine, &meter, &err)) {
        fprintf(stderr, "%s %s\n", err.message, err.detail);
        return 1;
    }
    for (uint64_t until = cds_now_ms() + READY_MS; cds_meter_ready(meter, &err) && cds_now_ms() < until;)
        cds_loop_once(loop, 20);
    double cpu = cpu_us();
    uint64_t wall = cds_now_ms();
    for (long i = 0; i < in_flight && begun < wanted; i++)
        start(&flights[i]);
    while (done < wanted)
        cds_loop_once(loop, 100);
    printf("{\"requests\": %ld, \"failed\": %ld, \"cpu_us\": %.1f, \"wall_us\": %.1f}\n", done, failed, (cpu_us() - cpu) / (double)wanted,
           (double)(cds_now_ms() - wall) * 1000 / (double)wanted);
    cds_meter_free(&meter);
    cds_loop_free(&loop);
    return failed ? 1 : 0;
}
