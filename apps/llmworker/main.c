/* apps/llmworker/main.c: cds-llmworker, one loaded model. Started by cds-llmserver with one end of a socket pair; not by hand. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/llmworker/confine.h"
#include "apps/llmworker/engine.h"
#include "apps/llmworker/serve.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

static const char usage[] = "cds-llmworker runs one language model for cds-llmserver, which starts it.\n"
                            "\n"
                            "  --fd=N --parent=PID      inherited socket and the process that must own us\n"
                            "  --model=FILE --lib=DIR   GGUF file and folder of libllama, absolute\n"
                            "  --dir=DIR                working folder, owned by the studio\n"
                            "  --context=N --request=N --slots=N --threads=N --jobs=N [--memory=BYTES]\n"
                            "  --draft=FILE             GGUF file of a draft model, absolute\n"
                            "  --load=JSON              settings of the load (loading.h)\n"
                            "  --backend=NAME           cpu, vulkan, cuda: which build of libllama --lib is\n"
                            "  --offload=JSON           what of the model goes to the GPU (offload.h)\n"
                            "  --adapters=DIR           folder of the adapters that the load names, absolute\n"
                            "  --exchange=N             inherited memory file for states\n"
                            "  --vocabulary             answers questions about words only; no weights are loaded\n"
                            "  --log=LEVEL              debug, info, warn, error\n"
                            "  --check                  tests the libllama this program finds, prints its version\n"
                            "  --help, --version\n";

struct arguments {
    struct cds_worker_options worker;
    const char *dir;
    pid_t parent;
    uint64_t memory_bytes; /**< most data memory, 0: no limit */
    enum cds_log_level level;
    bool check;
};

enum option_id {
    OPT_FD = 1,
    OPT_PARENT,
    OPT_MODEL,
    OPT_LIB,
    OPT_DRAFT,
    OPT_DIR,
    OPT_CONTEXT,
    OPT_REQUEST,
    OPT_SLOTS,
    OPT_THREADS,
    OPT_JOBS,
    OPT_MEMORY,
    OPT_LOAD,
    OPT_BACKEND,
    OPT_OFFLOAD,
    OPT_ADAPTERS,
    OPT_EXCHANGE,
    OPT_VOCABULARY,
    OPT_LOG,
    OPT_CHECK,
    OPT_HELP,
    OPT_VERSION
};

static bool read_number(const char *text, uint64_t min, uint64_t max, uint32_t *ret)
{
    uint64_t value;
    if (cds_parse_u64(text, min, max, &value) != CDS_OK)
        return false;
    *ret = (uint32_t)value;
    return true;
}

static bool take_option(int id, const char *value, struct arguments *args)
{
    uint32_t number = 0;
    switch (id) {
    case OPT_FD:
        if (!read_number(value, 3, 1023, &number))
            return false;
        args->worker.fd = (int)number;
        return true;
    case OPT_PARENT:
        if (!read_number(value, 1, INT32_MAX, &number))
            return false;
        args->parent = (pid_t)number;
        return true;
    case OPT_MODEL:
        args->worker.model_path = value;
        return value[0] == '/';
    case OPT_LIB:
        args->worker.lib_dir = value;
        return value[0] == '/';
    case OPT_DRAFT:
        args->worker.draft_path = value;
        return value[0] == '/';
    case OPT_DIR:
        args->dir = value;
        return value[0] == '/';
    case OPT_CONTEXT:
        return read_number(value, 256, 131072, &args->worker.context_tokens);
    case OPT_REQUEST:
        return read_number(value, 128, 131072, &args->worker.request_tokens);
    case OPT_SLOTS:
        return read_number(value, 1, 64, &args->worker.slots);
    case OPT_THREADS:
        return read_number(value, 0, 256, &args->worker.threads);
    case OPT_JOBS:
        return read_number(value, 1, 8192, &args->worker.jobs);
    case OPT_MEMORY:
        return cds_parse_u64(value, 1, INT64_MAX, &args->memory_bytes) == CDS_OK;
    case OPT_LOAD:
        args->worker.load = value;
        return true;
    case OPT_BACKEND:
        return cds_backend_parse(value, &args->worker.backend);
    case OPT_OFFLOAD:
        args->worker.offload = value;
        return true;
    case OPT_ADAPTERS:
        args->worker.adapter_dir = value;
        return value[0] == '/';
    case OPT_EXCHANGE:
        if (!read_number(value, 3, 1023, &number))
            return false;
        args->worker.exchange = (int)number;
        return true;
    case OPT_VOCABULARY:
        args->worker.vocabulary_only = true;
        return true;
    case OPT_LOG:
        return cds_log_level_parse(value, &args->level) == CDS_OK;
    case OPT_CHECK:
        args->check = true;
        return true;
    default:
        return false;
    }
}

