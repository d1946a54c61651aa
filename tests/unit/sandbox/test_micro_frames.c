/* What the host believes of a microVM: each broken rule ends the connection with its sentence. */
#include "sandbox/micro_frames.h"
#include "tests/support/test.h"

static struct micro_decoder d;
static char heard[64];

static bool on_frame(void *user, enum micro_type type, uint32_t id, const char *payload, size_t len)
{
    char one[8];
    snprintf(one, sizeof(one), "%u ", type);
    strncat(heard, one, sizeof(heard) - strlen(heard) - 1);
    return true;
}

static void begin(bool ready)
{
    micro_decoder_init(&d, ready);
    d.job = 1;
    d.output_max = 100;
    heard[0] = '\0';
}

static bool feed(unsigned type, uint32_t id, const void *payload, size_t len)
{
    struct cds_buf b = cds_buf_init(70000);
    micro_frame_add(&b, (enum micro_type)type, 0, id, payload, len);
    bool good = micro_decode(&d, b.data, b.len, on_frame, NULL);
    cds_buf_free(&b);
    return good;
}

static const struct micro_ready ready = {MICRO_VERSION, 0};
static const struct micro_exit end = {.code = 0};

static void a_job_in_order_is_heard_frame_by_frame_also_in_single_bytes(void **state)
{
    struct cds_buf b = cds_buf_init(70000);
    begin(false);
    micro_frame_add(&b, MICRO_READY, 0, 0, &ready, sizeof(ready));
    micro_frame_add(&b, MICRO_STARTED, 0, 1, NULL, 0);
    micro_frame_add(&b, MICRO_OUT, 0, 1, "3\n", 2);
    micro_frame_add(&b, MICRO_EXIT, 0, 1, &end, sizeof(end));
    for (size_t i = 0; i < b.len; i++)
        assert_true(micro_decode(&d, b.data + i, 1, on_frame, NULL));
    assert_string_equal(heard, "64 65 66 68 ");
    cds_buf_free(&b);
}

static void a_length_of_four_gib_is_refused_before_a_byte_of_it_is_taken(void **state)
{
    const struct micro_header h = {.len = UINT32_MAX, .type = MICRO_OUT, .id = 1};
    begin(true);
    assert_true(feed(MICRO_STARTED, 1, NULL, 0));
    assert_false(micro_decode(&d, (const char *)&h, sizeof(h), on_frame, NULL));
    assert_non_null(strstr(d.broken, "protocol: a length"));
}

