/* apps/cyberdevstudio/auth_program.c: see auth_program.h. It runs as the user that the studio's services have. */
#include "apps/cyberdevstudio/auth_program.h"

#include <limits.h>
#include <string.h>

#include "apps/cyberdevstudio/parts.h"
#include "apps/cyberdevstudio/services.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"

enum { OUT_MAX = 8192, ARGS_MAX = 160, WORDS_MAX = 24 };

cds_rc cds_run_auth(const struct cds_command *cmd, const char *const *words, const char *input, const struct cds_patience *patience,
                    struct cds_err *reterr)
{
    char program_dir[PATH_MAX], program[PATH_MAX + 16], home_flag[PATH_MAX + 32], note[512];
    snprintf(program, sizeof(program), "%s/cds-auth", cds_program_dir(program_dir, sizeof(program_dir)));
    snprintf(home_flag, sizeof(home_flag), "--studio.home=%s", cds_config_home(cmd->config));
    const char *argv[ARGS_MAX] = {program, home_flag};
    int argc = 2;
    for (int i = 0; i < cmd->flag_count && argc < ARGS_MAX - WORDS_MAX; i++)
        if (cds_flag_passes(cmd->flags[i], true))
            argv[argc++] = cmd->flags[i];
    for (int i = 0; words[i] && argc < ARGS_MAX - 1; i++)
        argv[argc++] = words[i];
    struct cds_identity who;
    cds_services_identity(cmd->config, cds_config_home(cmd->config), program_dir, true, &who, note, sizeof(note));
    struct cds_capture_how how = {.argv = argv,
                                  .input = input,
                                  .as = &who,
                                  .env = {.database = true, .home = who.change ? cds_config_home(cmd->config) : NULL},
                                  .deadline_ms = cds_now_ms() + CDS_AUTH_PROGRAM_MS,
                                  .patience = *patience,
                                  .max_bytes = OUT_MAX};
    CDS_CLEANUP(cds_capture_free) struct cds_capture got = {0};
    cds_rc rc = cds_capture_run(&how, &got, reterr);
    if (rc != CDS_OK)
        return rc;
    const char *said = got.out.data ? got.out.data : "";
    if (got.timed_out)
        return cds_fail(reterr, CDS_TIMED_OUT, __func__, "It was not done within %d s; look at the log.", CDS_AUTH_PROGRAM_MS / 1000);
    if (got.exit_code != 0)
        return cds_fail(reterr, got.exit_code == CDS_EXIT_USAGE ? CDS_BAD_PARAM : CDS_SYSTEM, __func__, "%s", *said ? said : "It was not done.");
    printf("%s\n", said);
    if (got.out.data)
        explicit_bzero(got.out.data, got.out.len); /* it may hold a key */
    return CDS_OK;
}
