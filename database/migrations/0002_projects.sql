-- Projects: the row names the owner, the folder <home>/projects/<id> holds the files.

CREATE TABLE projects (
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    id         uuid NOT NULL UNIQUE,                     -- UUIDv7, made by api; names the folder
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    template   text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, id),
    UNIQUE (user_id, name)
);
