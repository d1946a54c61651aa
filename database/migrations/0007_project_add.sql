-- Projects are added one at a time per user, so that the ceiling holds whatever runs at once.

-- code: 1 made, 2 the user has one of this name, 3 the user has p_most already, 0 there is no such user.
CREATE FUNCTION project_add(p_user uuid, p_id uuid, p_name text, p_template text, p_most integer, OUT code integer, OUT made_at timestamptz)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    -- Each statement below sees what the one before us has committed; a single statement would count with a snapshot from before its wait.
    PERFORM 1 FROM users WHERE users.id = p_user FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        code := 0;
    ELSIF EXISTS (SELECT 1 FROM projects WHERE user_id = p_user AND name = p_name) THEN
        code := 2;
    ELSIF (SELECT count(*) FROM projects WHERE user_id = p_user) >= p_most THEN
        code := 3;
    ELSE
        INSERT INTO projects (user_id, id, name, template) VALUES (p_user, p_id, p_name, p_template) RETURNING created_at INTO made_at;
        code := 1;
    END IF;
END
$$;
