/* A database of an earlier release, with people, keys, prices, bookings and a hold that is open, brought to this one: nothing is lost, and what
 * counts goes on counting. A release that is over is a number below: the last migration that it had. */
#include "tests/support/test.h"

#include <stdlib.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/db/migrate.h"
#include "tests/support/books.h"

#define ADMIN "00000000-0000-7000-8000-0000000000a0"
#define SPARE "00000000-0000-7000-8000-0000000000b2"
#define SESSION "00000000-0000-7000-8000-0000000000d1"
#define BOOKED "00000000-0000-7000-8000-000000000101"
#define OPEN "00000000-0000-7000-8000-000000000102"
#define BY_KEY "00000000-0000-7000-8000-000000000103"
#define MONTH "date_trunc('month', now() AT TIME ZONE 'UTC')::date"
#define HOLD(key, request, tokens) "SELECT reserve('" USER "', '" key "', '" request "', 'm', " MONTH ", " tokens ", '" NODE "', interval '1 hour');"

/** The migrations that the release had, in a folder of their own. */
static void migrate_to(int last)
{
    char dir[] = "/tmp/cds-upgrade-XXXXXX", command[600];
    struct cds_err err = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(command, sizeof(command), "for n in $(seq -f %%04g 1 %d); do cp " CDS_SOURCE_DIR "/database/migrations/${n}_*.sql %s || exit 1; done",
             last, dir);
    assert_int_equal(system(command), 0);
    if (cds_migrate(books.db, dir, NULL, NULL, &err))
        fail_msg("%s %s", err.message, err.detail);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

/* The release with sessions, keys without rights of their own and budgets by the month. */
static void books_of_the_release_with_monthly_budgets_go_on(void **state)
{
    test_early_in_the_hour(); /* a month may end with it */
    migrate_to(9);
    books_run("INSERT INTO users (id, email, password_hash, role) VALUES ('" ADMIN "', 'a@x.org', '$2b$12$a', 'admin');"
              "INSERT INTO users (id, email, password_hash, role, month_tokens_limit) VALUES ('" USER "', 'u@x.org', '$2b$12$u', 'developer', 1000);"
              "INSERT INTO sessions (id, user_id, token_version, expires_at) VALUES ('" SESSION "', '" USER "', 1, now() + interval '1 day');"
              "INSERT INTO api_keys (user_id, id, name, hash, month_tokens_limit) VALUES ('" USER "', '" KEY "', '', 'h1', 300), ('" USER "', '" SPARE
              "', 'spare', 'h2', NULL);"
              "INSERT INTO models (id, price_in, price_cached, price_out) VALUES ('m', 10, 1, 100);" HOLD(NO_KEY, BOOKED, "100")
                  HOLD(NO_KEY, OPEN, "200") HOLD(KEY, BY_KEY, "100") "SELECT settle_many('{" USER "," USER "}', '{" NO_KEY "," KEY "}', '{" BOOKED
                                                                     "," BY_KEY "}', '{m,m}', ARRAY[" MONTH ", " MONTH
                                                                     "], '{30,5}', '{10,0}', '{20,5}', '{stop,stop}', '" NODE "');");
    test_pg_migrate(&books.pg);
    test_books(books.db);
    assert_int_equal(books_number("SELECT count(*) FROM users WHERE status = 'active' AND password_hash LIKE '$2b$12$_'"), 2);
    assert_int_equal(books_number("SELECT count(*) FROM sessions WHERE id = '" SESSION "' AND revoked_at IS NULL"), 1);
    assert_string_equal(books_get("SELECT string_agg(name || ' ' || hash, ', ' ORDER BY hash) FROM api_keys"), "- h1, spare h2");
    /* 20 x 10 + 10 x 1 + 20 x 100, and 5 x 10 + 5 x 100: as they were booked. */
    assert_int_equal(books_number("SELECT sum(cost_micro) FROM token_ledger"), 2210 + 550);
    assert_string_equal(books_get("SELECT string_agg(scope || ' ' || lim || ' ' || used || ' ' || held, ', ' ORDER BY scope) FROM budget_usage"),
                        "key 300 10 0, user 1000 60 200");

    /* The hold that was open is booked at the price of its admission, and the limits are where they were. */
    books_run("SELECT settle_many('{" USER "}', '{" NO_KEY "}', '{" OPEN "}', '{m}', ARRAY[now()], '{100}', '{0}', '{40}', '{stop}', '" NODE "')");
    assert_int_equal(books_number("SELECT cost_micro FROM token_ledger WHERE request_id = '" OPEN "'"), 100 * 10 + 40 * 100);
    assert_int_equal(
        books_number("SELECT code FROM reserve('" USER "', '" NO_KEY "', gen_random_uuid(), 'm', now(), 801, '" NODE "', interval '1 hour')"), 4);
    assert_int_equal(
        books_number("SELECT code FROM reserve('" USER "', '" KEY "', gen_random_uuid(), 'm', now(), 291, '" NODE "', interval '1 hour')"), 3);
    assert_int_equal(
        books_number("SELECT code FROM reserve('" USER "', '" KEY "', gen_random_uuid(), 'm', now(), 290, '" NODE "', interval '1 hour')"), 1);
    assert_int_equal(
        books_number("SELECT code FROM reserve('" USER "', '" NO_KEY "', gen_random_uuid(), 'm', now(), 510, '" NODE "', interval '1 hour')"), 1);
    test_books(books.db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(books_of_the_release_with_monthly_budgets_go_on)};
    return cmocka_run_group_tests(tests, books_open_empty, books_close);
}
