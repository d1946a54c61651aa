/* apps/cyberdevstudio/user.c: `user add`: asks for the password and hands everything to cds-auth, the only program that may see it. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "apps/cyberdevstudio/acts.h"
#include "apps/cyberdevstudio/auth_program.h"
#include "lib/base/str.h"

enum {
    PASSWORD_MAX = 256 /* bytes of the line, as in cds-auth, which has the rules for what a password is */
};

struct new_user {
    const struct cds_command *cmd;
    struct cds_act act;
    const char *email, *role, *name;
    char password[PASSWORD_MAX + 2]; /* with newline */
};

static volatile sig_atomic_t caught;

static void on_signal(int signo)
{
    caught = signo;
}

/** One line from stdin without its newline. waiting: the signals that may come while it waits, NULL: as they are.
 *  @return false at the end of input, after a signal, or when the line is empty or too long */
static bool read_line(char *buf, size_t size, const sigset_t *waiting)
{
    size_t len = 0;
    for (;;) {
        char c;
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        if (waiting && ppoll(&p, 1, NULL, waiting) < 0) {
            if (caught)
                return false;
            continue;
        }
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || c == '\n')
            break;
        if (len + 1 >= size)
            return false;
        buf[len++] = c;
    }
    buf[len] = '\0';
    return len > 0;
}

/** Asks without echo. A signal that ends the program does so after the echo is back: the terminal outlives us. */
static bool prompt(const char *text, char *buf, size_t size)
{
    static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction before_signal[CDS_ARRAY_LEN(ending)], stop_before;
    struct termios before, silent;
    sigset_t blocked, waiting;
    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return false;
    sigemptyset(&blocked);
    for (size_t i = 0; i < CDS_ARRAY_LEN(ending); i++)
        sigaddset(&blocked, ending[i]);
    /* Blocked but inside ppoll, so that none falls between the look and the wait. */
    sigprocmask(SIG_BLOCK, &blocked, &waiting);
    for (size_t i = 0; i < CDS_ARRAY_LEN(ending); i++) {
        sigaction(ending[i], NULL, &before_signal[i]);
        if (before_signal[i].sa_handler != SIG_IGN)
            sigaction(ending[i], &(struct sigaction){.sa_handler = on_signal}, NULL);
    }
    sigaction(SIGTSTP, &(struct sigaction){.sa_handler = SIG_IGN}, &stop_before); /* a stopped program would leave the echo off too */
    silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    fprintf(stderr, "%s: ", text);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    bool fine = read_line(buf, size, &waiting);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fputc('\n', stderr);
    sigaction(SIGTSTP, &stop_before, NULL);
    for (size_t i = 0; i < CDS_ARRAY_LEN(ending); i++)
        sigaction(ending[i], &before_signal[i], NULL);
    sigprocmask(SIG_SETMASK, &waiting, NULL);
    if (caught) {
        explicit_bzero(buf, size);
        raise(caught);
    }
    return fine;
}

bool cds_read_line(char *buf, size_t size)
{
    return read_line(buf, size, NULL);
}

bool cds_read_password(char *buf, size_t size)
{
    return isatty(STDIN_FILENO) ? prompt("Password", buf, size) : read_line(buf, size, NULL);
}

static bool ask_password(char *password, size_t size)
{
    char again[PASSWORD_MAX + 1];
    if (!isatty(STDIN_FILENO)) {
        if (read_line(password, size, NULL))
            return true;
        fprintf(stderr, "cyberdevstudio: write the password, one line of at most %d bytes, to stdin.\n", PASSWORD_MAX);
        return false;
    }
    bool same = prompt("Password", password, size) && prompt("Once more", again, sizeof(again)) && cds_streq(password, again);
    explicit_bzero(again, sizeof(again));
    if (!same)
        fprintf(stderr, "cyberdevstudio: the two passwords differ, are empty or longer than %d bytes; try again.\n", PASSWORD_MAX);
    return same;
}

static cds_rc run_auth(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    struct new_user *fresh = user;
    const char *words[] = {"user", "add", "--email", fresh->email, "--role", fresh->role, fresh->name ? "--name" : NULL, fresh->name, NULL};
    cds_rc rc = cds_act_begin(db, &fresh->act, reterr);
    if (rc != CDS_OK)
        return rc;
    rc = cds_run_auth(fresh->cmd, words, fresh->password, patience, reterr);
    cds_act_end(db, &fresh->act, rc);
    return rc;
}

enum cds_exit cds_cmd_user_add(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct cds_err err = {0};
    struct new_user fresh = {.cmd = cmd, .act.name = "user add"};
    if (!cds_take_value(&rest, "--email", &fresh.email) || !cds_take_value(&rest, "--role", &fresh.role) ||
        !cds_take_value(&rest, "--name", &fresh.name) || !cds_no_more(&rest))
        return CDS_EXIT_USAGE;
    if (!fresh.email || !fresh.role) {
        fprintf(stderr, "cyberdevstudio: user add needs --email and --role (admin, developer or viewer).\n");
        return CDS_EXIT_USAGE;
    }
    if (!ask_password(fresh.password, PASSWORD_MAX + 1))
        return CDS_EXIT_USAGE;
    size_t len = strlen(fresh.password);
    memcpy(fresh.password + len, "\n", 2);
    cds_rc rc = cds_with_database(cmd, CDS_CLUSTER_MIGRATED, run_auth, &fresh, &err);
    explicit_bzero(fresh.password, sizeof(fresh.password));
    return rc == CDS_OK ? CDS_EXIT_OK : cds_complain(stderr, &err);
}
