-- Ids of requests are UUIDs of version 7, so the primary key (user_id, id) gives the newest of a user first. The index by time of admission gave the same
-- order and was written twice for each request, when it was held and when it was booked.
DROP INDEX llm_requests_recent;
