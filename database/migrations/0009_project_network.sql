-- What a project may reach from its runs and terminals (docs/adr/0034-egress.md). No row: nothing.

CREATE TABLE project_network (
    project_id uuid PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    mode       text NOT NULL CHECK (mode IN ('off', 'allow')),
    rules      jsonb NOT NULL CHECK (jsonb_typeof(rules) = 'array' AND jsonb_array_length(rules) <= 64),
    updated_at timestamptz NOT NULL DEFAULT now()
);
