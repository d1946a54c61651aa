/* apps/cyberdevstudio/commands.c: what the commands share, and the smallest of them. */
#include "apps/cyberdevstudio/commands.h"

#include <string.h>

#include "lib/base/str.h"

enum cds_exit cds_complain(FILE *out, const struct cds_err *err)
{
    fprintf(out, "cyberdevstudio: %s%s%s", err->message, err->hint[0] ? " " : "", err->hint);
    /* The cause a system call named is worth showing to the person at the terminal. */
    if (err->sys_errno)
        fprintf(out, " (%s)", strerror(err->sys_errno));
    fputc('\n', out);
    fflush(out);
    return err->code == CDS_BAD_PARAM ? CDS_EXIT_USAGE : CDS_EXIT_FAILED;
}

static void remove_args(struct cds_command *cmd, int at, int count)
{
    for (int i = at; i + count < cmd->argc; i++)
        cmd->argv[i] = cmd->argv[i + count];
    cmd->argc -= count;
}

bool cds_take_value(struct cds_command *cmd, const char *name, const char **ret)
{
    size_t len = strlen(name);
    for (int i = 0; i < cmd->argc; i++) {
        const char *arg = cmd->argv[i];
        if (strncmp(arg, name, len) != 0 || (arg[len] != '\0' && arg[len] != '='))
            continue;
        if (arg[len] == '=') {
            *ret = arg + len + 1;
            remove_args(cmd, i, 1);
            return true;
        }
        if (i + 1 >= cmd->argc) {
            fprintf(stderr, "cyberdevstudio: %s needs a value.\n", name);
            return false;
        }
        *ret = cmd->argv[i + 1];
        remove_args(cmd, i, 2);
        return true;
    }
    return true;
}

bool cds_take_switch(struct cds_command *cmd, const char *name)
{
    for (int i = 0; i < cmd->argc; i++)
        if (cds_streq(cmd->argv[i], name)) {
            remove_args(cmd, i, 1);
            return true;
        }
    return false;
}

bool cds_no_more(const struct cds_command *cmd)
{
    if (cmd->argc == 0)
        return true;
    fprintf(stderr, "cyberdevstudio: \"%s\" is not an argument of this command; see cyberdevstudio help.\n", cmd->argv[0]);
    return false;
}

enum cds_exit cds_cmd_config_check(const struct cds_command *cmd)
{
    if (!cds_no_more(cmd))
        return CDS_EXIT_USAGE;
    cds_config_print(cmd->config, stdout);
    return CDS_EXIT_OK;
}
