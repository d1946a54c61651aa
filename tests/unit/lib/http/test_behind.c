/* tests/unit/lib/http/test_behind.c: a proxy and a tunnel by rules of the caller, through sockets of the caller, and bodies that stream. */
#include <stdlib.h>
#include <strings.h>

#include "lib/base/str.h"
#include "lib/http/proxy.h"
#include "lib/http/ws.h"
#include "tests/unit/lib/http/rig.h"

enum { WAITS = 4096, BODY = 300 * 1024 };

static const struct cds_http_limits wide = {
    .body_max_bytes = 1024 * 1024, .read_ms = 10 * RIG_WAIT_MS, .idle_ms = 10 * RIG_WAIT_MS, .connections = 64, .connections_per_ip = 64};
/* Where the deadline of reading is the matter. What has to be in time is sent before the server's first turn, which then accepts, reads and handles
 * it. */
static const struct cds_http_limits hasty = {
    .body_max_bytes = 1024 * 1024, .read_ms = 300, .idle_ms = 10 * RIG_WAIT_MS, .connections = 64, .connections_per_ip = 64};

/* ---- bodies ---- */
struct reader {
    struct rig rig; /* first */
    size_t taken, most;
    uint64_t sum;
    bool paused, answered;
};

static void take(void *user)
{
    struct reader *reader = user;
    unsigned char piece[1000];
    size_t n;
    if (reader->paused || reader->answered)
        return;
    size_t round = 0;
    while ((n = cds_http_body_take(reader->rig.req, piece, sizeof(piece)))) {
        for (size_t i = 0; i < n; i++)
            reader->sum += piece[i];
        round += n;
    }
    reader->taken += round;
    reader->most = round > reader->most ? round : reader->most;
    if (reader->taken == cds_http_body_length(reader->rig.req)) {
        reader->answered = true;
        cds_http_reply(reader->rig.req, 200, "text/plain", "all", 3);
    }
}

static cds_rc stream(void *user, struct cds_http_req *req, struct cds_err *err)
{
    cds_http_stream_body(req, WAITS);
    return CDS_OK;
}

static void read_slowly(void *user, struct cds_http_req *req)
{
    struct reader *reader = user;
    rig_keep(user, req);
    cds_http_on_body(req, take, reader);
    take(reader);
}

static char *body_of(size_t len, uint64_t *ret_sum)
{
    char *body = malloc(len);
    assert_non_null(body);
    *ret_sum = 0;
    for (size_t i = 0; i < len; i++) {
        body[i] = (char)(i * 7 & 0x7f);
        *ret_sum += (unsigned char)body[i];
    }
    return body;
}

static void a_body_comes_piece_by_piece_and_never_lies_in_memory(void **state)
{
    static struct reader reader;
    uint64_t sum;
    char *body = body_of(BODY, &sum), head[128];
    reader = (struct reader){.paused = true};
    rig_open_with(&reader.rig, &hasty, stream, read_slowly);
    int fd = rig_connect(&reader.rig);
    snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", BODY);
    assert_int_equal(send(fd, head, strlen(head), MSG_NOSIGNAL), (ssize_t)strlen(head));
    rig_send(&reader.rig, fd, body, BODY / 8); /* more than waits with us, less than fits into the socket */
    RIG_UNTIL(&reader.rig, reader.rig.calls == 1);
    /* Nobody takes it: longer than the time to read, since it is not the client that is slow. */
    uint64_t until = cds_now_ms() + 800;
    while (cds_now_ms() < until)
        cds_loop_once(reader.rig.loop, 20);
    assert_int_equal(reader.rig.gone, 0);
    close(fd);
    RIG_UNTIL(&reader.rig, reader.rig.gone == 1);
    rig_close(&reader.rig);

    reader = (struct reader){.paused = false};
    rig_open_with(&reader.rig, &wide, stream, read_slowly);
    fd = rig_connect(&reader.rig);
    rig_say(&reader.rig, fd, head);
    rig_send(&reader.rig, fd, body, BODY);
    rig_read(&reader.rig, fd, NULL);
    assert_true(rig_has(&reader.rig, "HTTP/1.1 200 ") && rig_has(&reader.rig, "all"));
    assert_int_equal(reader.taken, BODY);
    assert_int_equal(reader.sum, sum);
    assert_true(reader.most <= WAITS);
    close(fd);
    rig_close(&reader.rig);
    free(body);
}

