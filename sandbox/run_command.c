/* sandbox/run_command.c: from a language to an argument list. No shell sees a name or an argument of the user's. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "sandbox/run_priv.h"

struct language {
    const char *name, *code_name;
    const char *programs[3]; /* first that exists; the same inside the jail */
    const char *before[6];   /* arguments before the file */
    bool big_address_space;
    const char *compiler; /* must be there too; NULL: none */
    const char *preload;  /* file of sandbox/preload that waits for an order; NULL: the program is executed then */
};

/* C is compiled inside the jail, too: a compiler that reads hostile text is hostile itself. The names come as arguments of the script. */
#define COMPILE_AND_RUN(compile, language)                                                                                                           \
    "src=$1; shift; " compile " -O1 -g -Wall -o /tmp/a.out -x " language " \"$src\" -x none -lm || exit 1; exec /tmp/a.out \"$@\""

/* python: as closed as -I, except that a program finds the modules beside itself. */
static const struct language languages[] = {
    {"python", "main.py", {"/usr/bin/python3", "/usr/local/bin/python3"}, {"-B", "-E", "-s", "-u"}, false, NULL, "python.py"},
    {"node", "main.mjs", {"/usr/bin/node", "/usr/local/bin/node"}, {"--max-old-space-size=256"}, true, NULL, "node.cjs"},
    {"sh", "main.sh", {"/bin/sh"}, {NULL}, false, NULL, NULL},
    {"c", "main.c", {"/bin/sh"}, {"-c", COMPILE_AND_RUN("gcc -std=gnu17", "c"), "sh"}, false, "/usr/bin/gcc", NULL},
    {"cpp", "main.cpp", {"/bin/sh"}, {"-c", COMPILE_AND_RUN("g++ -std=gnu++17", "c++"), "sh"}, false, "/usr/bin/g++", NULL},
};

static cds_rc find_program(const struct language *language, const char **ret, struct cds_err *reterr)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(language->programs) && language->programs[i]; i++)
        if (access(language->programs[i], X_OK) == 0) {
            *ret = language->programs[i];
            return CDS_OK;
        }
    cds_fail(reterr, CDS_NOT_FOUND, __func__, "%s is not installed on this machine.", language->programs[0]);
    return cds_err_hint(reterr, "An admin can install it; `cyberdevstudio doctor` names what is missing.");
}

const char *run_shell(void)
{
    return access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh";
}

/* On a terminal: the interpreter itself, which asks for its input there. */
static cds_rc terminal_command(const struct cds_job_spec *spec, const struct language *language, struct jail_command *ret, struct cds_err *reterr)
{
    if (spec->path || spec->code || spec->arg_count)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "What runs on a terminal takes neither a file nor code nor arguments.");
    ret->argv[0] = run_shell();
    cds_rc rc = language ? find_program(language, &ret->argv[0], reterr) : CDS_OK;
    ret->big_address_space = language && language->big_address_space;
    return rc;
}

cds_rc run_command(struct jail_engine *engine, const struct cds_job_spec *spec, struct jail_command *ret, struct cds_err *reterr)
{
    const struct language *language = NULL;
    for (size_t i = 0; i < CDS_ARRAY_LEN(languages); i++)
        if (cds_streq(languages[i].name, spec->language))
            language = &languages[i];
    if (spec->rows && (language || cds_streq(spec->language, "shell")))
        return terminal_command(spec, language, ret, reterr);
    if (!language)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "There is no language %.32s; choose python, node, sh, c or cpp.", spec->language);
    if (language->compiler && access(language->compiler, X_OK)) {
        cds_fail(reterr, CDS_NOT_FOUND, __func__, "%s is not installed on this machine.", language->compiler);
        return cds_err_hint(reterr, "An admin can install it, e.g. with: apt-get install gcc g++ libc6-dev");
    }
    size_t n = 0, at = 0;
    cds_rc rc = find_program(language, &ret->argv[n++], reterr);
    if (rc)
        return rc;
    for (size_t i = 0; i < CDS_ARRAY_LEN(language->before) && language->before[i]; i++)
        ret->argv[n++] = language->before[i];
    if (language->preload) {
        snprintf(ret->preload_file, sizeof(ret->preload_file), "/opt/%s", language->preload);
        while (at < n) {
            ret->preload_argv[at] = ret->argv[at];
            at++;
        }
        ret->preload_argv[at++] = ret->preload_file;
        ret->preload_argv[at] = NULL;
        snprintf(ret->preload_host, sizeof(ret->preload_host), "%s/%s", engine->host->preload_dir, language->preload);
        ret->binds[ret->bind_count++] = (struct cds_jail_bind){.from = ret->preload_host, .to = language->preload};
        ret->preload = language->preload;
    }
    ret->program_at = n;
    snprintf(ret->path, sizeof(ret->path), "%s/%s", spec->path ? "/work" : "/tmp", spec->path ? spec->path : language->code_name);
    ret->argv[n++] = ret->path;
    for (size_t i = 0; i < spec->arg_count; i++)
        ret->argv[n++] = spec->args[i];
    ret->argv[n] = NULL;
    ret->code_name = language->code_name;
    ret->big_address_space = language->big_address_space;
    return CDS_OK;
}
