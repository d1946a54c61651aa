/* Tests of apps/cyberdevstudio/user.c: `user add` at a terminal, with the real program. */
#include "tests/support/test.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/compiler.h"

enum { WAIT_MS = 20000 };

/** `user add` on a terminal of its own. */
struct asked {
    int terminal;
    pid_t pid;
    char text[4096];
    size_t len;
};

static struct asked ask(void)
{
    struct asked asked = {.len = 0};
    asked.pid = forkpty(&asked.terminal, NULL, NULL, NULL);
    if (asked.pid == 0) {
        /* A shell that runs the tests in the background ignores both, and ignoring is inherited. */
        signal(SIGINT, SIG_DFL);
        signal(SIGQUIT, SIG_DFL);
        execl(CDS_BINARY_DIR "/bin/cyberdevstudio", "cyberdevstudio", "user", "add", "--email=a@b.test", "--role=viewer",
              "--studio.home=/nonexistent/cds", NULL);
        _exit(127);
    }
    assert_true(asked.pid > 0);
    return asked;
}

/** Reads what the program writes until the words stand there. @return false when it ended or was too slow */
static bool says(struct asked *asked, const char *words)
{
    uint64_t deadline_ms = cds_now_ms() + WAIT_MS;
    while (!strstr(asked->text, words)) {
        struct pollfd p = {.fd = asked->terminal, .events = POLLIN};
        if (poll(&p, 1, cds_ms_left(deadline_ms)) <= 0)
            return false;
        ssize_t n = read(asked->terminal, asked->text + asked->len, sizeof(asked->text) - 1 - asked->len);
        if (n <= 0)
            return false;
        asked->len += (size_t)n;
        asked->text[asked->len] = '\0';
    }
    return true;
}

static bool echoes(const struct asked *asked)
{
    struct termios settings;
    assert_int_equal(tcgetattr(asked->terminal, &settings), 0);
    return settings.c_lflag & ECHO;
}

/** "Password: " is written before the echo goes off: wait until it is. */
static void wait_for_silence(const struct asked *asked)
{
    for (uint64_t deadline_ms = cds_now_ms() + WAIT_MS; echoes(asked) && cds_ms_left(deadline_ms) > 0;)
        poll(NULL, 0, 2);
    assert_false(echoes(asked));
}

static void types(const struct asked *asked, const char *text)
{
    assert_int_equal(write(asked->terminal, text, strlen(text)), strlen(text));
}

static int end(struct asked *asked)
{
    int status = 0;
    assert_int_equal(waitpid(asked->pid, &status, 0), asked->pid);
    close(asked->terminal);
    return status;
}

static void ctrl_c_at_the_password_gives_the_echo_back(void **state)
{
    static const char *const keys[] = {"\003", "half a pass\003", "\034"};
    static const int signals[] = {SIGINT, SIGINT, SIGQUIT};
    for (size_t i = 0; i < CDS_ARRAY_LEN(keys); i++) {
        struct asked asked = ask();
        assert_true(says(&asked, "Password: "));
        wait_for_silence(&asked);
        types(&asked, keys[i]);
        /* Our own descriptor keeps the terminal, so its settings are those the program left. */
        siginfo_t info = {0};
        assert_int_equal(waitid(P_PID, (id_t)asked.pid, &info, WEXITED | WNOWAIT), 0);
        assert_true(echoes(&asked));
        int status = end(&asked);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), signals[i]);
    }
}

static void a_request_to_end_at_the_second_question_gives_the_echo_back(void **state)
{
    struct asked asked = ask();
    assert_true(says(&asked, "Password: "));
    wait_for_silence(&asked);
    types(&asked, "Silver-Kettle-29-Wind\n");
    assert_true(says(&asked, "Once more: "));
    wait_for_silence(&asked);
    kill(asked.pid, SIGTERM);
    siginfo_t info = {0};
    assert_int_equal(waitid(P_PID, (id_t)asked.pid, &info, WEXITED | WNOWAIT), 0);
    assert_true(echoes(&asked));
    assert_int_equal(WTERMSIG(end(&asked)), SIGTERM);
}

static void two_passwords_that_differ_are_refused_and_never_shown(void **state)
{
    struct asked asked = ask();
    assert_true(says(&asked, "Password: "));
    wait_for_silence(&asked);
    types(&asked, "Silver-Kettle-29-Wind\n");
    assert_true(says(&asked, "Once more: "));
    wait_for_silence(&asked);
    types(&asked, "Golden-Kettle-29-Wind\n");
    assert_true(says(&asked, "the two passwords differ"));
    assert_null(strstr(asked.text, "Kettle"));
    assert_true(echoes(&asked));
    assert_int_equal(WEXITSTATUS(end(&asked)), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ctrl_c_at_the_password_gives_the_echo_back),
        cmocka_unit_test(a_request_to_end_at_the_second_question_gives_the_echo_back),
        cmocka_unit_test(two_passwords_that_differ_are_refused_and_never_shown),
    };
    return RUN_ALL(tests);
}
