/* apps/cyberdevstudio/commands.h: the commands of the command line; main.c chooses one.
 *
 * Threads: main thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "lib/config/config.h"

/** Exit codes, also told by --help. */
enum cds_exit { CDS_EXIT_OK = 0, CDS_EXIT_FAILED = 1, CDS_EXIT_USAGE = 2, CDS_EXIT_NOT_RUNNING = 3 };

/** What a command gets. Everything is borrowed. */
struct cds_command {
    const struct cds_config *config;
    int argc; /**< arguments after the command's own words */
    char **argv;
    int flag_count; /**< --section.name=VALUE flags as typed, to be passed on to other programs */
    char **flags;
};

enum cds_exit cds_cmd_up(const struct cds_command *cmd);
enum cds_exit cds_cmd_down(const struct cds_command *cmd);
enum cds_exit cds_cmd_status(const struct cds_command *cmd);
enum cds_exit cds_cmd_doctor(const struct cds_command *cmd);
enum cds_exit cds_cmd_config_check(const struct cds_command *cmd);
enum cds_exit cds_cmd_user_add(const struct cds_command *cmd);
enum cds_exit cds_cmd_user_list(const struct cds_command *cmd);
enum cds_exit cds_cmd_user_link(const struct cds_command *cmd);
enum cds_exit cds_cmd_user_role(const struct cds_command *cmd);
enum cds_exit cds_cmd_user_block(const struct cds_command *cmd);
enum cds_exit cds_cmd_user_unblock(const struct cds_command *cmd);
enum cds_exit cds_cmd_user_delete(const struct cds_command *cmd);
enum cds_exit cds_cmd_user_signout(const struct cds_command *cmd);
enum cds_exit cds_cmd_key_list(const struct cds_command *cmd);
enum cds_exit cds_cmd_key_create(const struct cds_command *cmd);
enum cds_exit cds_cmd_key_rotate(const struct cds_command *cmd);
enum cds_exit cds_cmd_key_revoke(const struct cds_command *cmd);
enum cds_exit cds_cmd_migrate(const struct cds_command *cmd);
enum cds_exit cds_cmd_backup(const struct cds_command *cmd);
enum cds_exit cds_cmd_restore(const struct cds_command *cmd);
enum cds_exit cds_cmd_ledger_verify(const struct cds_command *cmd);
enum cds_exit cds_cmd_model_list(const struct cds_command *cmd);
enum cds_exit cds_cmd_model_pull(const struct cds_command *cmd);
enum cds_exit cds_cmd_model_inspect(const struct cds_command *cmd);
enum cds_exit cds_cmd_model_verify(const struct cds_command *cmd);
enum cds_exit cds_cmd_model_remove(const struct cds_command *cmd);
/** model_ask.c: questions to the running model server. */
enum cds_exit cds_cmd_model_chat(const struct cds_command *cmd);
enum cds_exit cds_cmd_model_complete(const struct cds_command *cmd);
enum cds_exit cds_cmd_model_infill(const struct cds_command *cmd);
/** "gpu", "estimate" and "measure" of `model inspect`; everything else is a file. */
bool cds_cmd_model_inspects_server(const struct cds_command *cmd);
enum cds_exit cds_cmd_model_inspect_server(const struct cds_command *cmd);
/** user.c: a password from the terminal without echo, else the next line of stdin. false: none, or too long. */
bool cds_read_password(char *buf, size_t size);
/** user.c: the next line of stdin without its newline. false: the end, an empty line, or one that is too long. */
bool cds_read_line(char *buf, size_t size);
enum cds_exit cds_cmd_image_list(const struct cds_command *cmd);
enum cds_exit cds_cmd_image_add(const struct cds_command *cmd);
enum cds_exit cds_cmd_image_pull(const struct cds_command *cmd);
enum cds_exit cds_cmd_image_remove(const struct cds_command *cmd);

/** "cyberdevstudio: <message> <hint>" on out; details only the log may have are left out. @return the exit code that fits */
enum cds_exit cds_complain(FILE *out, const struct cds_err *err);
/** Takes "--name VALUE" or "--name=VALUE" out of cmd; *ret stays as it is when absent. @return false after a complaint (value missing) */
bool cds_take_value(struct cds_command *cmd, const char *name, const char **ret);
/** Takes "--name" out of cmd. */
bool cds_take_switch(struct cds_command *cmd, const char *name);
/** Complains about the first argument nobody took. @return true when there is none */
bool cds_no_more(const struct cds_command *cmd);
