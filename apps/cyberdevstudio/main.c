/* apps/cyberdevstudio/main.c: the command line of the studio. */
#include <locale.h>
#include <signal.h>
#include <string.h>

#include "apps/cyberdevstudio/commands.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

enum { FLAGS_MAX = 128 };

static const struct {
    const char *words[2];
    enum cds_exit (*run)(const struct cds_command *cmd);
    const char *arguments, *help;
} commands[] = {
    {{"up"}, cds_cmd_up, "", "start the studio and stay in the foreground; Ctrl+C stops it"},
    {{"down"}, cds_cmd_down, "", "stop the studio that runs on this data folder"},
    {{"status"}, cds_cmd_status, "[--json]", "show every part: process, state, memory, port"},
    {{"doctor"}, cds_cmd_doctor, "[--json]", "check what the studio needs and say what to do about what is missing"},
    {{"config", "check"}, cds_cmd_config_check, "", "print every option, its value and where it came from"},
    {{"user", "add"},
     cds_cmd_user_add,
     "--email E --role R [--name N]",
     "add a user (admin, developer, viewer); asks for the password, or reads it from stdin"},
    {{"user", "list"}, cds_cmd_user_list, "[--json]", "show the users: role, state, last sign-in, open sessions"},
    {{"user", "link"}, cds_cmd_user_link, "--email E", "print a link by which the user sets a new password; it works once"},
    {{"user", "role"}, cds_cmd_user_role, "--email E --role R", "give a user another role; it acts at once"},
    {{"user", "block"}, cds_cmd_user_block, "--email E", "block a user: everything of theirs ends within a second"},
    {{"user", "unblock"}, cds_cmd_user_unblock, "--email E", "let a blocked user sign in again"},
    {{"user", "signout"}, cds_cmd_user_signout, "--email E", "end all sessions of a user"},
    {{"user", "delete"},
     cds_cmd_user_delete,
     "--email E [--projects-to E | --remove-projects]",
     "forget a user: address, name, password; what was booked stays; projects go to somebody else or with their user"},
    {{"key", "list"}, cds_cmd_key_list, "[--email E] [--json]", "show API keys: name, role, state, last use"},
    {{"key", "create"},
     cds_cmd_key_create,
     "--email E --name N [--role R] [--scopes a,b] [--models a,b] [--days D]",
     "make an API key of a user and print it; it is shown only now"},
    {{"key", "rotate"},
     cds_cmd_key_rotate,
     "--id ID [--overlap-s S]",
     "make a key with the same rights; the old one goes on for a day, or S seconds"},
    {{"key", "revoke"}, cds_cmd_key_revoke, "--id ID", "end an API key: everything under it ends within a second"},
    {{"migrate"}, cds_cmd_migrate, "", "bring the database to the schema of this version"},
    {{"model", "list"}, cds_cmd_model_list, "[--json]", "show the model files: parameters, quantization, size, context"},
    {{"model", "pull"}, cds_cmd_model_pull, "SOURCE [--sha256 HEX]", "download hf:owner/repo:quant, hf:owner/repo/file.gguf#branch or an address"},
    {{"model", "inspect"},
     cds_cmd_model_inspect,
     "FILE | SOURCE | gpu | estimate MODEL | measure MODEL",
     "print what the header of a model file says, here or still at its server (hf:..., https://...); what models compute with; how much memory one "
     "needs, and takes"},
    {{"model", "chat"}, cds_cmd_model_chat, "[--email E] [--model M] [TEXT]", "talk to a model of the running studio; without TEXT line by line"},
    {{"model", "complete"}, cds_cmd_model_complete, "[--email E] [--model M] TEXT", "let a model go on with a text"},
    {{"model", "infill"}, cds_cmd_model_infill, "[--email E] [--model M] BEFORE BEHIND", "let a model fill the gap between two texts"},
    {{"model", "verify"}, cds_cmd_model_verify, "FILE", "compare a model file with the SHA-256 of its download"},
    {{"model", "remove"}, cds_cmd_model_remove, "FILE", "remove a model file and what belongs to it"},
    {{"image", "list"}, cds_cmd_image_list, "[--json]", "show the images that microVMs can start from"},
    {{"image", "add"}, cds_cmd_image_add, "NAME TAR|DIR", "make an image of what docker save wrote, of the tar of a root folder, or of a folder"},
    {{"image", "pull"}, cds_cmd_image_pull, "NAME REFERENCE", "fetch an image from a registry, where microsandbox (msb) works"},
    {{"image", "remove"}, cds_cmd_image_remove, "NAME", "remove an image"},
    {{"backup"}, cds_cmd_backup, "FOLDER", "copy database and keys into a new folder, also while the studio runs"},
    {{"restore"}, cds_cmd_restore, "FOLDER", "fill the empty database of a stopped studio from a backup, then check the ledger"},
    {{"ledger", "verify"},
     cds_cmd_ledger_verify,
     "[--json] [--answers FILE]",
     "check that every token and credit adds up; FILE: what a client was told, \"request-id prompt completion\" a line"},
};

