-- What was run in the sandboxes: one row for each run.exec, made when it starts and completed when it ends.
--
-- A row whose end is missing belongs to a run that goes on, or to one whose gateway died: run.history tells them apart by the run's own deadline.
-- api keeps the newest 500 of a project.

CREATE TABLE runs (
    user_id           uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    id                uuid NOT NULL,                     -- run id, UUIDv7, made by sandboxd: sorts by time
    project_id        uuid NOT NULL,
    request_id        uuid NOT NULL,
    engine            text NOT NULL,                     -- run, wasm, micro
    language          text NOT NULL,                     -- '' where the engine has none
    source            text NOT NULL,                     -- path in the project; '' for code that came with the call
    deadline_at       timestamptz NOT NULL,              -- when its wall clock limit ends it
    started_at        timestamptz NOT NULL DEFAULT now(),
    ended_at          timestamptz,
    end_state         text,                              -- as in schemas/rpc/run.exec.json
    backend           text,
    boundary          text,
    exit_code         int,
    signo             int,
    wall_ms           bigint CHECK (wall_ms >= 0),
    cpu_ms            bigint CHECK (cpu_ms >= 0),
    peak_memory_bytes bigint CHECK (peak_memory_bytes >= 0),
    PRIMARY KEY (user_id, id),
    CHECK ((ended_at IS NULL) = (end_state IS NULL))
);
CREATE INDEX runs_of_project ON runs (user_id, project_id, id DESC);