static bool read_arguments(int argc, char **argv, struct arguments *args)
{
    static const struct option options[] = {
        {"fd", required_argument, NULL, OPT_FD},
        {"parent", required_argument, NULL, OPT_PARENT},
        {"model", required_argument, NULL, OPT_MODEL},
        {"lib", required_argument, NULL, OPT_LIB},
        {"dir", required_argument, NULL, OPT_DIR},
        {"context", required_argument, NULL, OPT_CONTEXT},
        {"request", required_argument, NULL, OPT_REQUEST},
        {"slots", required_argument, NULL, OPT_SLOTS},
        {"threads", required_argument, NULL, OPT_THREADS},
        {"jobs", required_argument, NULL, OPT_JOBS},
        {"draft", required_argument, NULL, OPT_DRAFT},
        {"memory", required_argument, NULL, OPT_MEMORY},
        {"load", required_argument, NULL, OPT_LOAD},
        {"backend", required_argument, NULL, OPT_BACKEND},
        {"offload", required_argument, NULL, OPT_OFFLOAD},
        {"adapters", required_argument, NULL, OPT_ADAPTERS},
        {"exchange", required_argument, NULL, OPT_EXCHANGE},
        {"log", required_argument, NULL, OPT_LOG},
        {"vocabulary", no_argument, NULL, OPT_VOCABULARY},
        {"check", no_argument, NULL, OPT_CHECK},
        {"help", no_argument, NULL, OPT_HELP},
        {"version", no_argument, NULL, OPT_VERSION},
        {NULL, 0, NULL, 0},
    };
    for (int id; (id = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (id == OPT_HELP) {
            fputs(usage, stdout);
            exit(0);
        }
        if (id == OPT_VERSION) {
            printf("cds-llmworker %s, libllama %s\n", CDS_VERSION, cds_engine_version());
            exit(0);
        }
        if (!take_option(id, optarg, args))
            return false;
    }
    const struct cds_worker_options *w = &args->worker;
    return optind == argc && (args->check || (w->fd && args->parent && w->model_path && w->lib_dir && args->dir && w->context_tokens &&
                                              w->request_tokens && w->slots && w->jobs));
}

int main(int argc, char **argv)
{
    struct arguments args = {.level = CDS_LOG_INFO, .worker.exchange = -1};
    if (!read_arguments(argc, argv, &args)) {
        fputs(usage, stderr);
        return 2;
    }
    cds_log_init("cds-llmworker", args.level);
    struct cds_err err = {0};
    if (args.check) {
        if (cds_engine_check(&err) != CDS_OK) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        printf("libllama %s\n", cds_engine_version());
        return 0;
    }
    /* Before the first byte of the model file is read: compute libraries are looked for here too, and nowhere a stranger can write. */
    unsetenv("GGML_BACKEND_PATH");
    setenv("GGML_NO_BACKTRACE", "1", 1);
    cds_rc rc = CDS_OK;
    if (chdir(args.dir) != 0)
        rc = cds_fail(&err, CDS_SYSTEM, __func__, "The working folder of the model process cannot be entered.");
    if (rc == CDS_OK && args.memory_bytes)
        rc = cds_worker_limit_memory(args.memory_bytes, &err);
    struct cds_nodes nodes;
    cds_nodes_find(args.worker.backend, "/dev", &nodes);
    args.worker.denied = nodes.denied;
    if (rc == CDS_OK)
        rc = cds_worker_confine(args.parent, &nodes, &err);
    if (rc == CDS_OK)
        rc = cds_worker_serve(&args.worker, &err);
    if (rc != CDS_OK && rc != CDS_CANCELLED)
        cds_log_err(CDS_LOG_ERROR, "the model did not start", NULL, &err);
    /* The engine is closed; exit handlers of foreign libraries have nothing left to do and must not wait for threads. */
    _exit(rc == CDS_OK ? 0 : 1);
}