static void each_broken_rule_ends_it_for_good(void **state)
{
    static const char many[101];
    static const struct {
        unsigned type;
        uint32_t id;
        const void *payload;
        size_t len;
        const char *rule;
        bool after_exit;
    } rows[] = {
        {99, 1, NULL, 0, "no such type", false},
        {MICRO_SEED, 1, NULL, 0, "no such type", false},
        {MICRO_READY, 0, &ready, sizeof(ready), "READY twice", false},
        {MICRO_STARTED, 1, NULL, 0, "STARTED", false},
        {MICRO_OUT, 2, "x", 1, "another id", false},
        {MICRO_OUT, 1, NULL, 0, "a length", false},
        {MICRO_OUT, 1, many, sizeof(many), "more output", false},
        {MICRO_EXIT, 1, "short", 5, "a length", false},
        {MICRO_PONG, 7, NULL, 0, "nobody asked", false},
        {MICRO_EXIT, 1, &end, sizeof(end), "after EXIT", true},
        {MICRO_OUT, 1, "late", 4, "after EXIT", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        begin(true);
        assert_true(feed(MICRO_STARTED, 1, NULL, 0));
        if (rows[i].after_exit)
            assert_true(feed(MICRO_EXIT, 1, &end, sizeof(end)));
        assert_false(feed(rows[i].type, rows[i].id, rows[i].payload, rows[i].len));
        assert_non_null(strstr(d.broken, rows[i].rule));
        heard[0] = '\0';
        assert_false(feed(MICRO_EXIT, 1, &end, sizeof(end)));
        assert_string_equal(heard, "");
    }
}

/* ---- files that return ---- */
static bool feed_back(unsigned kind, uint32_t size, const char *path, int wrong_len)
{
    char frame[sizeof(struct micro_back) + 16];
    const struct micro_back b = {.size = size, .path_len = (uint16_t)(strlen(path) + (size_t)wrong_len), .kind = (uint8_t)kind};
    memcpy(frame, &b, sizeof(b));
    memcpy(frame + sizeof(b), path, strlen(path));
    return feed(MICRO_BACK, 1, frame, sizeof(b) + strlen(path));
}

static bool feed_back_end(uint32_t entries)
{
    const struct micro_back_end e = {.entries = entries};
    return feed(MICRO_BACK_END, 1, &e, sizeof(e));
}

static void begin_back(void)
{
    begin(true);
    d.back = true;
    assert_true(feed(MICRO_STARTED, 1, NULL, 0));
    assert_true(feed(MICRO_EXIT, 1, &end, sizeof(end)));
}

static void files_return_after_exit_and_nothing_after_their_end(void **state)
{
    begin_back();
    assert_true(feed_back(MICRO_BACK_GONE, 0, "a", 0));
    assert_true(feed_back(MICRO_BACK_FILE, 3, "b", 0));
    assert_true(feed(MICRO_BACK_DATA, 1, "xy", 2));
    assert_true(feed(MICRO_BACK_DATA, 1, "z", 1));
    assert_true(feed_back_end(2));
    assert_string_equal(heard, "65 68 74 74 75 75 76 ");
    assert_false(feed_back_end(2));
    assert_non_null(strstr(d.broken, "after EXIT"));
}

static void files_that_return_against_a_rule_end_it(void **state)
{
    begin_back();
    assert_false(feed(MICRO_OUT, 1, "late", 4)); /* output, and any other frame than theirs */
    begin_back();
    assert_false(feed(MICRO_EXIT, 1, &end, sizeof(end)));
    begin_back();
    assert_false(feed_back(99, 0, "a", 0));
    begin_back();
    assert_false(feed_back(0, 0, "a", 0));
    begin_back();
    assert_false(feed_back(MICRO_BACK_FILE, MICRO_BACK_FILE_MAX + 1, "a", 0));
    begin_back();
    assert_false(feed_back(MICRO_BACK_LINK, 1, "a", 0)); /* data of what has none */
    begin_back();
    assert_false(feed_back(MICRO_BACK_FILE, 0, "a", 1));
    begin_back();
    assert_false(feed(MICRO_BACK_DATA, 1, "x", 1));
    begin_back();
    assert_true(feed_back(MICRO_BACK_FILE, 2, "a", 0));
    assert_false(feed(MICRO_BACK_DATA, 1, "xyz", 3));
    begin_back();
    assert_true(feed_back(MICRO_BACK_FILE, 2, "a", 0));
    assert_false(feed_back_end(1)); /* in the middle of a file */
    begin_back();
    assert_true(feed_back(MICRO_BACK_FILE, 2, "a", 0));
    assert_false(feed_back(MICRO_BACK_FILE, 2, "b", 0));
    begin_back();
    assert_false(feed_back_end(1)); /* another number than came */
    begin(true);                    /* before EXIT */
    d.back = true;
    assert_true(feed(MICRO_STARTED, 1, NULL, 0));
    assert_false(feed_back(MICRO_BACK_FILE, 0, "a", 0));
    begin(true); /* not asked for */
    assert_true(feed(MICRO_STARTED, 1, NULL, 0));
    assert_true(feed(MICRO_EXIT, 1, &end, sizeof(end)));
    assert_false(feed_back_end(0));
}

static void more_files_or_bytes_than_may_return_end_it(void **state)
{
    static const char block[MICRO_PAYLOAD_MAX];
    begin_back();
    for (int i = 0; i < MICRO_BACK_FILES; i++)
        assert_true(feed_back(MICRO_BACK_FOLDER, 0, "a", 0));
    assert_false(feed_back(MICRO_BACK_FOLDER, 0, "a", 0));
    begin_back();
    for (int i = 0; i < MICRO_BACK_BYTES / MICRO_BACK_FILE_MAX; i++) {
        assert_true(feed_back(MICRO_BACK_FILE, MICRO_BACK_FILE_MAX, "a", 0));
        for (int k = 0; k < MICRO_BACK_FILE_MAX / MICRO_PAYLOAD_MAX; k++)
            assert_true(feed(MICRO_BACK_DATA, 1, block, sizeof(block)));
    }
    assert_false(feed_back(MICRO_BACK_FILE, 1, "a", 0));
    assert_non_null(strstr(d.broken, "more files"));
}

static void bytes_that_come_in_one_piece_with_the_last_frame_are_seen(void **state)
{
    struct cds_buf b = cds_buf_init(70000);
    begin(true);
    assert_true(feed(MICRO_STARTED, 1, NULL, 0));
    heard[0] = '\0';
    for (int i = 0; i < 2; i++)
        micro_frame_add(&b, MICRO_EXIT, 0, 1, &end, sizeof(end));
    assert_false(micro_decode(&d, b.data, b.len, on_frame, NULL));
    assert_non_null(strstr(d.broken, "after the last frame"));
    assert_string_equal(heard, "");
    cds_buf_free(&b);
}

static void nothing_is_believed_before_ready_and_another_version_is_refused(void **state)
{
    const struct micro_ready other = {MICRO_VERSION + 1, 0};
    begin(false);
    assert_false(feed(MICRO_STARTED, 1, NULL, 0));
    begin(false);
    assert_false(feed(MICRO_READY, 0, &other, sizeof(other)));
    begin(false);
    assert_true(feed(MICRO_FAILED, 0, "mount: No such device", 21)); /* a machine that cannot get ready may say so */
}

static void output_without_a_job_is_refused(void **state)
{
    begin(true);
    d.job = 0;
    assert_false(feed(MICRO_STARTED, 0, NULL, 0));
}

static void a_long_file_travels_in_pieces_that_fit(void **state)
{
    struct cds_buf b = cds_buf_init(400000);
    static char data[200000];
    size_t frames = 0, sum = 0;
    assert_int_equal(micro_frame_add_file(&b, MICRO_FILE_WORK, 0, "a/b.txt", data, sizeof(data)), CDS_OK);
    for (size_t at = 0; at < b.len;) {
        struct micro_header h;
        memcpy(&h, b.data + at, sizeof(h));
        assert_true(h.len <= MICRO_PAYLOAD_MAX);
        assert_int_equal(h.flags, MICRO_FILE_WORK | (frames ? MICRO_FILE_MORE : 0));
        at += sizeof(h) + h.len;
        sum += h.len - 2 - strlen("a/b.txt");
        frames++;
    }
    assert_int_equal(frames, 4);
    assert_int_equal(sum, sizeof(data));
    cds_buf_free(&b);
}

static void exec_has_a_ceiling_of_strings_and_of_bytes(void **state)
{
    struct cds_buf b = cds_buf_init(8 << 20);
    const char *many[MICRO_STRINGS_MAX + 1];
    char *big = calloc(1, MICRO_EXEC_MAX + 1);
    memset(big, 'x', MICRO_EXEC_MAX);
    for (size_t i = 0; i <= MICRO_STRINGS_MAX; i++)
        many[i] = "x";
    const struct micro_exec e = {0};
    assert_int_equal(micro_frame_add_exec(&b, 1, e, many, MICRO_STRINGS_MAX, NULL, 0), CDS_OK);
    assert_int_equal(micro_frame_add_exec(&b, 1, e, many, MICRO_STRINGS_MAX + 1, NULL, 0), CDS_TOO_LARGE);
    many[0] = big;
    assert_int_equal(micro_frame_add_exec(&b, 1, e, many, 1, NULL, 0), CDS_TOO_LARGE);
    free(big);
    cds_buf_free(&b);
}

static void two_seeds_are_never_the_same(void **state)
{
    struct cds_buf a = cds_buf_init(128), b = cds_buf_init(128);
    assert_int_equal(micro_frame_add_seed(&a), CDS_OK);
    assert_int_equal(micro_frame_add_seed(&b), CDS_OK);
    assert_int_equal(a.len, sizeof(struct micro_header) + sizeof(struct micro_seed));
    assert_memory_not_equal(a.data + a.len - MICRO_SEED_BYTES, b.data + b.len - MICRO_SEED_BYTES, MICRO_SEED_BYTES);
    cds_buf_free(&a);
    cds_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_in_order_is_heard_frame_by_frame_also_in_single_bytes),
        cmocka_unit_test(a_length_of_four_gib_is_refused_before_a_byte_of_it_is_taken),
        cmocka_unit_test(each_broken_rule_ends_it_for_good),
        cmocka_unit_test(files_return_after_exit_and_nothing_after_their_end),
        cmocka_unit_test(files_that_return_against_a_rule_end_it),
        cmocka_unit_test(more_files_or_bytes_than_may_return_end_it),
        cmocka_unit_test(bytes_that_come_in_one_piece_with_the_last_frame_are_seen),
        cmocka_unit_test(nothing_is_believed_before_ready_and_another_version_is_refused),
        cmocka_unit_test(output_without_a_job_is_refused),
        cmocka_unit_test(a_long_file_travels_in_pieces_that_fit),
        cmocka_unit_test(exec_has_a_ceiling_of_strings_and_of_bytes),
        cmocka_unit_test(two_seeds_are_never_the_same),
    };
    return RUN_ALL(tests);
}