static void a_client_that_stops_in_the_middle_of_a_streamed_body_is_cut_off(void **state)
{
    static struct reader reader;
    reader = (struct reader){.paused = false};
    rig_open_with(&reader.rig, &hasty, stream, read_slowly);
    int fd = rig_connect(&reader.rig);
    rig_say(&reader.rig, fd, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nhalf");
    assert_false(rig_read(&reader.rig, fd, "HTTP/1.1 200"));
    RIG_UNTIL(&reader.rig, reader.rig.gone == 1);
    close(fd);
    rig_close(&reader.rig);
}

static void answer_early(void *user, struct cds_http_req *req)
{
    ((struct rig *)user)->calls++;
    cds_http_reply(req, 409, "text/plain", "no", 2);
}

static void an_early_answer_goes_out_behind_the_body(void **state)
{
    static struct rig rig;
    uint64_t sum;
    char *body = body_of(BODY, &sum), head[128];
    rig_open_with(&rig, &wide, stream, answer_early);
    int fd = rig_connect(&rig);
    snprintf(head, sizeof(head), "PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", BODY);
    rig_say(&rig, fd, head);
    rig_send(&rig, fd, body, BODY);
    rig_read(&rig, fd, NULL);
    assert_true(rig_has(&rig, "HTTP/1.1 409 "));
    assert_int_equal(rig.calls, 1);
    close(fd);
    rig_close(&rig);
    free(body);
}

/* ---- through sockets of the caller ---- */
struct pair {
    struct rig front; /* first */
    struct rig *back;
    struct cds_http_client *client;
    int socket;
    unsigned opened, closed, failed;
};

static bool pass_in(void *user, const char *name, const char *value, struct cds_buf *changed)
{
    if (!strcasecmp(name, "X-Change"))
        cds_buf_add_str(changed, "changed");
    return strcasecmp(name, "X-Secret") != 0;
}

static void more(void *user, void (*add)(void *list, const char *name, const char *value), void *list)
{
    add(list, "Host", "localhost:1");
    add(list, "X-More", "1");
}

static bool pass_back(void *user, const char *name, const char *value, struct cds_buf *changed)
{
    return strcasecmp(name, "X-Internal") != 0;
}

static void own_words(void *user, struct cds_http_req *req, const struct cds_err *err)
{
    ((struct pair *)user)->failed++;
    cds_http_reply(req, 502, "text/plain", "own words", 9);
}

static int open_socket(void *user)
{
    struct pair *pair = user;
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(pair->back->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct pollfd wait = {.fd = pair->socket, .events = POLLOUT};
    if (connect(pair->socket, (const struct sockaddr *)&there, sizeof(there)) && errno != EINPROGRESS)
        return -1;
    if (poll(&wait, 1, RIG_WAIT_MS) != 1 || (wait.revents & POLLERR))
        return -1;
    pair->opened++;
    return pair->socket;
}

static int close_socket(void *user, int fd)
{
    struct pair *pair = user;
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    pair->closed++;
    assert_int_equal(fd, pair->socket);
    assert_int_equal(connect(fd, &nobody, sizeof(nobody)), 0);
    return 0;
}

static void forward(void *user, struct cds_http_req *req)
{
    static const struct cds_http_behind_rules rules = {
        .pass_in = pass_in, .more = more, .pass_back = pass_back, .fail = own_words, .socket_open = open_socket, .socket_close = close_socket};
    struct pair *pair = user;
    const struct cds_http_behind behind = {.part = "the part",
                                           .address = "127.0.0.1",
                                           .port = pair->back->port,
                                           .deadline_ms = cds_now_ms() + RIG_WAIT_MS,
                                           .idle_ms = 60000,
                                           .buffer_max = 65536,
                                           .rules = &rules,
                                           .user = pair,
                                           .socket_user = pair};
    pair->front.calls++;
    cds_http_set_user(req, &pair->front, rig_gone, rig_done);
    if (cds_http_wants_ws(req))
        cds_http_tunnel_behind(req, pair->front.loop, &behind);
    else
        cds_http_proxy_behind(req, pair->client, &behind);
}

static void open_pair(struct pair *pair, cds_http_handler_fn *handler)
{
    memset(pair, 0, sizeof(*pair));
    rig_open_with(&pair->front, &wide, stream, forward);
    pair->back = calloc(1, sizeof(*pair->back));
    assert_non_null(pair->back);
    pair->back->loop = pair->front.loop;
    int fd = rig_listen(&pair->back->port);
    assert_int_equal(cds_http_server_new(pair->back->loop, fd, &wide, NULL, handler, pair->back, &pair->back->server, NULL), CDS_OK);
    assert_int_equal(cds_http_client_new(pair->front.loop, &pair->client, NULL), CDS_OK);
    pair->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static void close_pair(struct pair *pair)
{
    cds_http_server_free(&pair->front.server);
    cds_http_client_free(&pair->client);
    cds_http_server_free(&pair->back->server);
    free(pair->back);
    cds_loop_free(&pair->front.loop);
    close(pair->socket);
}

static void part(void *user, struct cds_http_req *req)
{
    struct rig *rig = user;
    size_t len;
    const char *body = cds_http_body(req, &len), *secret = cds_http_header(req, "X-Secret"), *change = cds_http_header(req, "X-Change");
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += (unsigned char)body[i];
    rig->calls++;
    snprintf(rig->seen, sizeof(rig->seen), "%s host=%s more=%s secret=%s change=%s hop=%s %zu %llu", cds_http_method(req),
             cds_http_header(req, "Host"), cds_http_header(req, "X-More"), secret ? secret : "-", change ? change : "-",
             cds_http_header(req, "X-Hop") ? "passed" : "-", len, (unsigned long long)sum);
    cds_http_add_header(req, "X-Internal", "secret");
    cds_http_add_header(req, "X-Other", "kept");
    cds_http_reply(req, 200, "text/plain", "made", 4);
}

static void one_socket_serves_one_request_after_the_other_by_the_rules_of_its_owner(void **state)
{
    static struct pair pair;
    char wanted[160], head[200];
    uint64_t sum;
    char *body = body_of(BODY, &sum);
    open_pair(&pair, part);
    for (unsigned i = 1; i <= 3; i++) {
        int fd = rig_connect(&pair.front);
        snprintf(head, sizeof(head),
                 "POST /x HTTP/1.1\r\nHost: t\r\nX-Secret: s\r\nX-Change: old\r\nX-Hop: 1\r\nContent-Length: %d\r\nConnection: close, x-hop\r\n\r\n",
                 BODY);
        rig_say(&pair.front, fd, head);
        rig_send(&pair.front, fd, body, BODY);
        rig_read(&pair.front, fd, NULL);
        close(fd);
        assert_true(rig_has(&pair.front, "HTTP/1.1 200 ") && rig_has(&pair.front, "X-Other: kept") && !rig_has(&pair.front, "X-Internal"));
        snprintf(wanted, sizeof(wanted), "POST host=localhost:1 more=1 secret=- change=changed hop=- %d %llu", BODY, (unsigned long long)sum);
        assert_string_equal(pair.back->seen, wanted);
        RIG_UNTIL(&pair.front, pair.front.done == i && pair.closed == i);
        assert_int_equal(pair.opened, i);
    }
    free(body);
    close_pair(&pair);
}

static void a_part_that_is_gone_is_told_in_the_words_of_the_rules_and_a_client_that_leaves_frees_the_socket(void **state)
{
    static struct pair pair;
    open_pair(&pair, rig_keep);
    int fd = rig_connect(&pair.front);
    rig_say(&pair.front, fd, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    RIG_UNTIL(&pair.front, pair.back->calls == 1);
    assert_int_equal(pair.closed, 0);
    close(fd);
    RIG_UNTIL(&pair.front, pair.closed == 1 && pair.front.gone == 1);
    uint16_t port = pair.back->port;
    pair.back->port = 1; /* nobody listens there */
    rig_ask(&pair.front, RIG_GET("/"));
    assert_true(rig_has(&pair.front, "HTTP/1.1 502 ") && rig_has(&pair.front, "own words"));
    assert_int_equal(pair.failed, 1);
    assert_int_equal(pair.closed, pair.opened);
    pair.back->port = port;
    close_pair(&pair);
}

static void refuse_upgrade(void *user, struct cds_http_req *req)
{
    struct rig *rig = user;
    rig->calls++;
    const char *secret = cds_http_header(req, "X-Secret");
    snprintf(rig->seen, sizeof(rig->seen), "%s %s %s", cds_http_header(req, "Host"), secret ? secret : "-",
             cds_http_header(req, "Sec-WebSocket-Key"));
    cds_http_reply(req, 403, "text/plain", "not you", 7);
}

static void a_tunnel_uses_the_socket_and_the_rules_too(void **state)
{
    static struct pair pair;
    open_pair(&pair, refuse_upgrade);
    int fd = rig_connect(&pair.front);
    rig_say(&pair.front, fd,
            "GET /ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Secret: s\r\n\r\n");
    assert_true(rig_read(&pair.front, fd, "not you"));
    assert_true(rig_has(&pair.front, "HTTP/1.1 403 "));
    close(fd);
    assert_string_equal(pair.back->seen, "localhost:1 - dGhlIHNhbXBsZSBub25jZQ==");
    assert_int_equal(pair.opened, 1);
    assert_int_equal(pair.closed, 1);
    close_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_comes_piece_by_piece_and_never_lies_in_memory),
        cmocka_unit_test(a_client_that_stops_in_the_middle_of_a_streamed_body_is_cut_off),
        cmocka_unit_test(an_early_answer_goes_out_behind_the_body),
        cmocka_unit_test(one_socket_serves_one_request_after_the_other_by_the_rules_of_its_owner),
        cmocka_unit_test(a_part_that_is_gone_is_told_in_the_words_of_the_rules_and_a_client_that_leaves_frees_the_socket),
        cmocka_unit_test(a_tunnel_uses_the_socket_and_the_rules_too),
    };
    return RUN_ALL(tests);
}
