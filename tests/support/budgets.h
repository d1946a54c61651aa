/* tests/support/budgets.h: monthly token limits of users and keys, as most tests of the ledger want them.
 *
 * TEST_BUDGETS makes views on the windows of such policies, which can be changed as if they were tables; TEST_NOTHING empties everything.
 */
#pragma once

#define TEST_MONTHS(scope, id)                                                                                                                       \
    "SELECT (SELECT p." id " FROM budget_policies p WHERE p.id = w.policy) AS " id ", (w.starts_at AT TIME ZONE 'UTC')::date AS period, w.lim,"      \
    " w.used, w.held, w.counted_when_set FROM budget_windows w WHERE w.policy IN (SELECT id FROM budget_policies p WHERE p.scope = '" scope          \
    "' AND p.unit = 1 AND p.span = 'month')"
#define TEST_BUDGETS "CREATE VIEW budget_user AS " TEST_MONTHS("user", "user_id") "; CREATE VIEW budget_key AS " TEST_MONTHS("key", "key_id") ";"
#define TEST_NOTHING                                                                                                                                 \
    "DELETE FROM users; DELETE FROM model_prices; DELETE FROM budget_policies; DELETE FROM budget_windows; DELETE FROM budget_grants;"               \
    " DELETE FROM budget_warnings; DELETE FROM llm_requests; DELETE FROM token_ledger;"
/** An account without a limit, and a key of one. */
#define TEST_USER(user, mail) "INSERT INTO users (id, email, password_hash, role) VALUES ('" user "', '" mail "', '-', 'developer');"
#define TEST_KEY(user, key) "INSERT INTO api_keys (user_id, id, name, hash) VALUES ('" user "', '" key "', 'k', 'h');"
/** Per token, in whole micro-credits. */
#define TEST_PRICE(model, in, cached, out)                                                                                                           \
    "INSERT INTO model_prices (model, price_input, price_cached, price_output) VALUES ('" model "', " in " * 1000000, " cached " * 1000000, " out    \
    " * 1000000);"
#define TEST_USER_MONTH(user, tokens) "SELECT budget_begin('user', '" user "', NULL, " tokens ", NULL);"
#define TEST_KEY_MONTH(user, key, tokens) "SELECT budget_begin('key', '" user "', '" key "', " tokens ", NULL);"