enum { LEFT_COLUMN = 40 };

static void help(FILE *out)
{
    fprintf(out, "CyberDevStudio %s: a self-hosted web studio with local models.\n\nUse: cyberdevstudio COMMAND [--section.name=VALUE ...]\n\n",
            CDS_VERSION);
    for (size_t i = 0; i < CDS_ARRAY_LEN(commands); i++) {
        char left[80];
        snprintf(left, sizeof(left), "%s%s%s %s", commands[i].words[0], commands[i].words[1] ? " " : "",
                 commands[i].words[1] ? commands[i].words[1] : "", commands[i].arguments);
        if (strlen(left) > LEFT_COLUMN)
            fprintf(out, "  %s\n  %*s %s\n", left, LEFT_COLUMN, "", commands[i].help);
        else
            fprintf(out, "  %-*s %s\n", LEFT_COLUMN, left, commands[i].help);
    }
    fprintf(out, "\nThe data folder is --studio.home=FOLDER or CDS_HOME; \"cyberdevstudio config check\" lists all options.\n"
                 "Exit codes: 0 done, 1 failed, 2 wrong use or configuration, 3 the studio is not running.\n");
}

static bool asks_for_help(int argc, char **argv)
{
    if (argc < 2 || cds_streq(argv[1], "help"))
        return true;
    for (int i = 1; i < argc && !cds_streq(argv[i], "--"); i++)
        if (cds_streq(argv[i], "--help") || cds_streq(argv[i], "-h"))
            return true;
    return false;
}

/** Index of the command whose words argv begins with, -1: none. */
static int find_command(int argc, char **argv, int *ret_words)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(commands); i++) {
        int words = commands[i].words[1] ? 2 : 1;
        if (argc > words && cds_streq(argv[1], commands[i].words[0]) && (words == 1 || cds_streq(argv[2], commands[i].words[1]))) {
            *ret_words = words;
            return (int)i;
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    signal(SIGPIPE, SIG_IGN);
    cds_log_init("cyberdevstudio", CDS_LOG_INFO);
    if (asks_for_help(argc, argv)) {
        help(argc < 2 ? stderr : stdout);
        return argc < 2 ? CDS_EXIT_USAGE : CDS_EXIT_OK;
    }
    char *flags[FLAGS_MAX + 1];
    int flag_count = 0, words = 0;
    for (int i = 1; i < argc && flag_count < FLAGS_MAX; i++)
        if (cds_starts_with(argv[i], "--"))
            flags[flag_count++] = argv[i];
    flags[flag_count] = NULL;
    struct cds_config *config = NULL;
    struct cds_err err = {0};
    if (cds_config_load(&argc, argv, "supervisor and command line", &config, &err) != CDS_OK) {
        cds_complain(stderr, &err);
        return CDS_EXIT_USAGE;
    }
    int found = find_command(argc, argv, &words);
    if (found < 0) {
        fprintf(stderr, "cyberdevstudio: there is no command \"%s\"; \"cyberdevstudio help\" lists them all.\n", argc > 1 ? argv[1] : "");
        cds_config_free(&config);
        return CDS_EXIT_USAGE;
    }
    enum cds_log_level least = CDS_LOG_INFO;
    if (cds_log_level_parse(cds_config_str(config, CDS_OPT_LOG_LEVEL), &least) != CDS_OK) {
        fprintf(stderr, "cyberdevstudio: studio.log_level must be debug, info, warn or error.\n");
        cds_config_free(&config);
        return CDS_EXIT_USAGE;
    }
    cds_log_init("cyberdevstudio", least);
    struct cds_command cmd = {.config = config, .argc = argc - 1 - words, .argv = argv + 1 + words, .flag_count = flag_count, .flags = flags};
    enum cds_exit code = commands[found].run(&cmd);
    cds_config_free(&config);
    return (int)code;
}
