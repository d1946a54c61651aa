-- The names that older texts use, as views.

CREATE VIEW tokens_used AS
    SELECT user_id, period, used AS tokens, held, lim FROM budget_user;

CREATE VIEW token_usage AS
    SELECT user_id, (created_at AT TIME ZONE 'UTC')::date AS day, model, count(*) AS requests, sum(n_in) AS prompt_tokens,
           sum(n_cached) AS cached_tokens, sum(n_out) AS completion_tokens, sum(cost_micro) AS cost_micro
    FROM token_ledger GROUP BY 1, 2, 3;

CREATE VIEW model_usage AS
    SELECT model, (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS requests, sum(n_in) AS prompt_tokens,
           sum(n_cached) AS cached_tokens, sum(n_out) AS completion_tokens, sum(cost_micro) AS cost_micro
    FROM token_ledger GROUP BY 1, 2;
