/* apps/fetch/main.c: cds-fetch: looks at, fetches and verifies model files, for cds-llmserver and the command line. See README.md. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/fetch/confine.h"
#include "apps/fetch/digest.h"
#include "apps/fetch/inspect.h"
#include "apps/fetch/look.h"
#include "apps/fetch/pull.h"
#include "apps/fetch/source.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"

static const char usage[] =
    "cds-fetch inspect FILE            the facts of a GGUF file, one line of JSON\n"
    "cds-fetch verify FILE             its SHA-256, one line of JSON\n"
    "cds-fetch look --source=S [options of pull]  what the header of a model says that is still at its server, one line of JSON\n"
    "cds-fetch pull --source=S --dir=D [--sha256=HEX] [--hub=ORIGIN] [--hosts=LIST] [--key-file=FILE] [--parameters-max=N]\n"
    "               [--bytes-max=N] [--reserve=BYTES] [--stall-ms=N] [--connect-ms=N] [--deadline-ms=N] [--backoff-ms=N]\n"
    "               [--parallel=N] [--parent=PID]\n"
    "                                  fetches a model; progress and end as lines of JSON\n"
    "cds-fetch --help, --version\n";

static int complain(void)
{
    fputs(usage, stderr);
    return 2;
}

/** Opens the file, and the further ones when it is the first part of a split model: afterwards nothing can be opened. */
static int inspect(const char *path)
{
    int fds[CDS_PARTS_MAX] = {-1};
    unsigned part = 1, parts = 1;
    char other[PATH_MAX];
    if (!cds_source_part(path, &part, &parts) || parts > CDS_PARTS_MAX || strlen(path) >= sizeof(other))
        parts = 1;
    for (unsigned i = 0; i < parts; i++) {
        if (parts > 1)
            cds_source_part_name(path, i + 1, other, sizeof(other));
        fds[i] = open(parts > 1 ? other : path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    }
    if (fds[0] < 0) {
        printf("{\"error\":{\"code\":\"%s\",\"message\":\"The model file cannot be opened (%s).\"}}\n", cds_rc_openai(CDS_NOT_FOUND),
               strerror(errno));
        return 1;
    }
    return cds_inspect_here(fds, parts, UINT64_MAX, STDOUT_FILENO);
}

static int verify(const char *path)
{
    char hex[CDS_SHA256_HEX + 1];
    struct cds_err err = {0};
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    cds_rc rc = fd < 0 ? cds_fail_errno(&err, errno, __func__, "The model file cannot be opened.") : cds_digest_file(fd, hex, NULL, NULL, &err);
    if (rc == CDS_OK)
        printf("{\"sha256\":\"%s\"}\n", hex);
    else
        printf("{\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}\n", cds_rc_openai(rc), err.message);
    return rc == CDS_OK ? 0 : 1;
}

enum option_id { SOURCE = 1, DIR_, SHA, HUB, HOSTS, KEY_FILE, PARAMETERS, BYTES, RESERVE, STALL, CONNECT, DEADLINE, BACKOFF, PARALLEL, PARENT };

static bool number(const char *text, uint64_t max, uint64_t *ret)
{
    return cds_parse_u64(text, 0, max, ret) == CDS_OK;
}

static bool take(int id, const char *value, struct cds_pull_options *o, uint64_t *parent)
{
    uint64_t n = 0;
    switch (id) {
    case SOURCE:
        o->reach.source = value;
        return true;
    case DIR_:
        o->dir = value;
        return value[0] == '/';
    case SHA:
        o->reach.sha256 = value;
        return !*value || (strlen(value) == CDS_SHA256_HEX && strspn(value, "0123456789abcdef") == CDS_SHA256_HEX);
    case HUB:
        o->reach.hub = value;
        return true;
    case HOSTS:
        o->reach.hosts = value;
        return true;
    case KEY_FILE:
        o->reach.key_file = value;
        return true;
    case PARAMETERS:
        return number(value, INT64_MAX, &o->parameters_max);
    case BYTES:
        return number(value, INT64_MAX, &o->file_bytes_max);
    case RESERVE:
        return number(value, INT64_MAX, &o->reserve_bytes);
    case STALL:
        o->reach.stall_ms = number(value, UINT32_MAX, &n) ? (uint32_t)n : 0;
        return n > 0;
    case CONNECT:
        o->reach.connect_ms = number(value, UINT32_MAX, &n) ? (uint32_t)n : 0;
        return n > 0;
    case DEADLINE:
        o->reach.deadline_ms = number(value, UINT32_MAX, &n) ? cds_now_ms() + n : 0;
        return n > 0;
    case BACKOFF:
        o->reach.backoff_ms = number(value, 60000, &n) ? (uint32_t)n : 0;
        return n > 0;
    case PARALLEL:
        o->parallel = number(value, CDS_PULL_PARALLEL_MAX, &n) ? (uint32_t)n : 0;
        return n > 0;
    case PARENT:
        return number(value, INT_MAX, parent);
    default:
        return false;
    }
}

/** look and pull: the same options; a look needs no folder. */
static int from_server(int argc, char **argv, bool look)
{
    static const struct option options[] = {
        {"source", required_argument, NULL, SOURCE},
        {"dir", required_argument, NULL, DIR_},
        {"sha256", required_argument, NULL, SHA},
        {"hub", required_argument, NULL, HUB},
        {"hosts", required_argument, NULL, HOSTS},
        {"key-file", required_argument, NULL, KEY_FILE},
        {"parameters-max", required_argument, NULL, PARAMETERS},
        {"bytes-max", required_argument, NULL, BYTES},
        {"reserve", required_argument, NULL, RESERVE},
        {"stall-ms", required_argument, NULL, STALL},
        {"connect-ms", required_argument, NULL, CONNECT},
        {"deadline-ms", required_argument, NULL, DEADLINE},
        {"backoff-ms", required_argument, NULL, BACKOFF},
        {"parallel", required_argument, NULL, PARALLEL},
        {"parent", required_argument, NULL, PARENT},
        {NULL, 0, NULL, 0},
    };
    struct cds_pull_options o = {.reach = {.sha256 = "",
                                           .hub = "https://huggingface.co",
                                           .hosts = "",
                                           .key_file = "",
                                           .stall_ms = 60000,
                                           .connect_ms = 20000,
                                           .backoff_ms = 200,
                                           .deadline_ms = cds_now_ms() + 86400000},
                                 .file_bytes_max = (uint64_t)64 << 30,
                                 .parallel = 3,
                                 .out = STDOUT_FILENO};
    uint64_t parent = (uint64_t)getppid();
    for (int id; (id = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (!take(id, optarg, &o, &parent))
            return complain();
    if (optind != argc || !o.reach.source || (!look && !o.dir))
        return complain();
    struct cds_err err = {0};
    if (cds_confine_fetcher((pid_t)parent, &err) != CDS_OK) {
        fprintf(stderr, "cds-fetch: %s\n", err.message);
        return 1;
    }
    return look ? cds_look(&o.reach, o.parameters_max, o.out) : cds_pull(&o);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && cds_streq(argv[1], "--version")) {
        printf("cds-fetch %s\n", CDS_VERSION);
        return 0;
    }
    if (argc == 2 && cds_streq(argv[1], "--help")) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc == 3 && cds_streq(argv[1], "inspect"))
        return inspect(argv[2]);
    if (argc == 3 && cds_streq(argv[1], "verify"))
        return verify(argv[2]);
    if (argc >= 2 && (cds_streq(argv[1], "look") || cds_streq(argv[1], "pull")))
        return from_server(argc - 1, argv + 1, cds_streq(argv[1], "look"));
    return complain();
}
