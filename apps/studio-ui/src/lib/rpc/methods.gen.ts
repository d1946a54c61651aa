// Made by tools/gen_rpc from schemas/rpc; edit those files instead.
/* eslint-disable */

/** Parameters of audit.export: Lines of the audit log as they are hashed, oldest first: SHA-256 of prev (32 bytes) and text (UTF-8) is hash, and the next line's prev. */
export type AuditExportParams = {
  /** Only lines with higher numbers */
  after?: number;
  /** Lines; 500 without it */
  limit?: number;
};
/** Result of audit.export. */
export type AuditExportResult = {
  lines: {
    /** Number of the line */
    seq: number;
    /** Hash of the line before; zeros for the first */
    prev: string;
    /** What is hashed: a JSON array of number, microseconds since 1970, phase, source, actor, key, action, request id, detail */
    text: string;
    /** SHA-256 of prev and text */
    hash: string;
  }[];
  head: {
    /** Number of the newest line */
    seq: number;
    /** Its hash: keep it elsewhere, and a chain that was made anew is found out */
    hash: string;
  };
  /** null: these were the last */
  next_after: number | null;
};

/** Parameters of audit.list: The audit log, newest line first: what was done with the rights of an admin, by whom, and what changed. */
export type AuditListParams = {
  /** Only lines with lower numbers: next_before of the last answer */
  before?: number;
  /** Lines; 50 without it */
  limit?: number;
  /** Only acts of this user */
  actor?: string;
  /** Only what begins so: "user.", "users update" */
  action?: string;
};
/** Result of audit.list. */
export type AuditListResult = {
  lines: {
    /** Number of the line */
    seq: number;
    /** When, UTC */
    at: string;
    /** begin: before an act; end: what came of it; change: a row of rights, prices or keys; seal: a day of the ledger */
    phase: "begin" | "end" | "change" | "seal";
    /** Process that wrote it, or the database role of a change */
    source: string;
    /** User who acted; null: the command line, or a change, whose act names the actor */
    actor: string | null;
    /** Address of that user now; null: forgotten, or nobody */
    actor_name: string | null;
    /** API key that was used */
    actor_key: string | null;
    /** Method, command, or table and kind of change */
    action: string;
    /** Request id; begin and end have the same */
    request_id: string | null;
    /** JSON: parameters, end, before and after. Addresses and secrets are not kept */
    detail: string;
  }[];
  /** null: there are no older ones */
  next_before: number | null;
};

/** Parameters of budget.check: Would a request be let in now, and what could it cost? Nothing is held. */
export type BudgetCheckParams = {
  /** Model id */
  model: string;
  /** Tokens of the prompt */
  prompt_tokens: number;
  /** Longest answer; 256 without it */
  max_tokens?: number;
  /** Of whom; the caller without it */
  user_id?: string;
  /** With which of the user's API keys */
  key_id?: string;
};
/** Result of budget.check. */
export type BudgetCheckResult = {
  /** The prompt and the first part of an answer fit */
  admitted: boolean;
  /** The longest answer fits too */
  complete: boolean;
  /** What the first hold takes */
  held_tokens: number;
  /** Prompt and longest answer */
  tokens_at_most: number;
  /** When nothing is answered, micro-credits */
  cost_at_least: number;
  /** With the longest answer, micro-credits */
  cost_at_most: number;
  price: {
    /** Prompt token, micro-credits per million tokens */
    input: number;
    /** Prompt token that was there already, micro-credits per million tokens */
    cached: number;
    /** Answer token, micro-credits per million tokens */
    output: number;
  };
  /** Limits that would refuse it */
  refused_by: {
    /** Limit id */
    policy: string;
    /** What it is about */
    scope: "global" | "user" | "key" | "model" | "user_model" | "key_model";
    /** What is counted */
    unit: "tokens" | "microcredits" | "requests";
    /** How long a window is */
    window: "hour" | "day" | "week" | "month" | "lifetime";
    /** Most in this window, grants included */
    limit: number;
    /** What is left */
    remaining: number;
    /** What the first hold takes */
    needs: number;
    /** What the longest answer would take */
    needs_at_most: number;
    /** End of the window, RFC 3339 UTC; null: it has none */
    resets_at: string | null;
  }[];
  /** Limits that the longest answer would pass */
  short_of: {
    /** Limit id */
    policy: string;
    /** What it is about */
    scope: "global" | "user" | "key" | "model" | "user_model" | "key_model";
    /** What is counted */
    unit: "tokens" | "microcredits" | "requests";
    /** How long a window is */
    window: "hour" | "day" | "week" | "month" | "lifetime";
    /** Most in this window, grants included */
    limit: number;
    /** What is left */
    remaining: number;
    /** What the first hold takes */
    needs: number;
    /** What the longest answer would take */
    needs_at_most: number;
    /** End of the window, RFC 3339 UTC; null: it has none */
    resets_at: string | null;
  }[];
};

/** Parameters of budget.grant: Gives or takes in the window of now of a limit, with a reason: a line of the ledger. The same call again changes nothing. */
export type BudgetGrantParams = {
  /** A new UUID; the same one again is the same grant */
  grant_id: string;
  /** Limit id */
  policy_id: string;
  /** To give, or (below 0) to take; not 0 */
  amount: number;
  /** Why */
  reason: string;
};
/** Result of budget.grant. */
export type BudgetGrantResult = {
  /** Id of the grant */
  grant_id: string;
  /** Limit id */
  policy_id: string;
  /** Given or taken */
  amount: number;
  /** Limit of the window with its grants */
  limit: number;
  /** Settled in this window */
  used: number;
  /** Held by running requests */
  held: number;
  /** true: it was made before; nothing changed now */
  again: boolean;
};

/** Parameters of budget.grants: What was given and taken, newest first. */
export type BudgetGrantsParams = {
  /** Only of this limit */
  policy_id?: string;
  /** Entries of one page; 50 without it */
  limit?: number;
  /** next_cursor of the page before */
  cursor?: string;
};
/** Result of budget.grants. */
export type BudgetGrantsResult = {
  grants: {
    /** Id of the grant */
    grant_id: string;
    /** Limit id */
    policy_id: string;
    /** What the limit is about */
    scope: "global" | "user" | "key" | "model" | "user_model" | "key_model";
    /** How long its windows are */
    window: "hour" | "day" | "week" | "month" | "lifetime";
    /** What is counted */
    unit: "tokens" | "microcredits" | "requests";
    /** Given, or (below 0) taken */
    amount: number;
    /** Why */
    reason: string;
    /** Who */
    actor_id: string;
    /** Email address */
    actor: string | null;
    /** When, RFC 3339 UTC */
    at: string;
  }[];
  /** For the next page; null: this is the last */
  next_cursor: string | null;
};

/** Parameters of budget.list: The limits that are set, with what counts in the window of now. */
export type BudgetListParams = {
  /** Only those about this */
  scope?: "global" | "user" | "key" | "model" | "user_model" | "key_model";
  /** Only those of this user and its keys */
  user_id?: string;
  /** Only those of this model */
  model?: string;
  /** Entries of one page; 50 without it */
  limit?: number;
  /** next_cursor of the page before */
  cursor?: string;
};
/** Result of budget.list. */
export type BudgetListResult = {
  policies: {
    /** Limit id */
    policy_id: string;
    /** What it is about */
    scope: "global" | "user" | "key" | "model" | "user_model" | "key_model";
    /** User */
    user_id: string | null;
    /** Email address */
    email: string | null;
    /** API key; of a rotated one: the first of its line */
    key_id: string | null;
    /** Name of the key */
    key_name: string | null;
    /** Model id */
    model: string | null;
    /** What is counted */
    unit: "tokens" | "microcredits" | "requests";
    /** How long a window is */
    window: "hour" | "day" | "week" | "month" | "lifetime";
    /** Time zone of its calendar */
    zone: string;
    /** Most in one window */
    limit: number;
    /** Percentages that are told */
    soft: number[];
    /** Given (taken: below 0) in this window */
    granted: number;
    /** Settled in this window */
    used: number;
    /** Held by running requests */
    held: number;
    /** limit + granted - used - held, never below 0 */
    remaining: number;
    /** Highest of its soft percentages that was passed; 0: none */
    passed: number;
    /** Start of the window of now, RFC 3339 UTC; null: it is the only one */
    starts_at: string | null;
    /** Its end; null: it has none */
    ends_at: string | null;
  }[];
  /** For the next page; null: this is the last */
  next_cursor: string | null;
};

/** Parameters of budget.remove: Removes a limit: from now on it refuses nothing. */
export type BudgetRemoveParams = {
  /** Limit id */
  policy_id: string;
};
/** Result of budget.remove. */
export type BudgetRemoveResult = {
  /** Limit id */
  policy_id: string;
  /** It is gone */
  removed: boolean;
};

/** Parameters of budget.self: The limits of the caller and of the caller's API keys, with what counts in the window of now. */
export type BudgetSelfParams = Record<string, never>;
/** Result of budget.self. */
export type BudgetSelfResult = {
  policies: {
    /** Limit id */
    policy_id: string;
    /** What it is about */
    scope: "global" | "user" | "key" | "model" | "user_model" | "key_model";
    /** User */
    user_id: string | null;
    /** Email address */
    email: string | null;
    /** API key; of a rotated one: the first of its line */
    key_id: string | null;
    /** Name of the key */
    key_name: string | null;
    /** Model id */
    model: string | null;
    /** What is counted */
    unit: "tokens" | "microcredits" | "requests";
    /** How long a window is */
    window: "hour" | "day" | "week" | "month" | "lifetime";
    /** Time zone of its calendar */
    zone: string;
    /** Most in one window */
    limit: number;
    /** Percentages that are told */
    soft: number[];
    /** Given (taken: below 0) in this window */
    granted: number;
    /** Settled in this window */
    used: number;
    /** Held by running requests */
    held: number;
    /** limit + granted - used - held, never below 0 */
    remaining: number;
    /** Highest of its soft percentages that was passed; 0: none */
    passed: number;
    /** Start of the window of now, RFC 3339 UTC; null: it is the only one */
    starts_at: string | null;
    /** Its end; null: it has none */
    ends_at: string | null;
  }[];
};

/** Parameters of budget.set: Sets the limit of a user, key, model, user and model, key and model, or of the studio, for one unit and window. */
export type BudgetSetParams = {
  /** What it is about; beside it user_id or email, key_id, model as its name says */
  scope: "global" | "user" | "key" | "model" | "user_model" | "key_model";
  /** User */
  user_id?: string;
  /** Email address */
  email?: string;
  /** API key */
  key_id?: string;
  /** Model id */
  model?: string;
  /** What is counted */
  unit: "tokens" | "microcredits" | "requests";
  /** How long a window is; weeks begin on Monday */
  window: "hour" | "day" | "week" | "month" | "lifetime";
  /** Time zone of its calendar, e.g. Europe/Berlin; UTC without it. Another one holds from the next window on */
  zone?: string;
  /** Most in one window; 0 lets nothing through */
  limit: number;
  /** Percent of the limit at which it is told; 50, 80, 95 without it */
  soft?: number[];
};
/** Result of budget.set. */
export type BudgetSetResult = {
  /** Limit id */
  policy_id: string;
  /** false: it was there and was changed */
  created: boolean;
};

/** Parameters of fs.create: Makes an empty file or a folder that does not exist yet. */
export type FsCreateParams = {
  /** Project id */
  project: string;
  /** Path relative to the project, '/' between parts */
  path: string;
  /** What to make */
  type: "file" | "dir";
};
/** Result of fs.create. */
export type FsCreateResult = {
  /** Path relative to the project, '/' between parts */
  path: string;
  /** What was made */
  type: "file" | "dir";
  /** Version of the content; changes with every write */
  version: string;
};

/** Parameters of fs.delete: Deletes a file or a folder. */
export type FsDeleteParams = {
  /** Project id */
  project: string;
  /** Path relative to the project, '/' between parts */
  path: string;
  /** Needed for a folder that is not empty */
  recursive?: boolean;
};
/** Result of fs.delete. */
export type FsDeleteResult = {
  /** Path relative to the project, '/' between parts */
  path: string;
};

/** Parameters of fs.list: Lists one folder of a project. */
export type FsListParams = {
  /** Project id */
  project: string;
  /** Folder relative to the project; empty: the project itself */
  path: string;
};
/** Result of fs.list. */
export type FsListResult = {
  /** The folder */
  path: string;
  /** Sorted by name; a folder with more is TOO_LARGE */
  entries: {
    /** Name without folder */
    name: string;
    /** Kind of entry; links, sockets and devices are 'other' */
    type: "file" | "dir" | "other";
    /** Length in bytes */
    size_bytes: number;
    /** Last change, milliseconds since 1970 UTC */
    modified_ms: number;
  }[];
};

/** Parameters of fs.read: Reads a file. */
export type FsReadParams = {
  /** Project id */
  project: string;
  /** Path relative to the project, '/' between parts */
  path: string;
};
/** Result of fs.read. */
export type FsReadResult = {
  /** Path relative to the project, '/' between parts */
  path: string;
  /** Text, or base64 when the bytes are not UTF-8 */
  content: string;
  /** How content is written */
  encoding: "utf-8" | "base64";
  /** Length in bytes */
  size_bytes: number;
  /** Version of the content; changes with every write */
  version: string;
};

/** Parameters of fs.rename: Renames or moves a file or folder inside the project; never replaces another one. */
export type FsRenameParams = {
  /** Project id */
  project: string;
  /** Present path */
  from: string;
  /** New path */
  to: string;
};
/** Result of fs.rename. */
export type FsRenameResult = {
  /** Former path */
  from: string;
  /** Present path */
  to: string;
};

/** Parameters of fs.stat: Facts about one file or folder. */
export type FsStatParams = {
  /** Project id */
  project: string;
  /** Path relative to the project; empty: the project itself */
  path: string;
};
/** Result of fs.stat. */
export type FsStatResult = {
  /** The path */
  path: string;
  /** Kind of entry; links, sockets and devices are 'other' */
  type: "file" | "dir" | "other";
  /** Length in bytes */
  size_bytes: number;
  /** Last change, milliseconds since 1970 UTC */
  modified_ms: number;
  /** Version of the content; changes with every write */
  version: string;
};

/** Parameters of fs.watch: Tells what changes in a project, in bundles, until it is cancelled with rpc.cancel or the socket closes. WebSocket only. */
export type FsWatchParams = {
  /** Project id */
  project: string;
};
/** Result of fs.watch. */
export type FsWatchResult = {
  /** It ended because it was cancelled */
  cancelled: boolean;
};

/** Parameters of fs.write: Writes a whole file, at most 524288 bytes. With if_version, only when the file still has that version. */
export type FsWriteParams = {
  /** Project id */
  project: string;
  /** Path relative to the project, '/' between parts */
  path: string;
  /** The new content */
  content: string;
  /** How content is written; utf-8 when absent */
  encoding?: "utf-8" | "base64";
  /** Version the caller has seen; empty: the file must not exist */
  if_version?: string;
};
/** Result of fs.write. */
export type FsWriteResult = {
  /** Path relative to the project, '/' between parts */
  path: string;
  /** Length in bytes */
  size_bytes: number;
  /** Version of the content; changes with every write */
  version: string;
};

/** Parameters of image.add: Makes a root image for microVMs of a file or a folder in a project: an archive as docker save writes it, an OCI layout in a tar, the tar of a root folder, or the folder itself. It is unpacked in the sandbox; one at a time. run.exec takes its name. */
export type ImageAddParams = {
  /** Name of the image */
  name: string;
  /** Project id */
  project: string;
  /** File or folder, relative to the project */
  path: string;
};
/** Result of image.add. */
export type ImageAddResult = {
  /** The image that was added */
  image: {
    /** Name; default is the one that came with the studio */
    name: string;
    /** SHA-256 of the image's file, hex; empty for default */
    digest: string;
    /** Bytes of the image's file */
    size_bytes: number;
    /** When it was added, milliseconds since 1970 UTC */
    added_ms: number;
    /** What it was made of */
    source: "archive" | "folder" | "registry" | "built_in";
    /** What runs in it: python for /usr/bin/python3, node for /usr/bin/node, sh for /bin/sh */
    languages: ("python" | "node" | "sh")[];
    /** Files, folders and links that were read for it */
    entries: number;
    /** Bytes of the files that were read for it */
    tree_bytes: number;
  };
};

/** Parameters of image.list: The root images that microVMs can start from: the studio's own, named default, and those that admins have added. */
export type ImageListParams = Record<string, never>;
/** Result of image.list. */
export type ImageListResult = {
  /** default first, the others by name */
  images: {
    /** Name; default is the one that came with the studio */
    name: string;
    /** SHA-256 of the image's file, hex; empty for default */
    digest: string;
    /** Bytes of the image's file */
    size_bytes: number;
    /** When it was added, milliseconds since 1970 UTC */
    added_ms: number;
    /** What it was made of */
    source: "archive" | "folder" | "registry" | "built_in";
    /** What runs in it: python for /usr/bin/python3, node for /usr/bin/node, sh for /bin/sh */
    languages: ("python" | "node" | "sh")[];
    /** Files, folders and links that were read for it */
    entries: number;
    /** Bytes of the files that were read for it */
    tree_bytes: number;
  }[];
};

/** Parameters of image.pull: Fetches an image from a registry and makes a root image for microVMs of it, where microsandbox (msb) works on this machine; elsewhere it is refused with the rule image.no_msb and the remedy. */
export type ImagePullParams = {
  /** Name of the image */
  name: string;
  /** As registries name it: debian:12, registry.example.org/owner/name:tag, name@sha256:... */
  reference: string;
};
/** Result of image.pull. */
export type ImagePullResult = {
  /** The image that was added */
  image: {
    /** Name; default is the one that came with the studio */
    name: string;
    /** SHA-256 of the image's file, hex; empty for default */
    digest: string;
    /** Bytes of the image's file */
    size_bytes: number;
    /** When it was added, milliseconds since 1970 UTC */
    added_ms: number;
    /** What it was made of */
    source: "archive" | "folder" | "registry" | "built_in";
    /** What runs in it: python for /usr/bin/python3, node for /usr/bin/node, sh for /bin/sh */
    languages: ("python" | "node" | "sh")[];
    /** Files, folders and links that were read for it */
    entries: number;
    /** Bytes of the files that were read for it */
    tree_bytes: number;
  };
};

/** Parameters of image.remove: Removes an image that was added. One that a run has at the moment stays. */
export type ImageRemoveParams = {
  /** Name of the image */
  name: string;
};
/** Result of image.remove. */
export type ImageRemoveResult = {
  /** Name of the image that is gone */
  name: string;
};

/** Parameters of key.create: Makes an API key of the caller; it is shown only in this answer. */
export type KeyCreateParams = {
  /** What it is for */
  name: string;
  /** At most the caller's own, which it is without this */
  role?: "viewer" | "developer" | "admin";
  /** Groups of methods it may call, and logs for /stream/logs; empty or absent: all */
  scopes?: ("fs" | "image" | "llm" | "logs" | "preview" | "project" | "run" | "rpc" | "sandbox" | "session" | "term" | "usage" | "user" | "budget" | "key" | "price" | "rate")[];
  /** Models it may use; empty or absent: all */
  models?: string[];
  /** Life in seconds; without it the key does not expire */
  expires_in_s?: number;
  /** Requests per minute */
  requests_per_minute?: number;
  /** Tokens per minute */
  tokens_per_minute?: number;
  /** Requests at the same time */
  concurrent_requests?: number;
  /** Tokens per calendar month, UTC; budget.set and budget.remove change it */
  month_tokens?: number;
};
/** Result of key.create. */
export type KeyCreateResult = {
  /** Key id */
  key_id: string;
  /** The key; it is shown only here */
  key: string;
  /** RFC 3339, UTC; null: it does not expire */
  expires_at: string | null;
};

/** Parameters of key.list: The API keys of the caller; an admin may name another user. */
export type KeyListParams = {
  /** Whose; the caller's without it */
  user_id?: string;
};
/** Result of key.list. */
export type KeyListResult = {
  keys: {
    /** Key id */
    key_id: string;
    /** What it is for */
    name: string;
    /** Role */
    role: "viewer" | "developer" | "admin";
    /** Groups of methods it may call; empty or absent: all */
    scopes: ("fs" | "image" | "llm" | "logs" | "preview" | "project" | "run" | "rpc" | "sandbox" | "session" | "term" | "usage" | "user" | "budget" | "key" | "price" | "rate")[];
    /** Models it may use; empty or absent: all */
    models: string[];
    /** Whether it works */
    state: "active" | "expired" | "revoked";
    /** RFC 3339, UTC */
    created_at: string;
    /** RFC 3339, UTC; null: never */
    expires_at: string | null;
    /** RFC 3339, UTC, to the minute; null: never */
    last_used_at: string | null;
    /** Requests per minute */
    requests_per_minute: number | null;
    /** Tokens per minute */
    tokens_per_minute: number | null;
    /** The key whose place it took */
    rotated_from: string | null;
    /** Requests at the same time */
    concurrent_requests: number | null;
  }[];
};

/** Parameters of key.revoke: Ends an API key within a second, with everything that is open under it; an admin may end those of others. */
export type KeyRevokeParams = {
  /** Key id */
  key_id: string;
};
/** Result of key.revoke. */
export type KeyRevokeResult = {
  /** Key id */
  key_id: string;
  /** It has ended */
  revoked: boolean;
};

/** Parameters of key.rotate: A new key takes the place of one of the caller's; the old one goes on for a while. */
export type KeyRotateParams = {
  /** Key id */
  key_id: string;
  /** How long the old one goes on; a day without it */
  overlap_s?: number;
};
/** Result of key.rotate. */
export type KeyRotateResult = {
  /** Id of the new key */
  key_id: string;
  /** The key; it is shown only here */
  key: string;
  /** RFC 3339, UTC; null: it does not expire */
  expires_at: string | null;
  /** Until when the old one works, RFC 3339, UTC */
  old_until: string;
};

/** Parameters of key.self: What the API key that makes this call is: name, rights, expiry, what is left of its budget, what it used. Needs no scope. */
export type KeySelfParams = Record<string, never>;
/** Result of key.self. */
export type KeySelfResult = {
  /** Key id */
  key_id: string;
  /** What it is for */
  name: string;
  /** What it may do now: the lesser of its own role and its maker's */
  role: "viewer" | "developer" | "admin";
  /** Groups of methods it may call; empty or absent: all */
  scopes: ("fs" | "image" | "llm" | "logs" | "preview" | "project" | "run" | "rpc" | "sandbox" | "session" | "term" | "usage" | "user" | "budget" | "key" | "price")[];
  /** Models it may use; empty or absent: all */
  models: string[];
  /** RFC 3339, UTC */
  created_at: string;
  /** RFC 3339, UTC; null: never */
  expires_at: string | null;
  /** RFC 3339, UTC, to the minute; null: never */
  last_used_at: string | null;
  /** Requests per minute */
  requests_per_minute: number | null;
  /** Tokens per minute */
  tokens_per_minute: number | null;
  /** Requests at the same time */
  concurrent_requests: number | null;
  /** Tokens that each of its limits of tokens leaves, whatever the model: the least of them; null: there is none */
  remaining_tokens: number | null;
  /** What counts for it now: limits of its own and of its user; those of the whole studio are not told */
  limits: {
    /** What the limit is of */
    scope: "key_model" | "key" | "user_model" | "user";
    /** Of this model only; null: of all */
    model: string | null;
    /** What is counted */
    unit: "tokens" | "microcredits" | "requests";
    /** Time in which it is counted */
    window: "hour" | "day" | "week" | "month" | "lifetime";
    /** The most there may be */
    limit: number;
    /** Booked */
    used: number;
    /** Held by running requests */
    held: number;
    /** limit - used - held, never below 0 */
    remaining: number;
    /** When the next window begins, RFC 3339 UTC; null: never */
    resets_at: string | null;
  }[];
  usage: {
    /** Since midnight, UTC */
    today: {
      /** Prompt and completion tokens */
      tokens: number;
      /** Requests */
      requests: number;
      /** Cost, micro-credits */
      cost_micro: number;
    };
    /** Since Monday, UTC */
    week: {
      /** Prompt and completion tokens */
      tokens: number;
      /** Requests */
      requests: number;
      /** Cost, micro-credits */
      cost_micro: number;
    };
    /** Since the first of the month, UTC */
    month: {
      /** Prompt and completion tokens */
      tokens: number;
      /** Requests */
      requests: number;
      /** Cost, micro-credits */
      cost_micro: number;
    };
  };
};

/** Parameters of key.set_rates: Sets how fast an API key may ask the model; all three at once. Of one's own keys; admins of anybody's. */
export type KeySetRatesParams = {
  /** Key id */
  key_id: string;
  /** Requests in a minute; null or absent: the key has no limit of its own */
  requests_per_minute?: number | null;
  /** Tokens in a minute; null or absent: the key has no limit of its own */
  tokens_per_minute?: number | null;
  /** Requests at the same time; null or absent: the key has no limit of its own */
  concurrent_requests?: number | null;
};
/** Result of key.set_rates. */
export type KeySetRatesResult = {
  /** Key id */
  key_id: string;
  /** It holds within a minute: as long as a token lives that was given for the key */
  set: boolean;
};

/** Parameters of llm.cancel: Ends a running answer by its request id, from any connection of the same user; whoever reads it gets its end with usage. */
export type LlmCancelParams = {
  /** Request id (UUIDv7), the same in log, ledger and error text */
  request_id: string;
};
/** Result of llm.cancel. */
export type LlmCancelResult = {
  /** true: it ends now */
  cancelled: boolean;
};

/** Parameters of llm.chat: Asks a model. Over WebSocket the answer streams as llm.delta before the result. The deadline is the option llm.request_ms and 10 s more. */
export type LlmChatParams = {
  /** Model id; absent: the loaded one */
  model?: string;
  /** The conversation, oldest first */
  messages: {
    role: "system" | "user" | "assistant" | "tool";
    /** Text of the message */
    content: string;
    /** Functions the assistant called */
    tool_calls?: {
      /** Id of the call, which its result names */
      id: string;
      /** Name of the function */
      name: string;
      /** Arguments, the JSON text of an object */
      arguments: string;
    }[];
    /** With role tool: the call this is the result of */
    tool_call_id?: string;
  }[];
  /** Longest answer, tokens */
  max_tokens?: number;
  /** 0 always takes the likeliest token */
  temperature?: number;
  /** Share of the likeliest tokens to choose from */
  top_p?: number;
  /** Same seed and input give the same answer */
  seed?: number;
  /** Texts that end the answer */
  stop?: string[];
  /** Functions the model may call */
  tools?: {
    /** Name of the function */
    name: string;
    /** What it does */
    description?: string;
    /** JSON schema of its arguments, as JSON text */
    parameters?: string;
  }[];
  /** auto, none, required, or the name of the function to call */
  tool_choice?: string;
  /** JSON schema that the text must fit, as JSON text */
  schema?: string;
  /** Most tokens of thought; 0: none, -1: no limit */
  reasoning_budget?: number;
  /** The same bit by bit whatever runs beside it: computed alone, which takes longer */
  deterministic?: boolean;
  /** Adapters of the model that the answer is made with; absent: those that always hold */
  lora?: {
    /** Name of the adapter */
    id: string;
    /** How strong it is; absent: 1, and 0 is as if it were not there */
    scale?: number;
  }[];
  /** Over WebSocket: who loses the connection may go on with llm.resume; llm.delta then carries request_id and event */
  resumable?: boolean;
};
/** Result of llm.chat. */
export type LlmChatResult = {
  /** Request id (UUIDv7), the same in log, ledger and error text */
  request_id: string;
  /** Model id */
  model: string;
  /** The whole answer */
  content: string;
  /** length: max_tokens, the context or the budget ended it */
  finish_reason: "stop" | "length" | "tool_calls";
  usage: {
    /** Tokens read */
    prompt_tokens: number;
    /** Tokens written */
    completion_tokens: number;
    /** Both */
    total_tokens: number;
    /** Part of the tokens read that did not have to be computed */
    cached_tokens?: number;
  };
  /** Cost, micro-credits */
  cost_micro: number;
  /** What the model thought before it answered */
  reasoning?: string;
  /** Functions the model calls */
  tool_calls?: {
    /** Id of the call, which its result names */
    id: string;
    /** Name of the function */
    name: string;
    /** Arguments, the JSON text of an object */
    arguments: string;
  }[];
};

/** Parameters of llm.complete: Continues a text. Over WebSocket it streams as llm.delta before the result; one call may replace an earlier one, as the reader goes on typing. Deadline as for llm.chat. */
export type LlmCompleteParams = {
  /** Model id; absent: the loaded one */
  model?: string;
  /** The text to go on with */
  prompt: string;
  /** Longest answer, tokens */
  max_tokens?: number;
  /** 0 always takes the likeliest token */
  temperature?: number;
  /** Share of the likeliest tokens to choose from */
  top_p?: number;
  /** Same seed and input give the same answer */
  seed?: number;
  /** Texts that end the answer */
  stop?: string[];
  /** JSON-RPC id of an open llm.complete of the same WebSocket, which is ended first */
  replaces?: string | number;
  /** The same bit by bit whatever runs beside it: computed alone, which takes longer */
  deterministic?: boolean;
  /** Adapters of the model that the answer is made with; absent: those that always hold */
  lora?: {
    /** Name of the adapter */
    id: string;
    /** How strong it is; absent: 1, and 0 is as if it were not there */
    scale?: number;
  }[];
  /** Over WebSocket: who loses the connection may go on with llm.resume; llm.delta then carries request_id and event */
  resumable?: boolean;
};
/** Result of llm.complete. */
export type LlmCompleteResult = {
  /** Request id (UUIDv7), the same in log, ledger and error text */
  request_id: string;
  /** Model id */
  model: string;
  /** What the model wrote */
  content: string;
  /** length: max_tokens, the context or the budget ended it */
  finish_reason: "stop" | "length";
  usage: {
    /** Tokens read */
    prompt_tokens: number;
    /** Tokens written */
    completion_tokens: number;
    /** Both */
    total_tokens: number;
    /** Part of the tokens read that did not have to be computed */
    cached_tokens?: number;
  };
  /** Cost, micro-credits */
  cost_micro: number;
};

/** Parameters of llm.download: Starts the download of a model (by source, or a model of the catalogue), or cancels a running one; it goes on in the model server, /admin/events tells how far it is. */
export type LlmDownloadParams = {
  /** hf:owner/repo:quant, hf:owner/repo/file.gguf#branch or the https address of a .gguf file on an allowed host */
  source?: string;
  /** Instead of source: the id of a model of the catalogue */
  model?: string;
  /** SHA-256 that the (single) file must have, in hex digits */
  sha256?: string;
  /** Instead of all others: the id of a download to end; its pieces stay */
  cancel?: string;
};
/** Result of llm.download. */
export type LlmDownloadResult = {
  /** Id of the download */
  id: string;
  /** Where it comes from, without what stands behind ? */
  source: string;
  /** How far it is */
  state: "resolving" | "inspecting" | "downloading" | "verifying" | "done" | "failed" | "cancelled";
  /** Name of the (first) file; empty until it is known */
  file: string;
  /** Bytes of all parts that are here */
  received_bytes: number;
  /** Bytes of all parts; 0 until they are known */
  total_bytes: number;
  /** Whether it still works */
  running: boolean;
};

/** Parameters of llm.embed: Vectors of texts, in their order. Deadline as for llm.chat. */
export type LlmEmbedParams = {
  /** Texts */
  input: string[];
  /** Model id; absent: the embedding model */
  model?: string;
  /** The first so many numbers of each vector */
  dimensions?: number;
};
/** Result of llm.embed. */
export type LlmEmbedResult = {
  /** Request id (UUIDv7), the same in log, ledger and error text */
  request_id: string;
  /** Model id */
  model: string;
  /** Who made them: the model server, or PostgresML in the database, which is not metered */
  engine: "llm" | "pgml";
  /** One for each text */
  vectors: number[][];
  /** Tokens read */
  prompt_tokens: number;
  /** Cost, micro-credits */
  cost_micro: number;
};

/** Parameters of llm.list_models: The models on disk and whether they can answer now. */
export type LlmListModelsParams = Record<string, never>;
/** Result of llm.list_models. */
export type LlmListModelsResult = {
  models: {
    /** Model id */
    id: string;
    /** Whether it can answer now */
    state: "loaded" | "loading" | "unloaded" | "failed";
    /** What it is for: text, vectors of texts, or ranks of documents; null until the file was read */
    kind: "chat" | "embedding" | "rerank" | null;
    /** Length of the model file */
    size_bytes: number;
    /** Number of weights, counted from the file; null until the file was read */
    parameters: number | null;
    /** Most tokens of one request, prompt and answer together; null until the file was read */
    context_tokens: number | null;
  }[];
};

/** Parameters of llm.models: The models on disk and whether they can answer now. Same as llm.list_models. */
export type LlmModelsParams = Record<string, never>;
/** Result of llm.models. */
export type LlmModelsResult = {
  models: {
    /** Model id */
    id: string;
    /** Whether it can answer now */
    state: "loaded" | "loading" | "unloaded" | "failed";
    /** What it is for: text, vectors of texts, or ranks of documents; null until the file was read */
    kind: "chat" | "embedding" | "rerank" | null;
    /** Length of the model file */
    size_bytes: number;
    /** Number of weights, counted from the file; null until the file was read */
    parameters: number | null;
    /** Most tokens of one request, prompt and answer together; null until the file was read */
    context_tokens: number | null;
  }[];
};

/** Parameters of llm.resume: Goes on with the stream of an llm.chat or llm.complete that was asked with resumable, behind an event; the result holds what came since. It costs nothing. */
export type LlmResumeParams = {
  /** Request id (UUIDv7), the same in log, ledger and error text */
  request_id: string;
  /** Number of the last event that came; absent: from the beginning */
  after?: number;
};
/** Result of llm.resume. */
export type LlmResumeResult = {
  /** Request id (UUIDv7), the same in log, ledger and error text */
  request_id: string;
  /** Model id */
  model: string;
  /** The whole answer */
  content: string;
  /** length: max_tokens, the context or the budget ended it */
  finish_reason: "stop" | "length" | "tool_calls";
  usage: {
    /** Tokens read */
    prompt_tokens: number;
    /** Tokens written */
    completion_tokens: number;
    /** Both */
    total_tokens: number;
    /** Part of the tokens read that did not have to be computed */
    cached_tokens?: number;
  };
  /** Cost, micro-credits */
  cost_micro: number;
  /** What the model thought before it answered */
  reasoning?: string;
  /** Functions the model calls */
  tool_calls?: {
    /** Id of the call, which its result names */
    id: string;
    /** Name of the function */
    name: string;
    /** Arguments, the JSON text of an object */
    arguments: string;
  }[];
};

/** Parameters of llm.settings.get: What is set for a model: each setting with the value that holds and where it comes from. */
export type LlmSettingsGetParams = {
  /** Model id */
  model: string;
};
/** Result of llm.settings.get. */
export type LlmSettingsGetResult = {
  /** Model id */
  model: string;
  /** Whether it can answer now */
  state: "loaded" | "loading" | "unloaded" | "failed";
  /** Some settings hold only after the model was unloaded and loaded again */
  reload_needed: boolean;
  /** Estimate of the memory of this machine that it takes with these settings; null until the file was read */
  need_bytes: number | null;
  /** Estimate of what it takes of a GPU beside that, for the layers that are sure to go there; null until the file was read */
  gpu_bytes: number | null;
  settings: {
    /** Name of the setting */
    name: string;
    /** Value that holds when a request says nothing else */
    value: number | string | boolean | string[] | {
      /** Fewer layers on the GPU refuse the load */
      min?: number;
      /** Most layers on the GPU */
      max?: number;
      /** As many layers as fit beside so many tokens */
      fit_context?: number;
    };
    /** Set for this model; an option of the server; neither */
    origin: "model" | "server" | "default";
    /** Holds from the next load on */
    reload: boolean;
    /** The loaded model was loaded with another value */
    pending: boolean;
    /** What it does */
    description: string;
    /** Least number */
    min: number | null;
    /** Largest number */
    max: number | null;
    /** Words it can be, with spaces between them */
    choices: string | null;
  }[];
};

/** Parameters of llm.settings.set: Sets or takes back settings of a model; those of answers hold at once, those of the load from the next load on. */
export type LlmSettingsSetParams = {
  /** Model id */
  model: string;
  changes: {
    /** Name of the setting */
    name: string;
    /** New value; null takes the setting back */
    value: number | string | boolean | string[] | {
      /** Fewer layers on the GPU refuse the load */
      min?: number;
      /** Most layers on the GPU */
      max?: number;
      /** As many layers as fit beside so many tokens */
      fit_context?: number;
    } | null;
  }[];
};
/** Result of llm.settings.set. */
export type LlmSettingsSetResult = {
  /** Model id */
  model: string;
  /** Whether it can answer now */
  state: "loaded" | "loading" | "unloaded" | "failed";
  /** Some settings hold only after the model was unloaded and loaded again */
  reload_needed: boolean;
  /** Estimate of the memory of this machine that it takes with these settings; null until the file was read */
  need_bytes: number | null;
  /** Estimate of what it takes of a GPU beside that, for the layers that are sure to go there; null until the file was read */
  gpu_bytes: number | null;
  settings: {
    /** Name of the setting */
    name: string;
    /** Value that holds when a request says nothing else */
    value: number | string | boolean | string[] | {
      /** Fewer layers on the GPU refuse the load */
      min?: number;
      /** Most layers on the GPU */
      max?: number;
      /** As many layers as fit beside so many tokens */
      fit_context?: number;
    };
    /** Set for this model; an option of the server; neither */
    origin: "model" | "server" | "default";
    /** Holds from the next load on */
    reload: boolean;
    /** The loaded model was loaded with another value */
    pending: boolean;
    /** What it does */
    description: string;
    /** Least number */
    min: number | null;
    /** Largest number */
    max: number | null;
    /** Words it can be, with spaces between them */
    choices: string | null;
  }[];
};

/** Parameters of llm.start: Loads a model. */
export type LlmStartParams = {
  /** Model id */
  model: string;
};
/** Result of llm.start. */
export type LlmStartResult = {
  /** Model id */
  model: string;
  /** State after the call */
  state: "loaded" | "loading" | "unloaded" | "failed";
};

/** Parameters of llm.stop: Unloads a model: answers that are being written get a few seconds (llm.drain_ms), everything else ends with an error. */
export type LlmStopParams = {
  /** Model id */
  model: string;
};
/** Result of llm.stop. */
export type LlmStopResult = {
  /** Model id */
  model: string;
  /** State after the call */
  state: "loaded" | "loading" | "unloaded" | "failed";
};

/** Parameters of preview.close: Closes a preview; who looks at it is cut off. */
export type PreviewCloseParams = {
  /** Project id */
  project: string;
  /** Preview id: the first label of its host name */
  preview_id: string;
};
/** Result of preview.close. */
export type PreviewCloseResult = {
  /** false: there was no such preview of the caller */
  closed: boolean;
};

/** Parameters of preview.list: Lists the caller's open previews of a project, the newest first. A page calls it from time to time while it shows one: a preview ends with the newest access token that was shown for it. */
export type PreviewListParams = {
  /** Project id */
  project: string;
};
/** Result of preview.list. */
export type PreviewListResult = {
  /** Previews */
  previews: {
    /** Preview id: the first label of its host name */
    preview_id: string;
    /** Project id */
    project: string;
    /** Terminal id, from term.open or term.list */
    term_id?: string;
    /** Run id, as run.started tells it */
    run_id?: string;
    /** Origin of the preview, without a slash at the end */
    url: string;
    /** TCP port on which a program listens */
    port: number;
    /** Milliseconds since it was opened */
    age_ms: number;
    /** Milliseconds since its last request began or ended */
    idle_ms: number;
  }[];
};

/** Parameters of preview.open: Opens a preview of a port: an origin of its own on which the caller, and nobody else, sees the program. POST the ticket as a form to <url>/.cds/enter in the browser that is to see it. One that is open already gets another ticket. It ends with its program's terminal or run, when closed, when idle, and with the sign-in. */
export type PreviewOpenParams = {
  /** Project id */
  project: string;
  /** Terminal id, from term.open or term.list */
  term_id?: string;
  /** Run id, as run.started tells it */
  run_id?: string;
  /** TCP port on which a program listens */
  port: number;
};
/** Result of preview.open. */
export type PreviewOpenResult = {
  /** Preview id: the first label of its host name */
  preview_id: string;
  /** Origin of the preview, without a slash at the end */
  url: string;
  /** One-time ticket */
  ticket: string;
  /** Milliseconds until the ticket expires */
  expires_ms: number;
};

/** Parameters of preview.ports: Lists the ports on which programs of one terminal or run listen, as far as a preview can reach them: at 127.0.0.1 or at every address. Exactly one of term_id and run_id. */
export type PreviewPortsParams = {
  /** Project id */
  project: string;
  /** Terminal id, from term.open or term.list */
  term_id?: string;
  /** Run id, as run.started tells it */
  run_id?: string;
};
/** Result of preview.ports. */
export type PreviewPortsResult = {
  /** Ports, rising; at most 64, the lowest ones */
  ports: number[];
};

/** Parameters of price.list: What tokens of each model cost, cost before, and will cost. */
export type PriceListParams = {
  /** Only of this model */
  model?: string;
};
/** Result of price.list. */
export type PriceListResult = {
  prices: {
    /** Model id */
    model: string;
    /** Prompt token, micro-credits per million tokens */
    input: number;
    /** Prompt token that was there already, micro-credits per million tokens */
    cached: number;
    /** Answer token, micro-credits per million tokens */
    output: number;
    /** RFC 3339 UTC; null: from ever */
    valid_from: string | null;
    /** null: until another price is set */
    valid_to: string | null;
    /** Does it hold? */
    state: "past" | "now" | "future";
    /** Email address */
    set_by: string | null;
  }[];
};

/** Parameters of price.set: Sets the price of a model from a moment on. Requests keep the price at which they were admitted. */
export type PriceSetParams = {
  /** Model id */
  model: string;
  /** Prompt token, micro-credits per million tokens */
  input: number;
  /** Prompt token that was there already; as input without it, micro-credits per million tokens */
  cached?: number;
  /** Answer token, micro-credits per million tokens */
  output: number;
  /** RFC 3339, not in the past; now without it */
  valid_from?: string;
};
/** Result of price.set. */
export type PriceSetResult = {
  /** Model id */
  model: string;
  /** It is set */
  set: boolean;
};

/** Parameters of project.create: Makes a project from a template. */
export type ProjectCreateParams = {
  /** Name shown in the page */
  name: string;
  /** What it starts with */
  template: "sample" | "empty";
};
/** Result of project.create. */
export type ProjectCreateResult = {
  /** Project id */
  id: string;
  /** Name shown in the page */
  name: string;
  /** Time of creation, RFC 3339 UTC */
  created_at: string;
};

/** Parameters of project.list: The caller's projects, oldest first. A user who has none gets a project named Sample. */
export type ProjectListParams = Record<string, never>;
/** Result of project.list. */
export type ProjectListResult = {
  projects: {
    /** Project id */
    id: string;
    /** Name shown in the page */
    name: string;
    /** Time of creation, RFC 3339 UTC */
    created_at: string;
  }[];
};

/** Parameters of project.network.get: What runs and terminals of a project may reach, and what could be named. */
export type ProjectNetworkGetParams = {
  /** Project id */
  project: string;
};
/** Result of project.network.get. */
export type ProjectNetworkGetResult = {
  /** off: nothing is reached; allow: the hosts of rules, by the proxy that http_proxy and https_proxy name in the job */
  mode: "off" | "allow";
  /** Hosts that runs and terminals of the project may reach, in one spelling, each once */
  rules: string[];
  /** What projects of this studio may name at all (option egress.hosts; "*" is every public host); empty: the network is off for all */
  hosts: string[];
};

/** Parameters of project.network.set: Names the hosts that runs and terminals of a project may reach. Runs and terminals that start from now on have it; those that are open keep what they began with. */
export type ProjectNetworkSetParams = {
  /** Project id */
  project: string;
  /** off: nothing is reached; allow: the hosts of rules, by the proxy that http_proxy and https_proxy name in the job */
  mode: "off" | "allow";
  /** All of them; what is not named is not reached */
  rules: string[];
};
/** Result of project.network.set. */
export type ProjectNetworkSetResult = {
  /** off: nothing is reached; allow: the hosts of rules, by the proxy that http_proxy and https_proxy name in the job */
  mode: "off" | "allow";
  /** Hosts that runs and terminals of the project may reach, in one spelling, each once */
  rules: string[];
  /** What projects of this studio may name at all (option egress.hosts; "*" is every public host); empty: the network is off for all */
  hosts: string[];
};

/** Parameters of rate.list: Users and API keys with limits of rate of their own, and what holds for a user without. */
export type RateListParams = Record<string, never>;
/** Result of rate.list. */
export type RateListResult = {
  /** Of users; those that were set last */
  limits: {
    /** User id */
    user_id: string;
    /** Email address */
    email: string;
    /** Requests in a minute; null: the studio's default */
    requests_per_minute: number | null;
    /** Tokens in a minute; null: the studio's default */
    tokens_per_minute: number | null;
    /** Requests at the same time; null: the studio's default */
    concurrent_requests: number | null;
  }[];
  /** Live API keys with limits of their own; the newest */
  keys: {
    /** Key id */
    key_id: string;
    /** What it is for */
    name: string;
    /** Owner */
    user_id: string;
    /** Address of its owner */
    email: string;
    /** Requests in a minute; null: any number */
    requests_per_minute: number | null;
    /** Tokens in a minute; null: any number */
    tokens_per_minute: number | null;
    /** Requests at the same time; null: any number */
    concurrent_requests: number | null;
  }[];
  /** Of a user without limits of their own: llm.requests_per_minute, llm.tokens_per_minute, llm.concurrent_requests */
  defaults: {
    /** Requests in a minute; null: any number */
    requests_per_minute: number | null;
    /** Tokens in a minute; null: any number */
    tokens_per_minute: number | null;
    /** Requests at the same time; null: any number */
    concurrent_requests: number | null;
  };
};

/** Parameters of rate.self: How fast the caller may ask the model, keys included; what a key may is told by key.list and key.self. */
export type RateSelfParams = Record<string, never>;
/** Result of rate.self. */
export type RateSelfResult = {
  /** An admin has set limits for this user; else they are the studio's defaults */
  own: boolean;
  /** Requests in a minute; null: any number */
  requests_per_minute: number | null;
  /** Tokens in a minute; null: any number */
  tokens_per_minute: number | null;
  /** Requests at the same time; null: any number */
  concurrent_requests: number | null;
};

/** Parameters of rate.set: Sets how fast a user may ask the model, keys included; all three at once. */
export type RateSetParams = {
  /** User id */
  user_id: string;
  /** Requests in a minute; null or absent: the studio's default */
  requests_per_minute?: number | null;
  /** Tokens in a minute; null or absent: the studio's default */
  tokens_per_minute?: number | null;
  /** Requests at the same time; null or absent: the studio's default */
  concurrent_requests?: number | null;
};
/** Result of rate.set. */
export type RateSetResult = {
  /** User id */
  user_id: string;
  /** It holds within a second */
  set: boolean;
};

/** Parameters of rpc.cancel: Ends an open call of the caller on the same WebSocket early; the call still gets its own answer. */
export type RpcCancelParams = {
  /** JSON-RPC id of the call this belongs to */
  id: string | number;
};
/** Result of rpc.cancel. */
export type RpcCancelResult = {
  /** true: the call ends now or soon. false: no such call is open, or it cannot be ended early and runs on (a file call the sandbox has, a change to the database, a model being loaded) */
  cancelled: boolean;
};

/** Parameters of rpc.discover: The OpenRPC document of every method. */
export type RpcDiscoverParams = Record<string, never>;
/** Result of rpc.discover. */
export type RpcDiscoverResult = {
  /** Version of the OpenRPC format */
  openrpc: string;
  info: Record<string, unknown>;
  methods: Record<string, unknown>[];
};

/** Parameters of run.cancel: Ends a run of a project by its id, from any connection; the call that started it still gets its answer. */
export type RunCancelParams = {
  /** Project id */
  project: string;
  /** Run id, as run.started and run.history tell it */
  run_id: string;
};
/** Result of run.cancel. */
export type RunCancelResult = {
  /** Whether a run of this project with this id was going on */
  cancelled: boolean;
};

/** Parameters of run.exec: Runs a file or a piece of code of a project in a sandbox and waits for its end: a program in the process sandbox, a WebAssembly module, or a program in a microVM. Over WebSocket output comes as run.output; over HTTP it is collected into stdout and stderr. */
type RunExecParamsBase = {
  /** Project id */
  project: string;
  /** What holds the program: a jailed process (run, the default), WebAssembly in a jailed process, or a microVM. Never replaced by a weaker one */
  engine?: "run" | "wasm" | "micro:python" | "micro:node" | "micro:sh";
  /** The process sandbox may be used where the engine does not work on this machine, also when that shows only after run.started, which then comes again; the result names what was used and, in fallback_reason, why */
  fallback?: "run";
  /** Root image of the microVM, one that image.list names; default when absent. Not with other engines, nor with fallback */
  image?: string;
  /** How it is started; c and cpp are compiled first. Needed by the engine run; micro names its own, wasm has none */
  language?: "python" | "node" | "sh" | "c" | "cpp";
  /** File to run, relative to the project; this or code */
  path?: string;
  /** Text to run; this, path or module */
  code?: string;
  /** A WebAssembly module in base64; this or path, with the engine wasm */
  module?: string;
  /** Function of the module to call with values; absent: _start is run as a WASI program */
  export?: string;
  /** Typed arguments of the function */
  values?: {
    /** Type of the value */
    type: "i32" | "i64" | "f32" | "f64";
    /** The number; an i64 may be text in decimal */
    value: number | string;
  }[];
  /** Environment variables, added to the sandbox's own */
  env?: {
    /** Name */
    name: string;
    /** Value */
    value: string;
  }[];
  /** Files that come along: they appear below /tmp, beside the code, and are gone with the run */
  files?: {
    /** Path below /tmp */
    path: string;
    /** Content; 2 MiB of all files together */
    content: string;
    /** How content is written; utf8 when absent */
    encoding?: "utf8" | "base64";
  }[];
  /** How the run sees the project at /work; none gives it an empty folder of its own. read_write when absent. A microVM gets a copy of at most 8 MiB in 2000 files; with read_write what the program has changed there is taken back when it has ended (project_back) */
  project_access?: "read_write" | "read_only" | "none";
  /** Arguments of the program */
  argv?: string[];
  /** What it reads on standard input */
  stdin?: string;
  /** Limits of this run; absent ones are the configured defaults */
  limits?: {
    /** Wall clock, milliseconds */
    wall_ms?: number;
    /** CPU time of all its tasks, milliseconds */
    cpu_ms?: number;
    /** Memory, bytes */
    memory_bytes?: number;
    /** Instructions a WebAssembly module may execute; other engines do not count them */
    fuel?: number;
  };
};
export type RunExecParams = RunExecParamsBase & (Required<Pick<RunExecParamsBase, "path">> | Required<Pick<RunExecParamsBase, "code">> | Required<Pick<RunExecParamsBase, "module">>);
/** Result of run.exec. */
export type RunExecResult = {
  /** Run id */
  run_id: string;
  /** Why it ended; ok is exit code 0 */
  end: "ok" | "exit" | "signal" | "cpu_time" | "wall_time" | "memory" | "output" | "tasks" | "disk" | "refused" | "cancelled" | "engine_failed";
  /** What refused or failed, in a sentence; with refused and engine_failed, and the trap of a module */
  reason?: string;
  /** Exit code; null when it did not exit by itself */
  exit_code: number | null;
  /** Signal that ended it; null when none did */
  signal: number | null;
  /** Time it took, milliseconds */
  wall_ms: number;
  /** CPU time of all its tasks, milliseconds */
  cpu_ms: number;
  /** Most memory in use */
  peak_memory_bytes: number;
  /** Bytes written to standard output */
  stdout_bytes: number;
  /** Bytes written to standard error */
  stderr_bytes: number;
  /** Bytes of both that were counted and not passed on */
  dropped_bytes: number;
  /** What held it */
  engine: "run" | "wasm" | "micro";
  /** How the engine did it; none when a rule refused the run before */
  backend: "jail" | "wasmer" | "msb-kvm" | "qemu-kvm" | "qemu-tcg" | "none";
  /** What separated it from the host */
  boundary: "process" | "language" | "hardware" | "emulated" | "none";
  /** What it could reach: nothing, or the hosts that its project names (project.network.set); engines wasm and micro have none */
  network: "none" | "allow-list";
  /** Where its box came from: made for it, taken ready from the pool, or restored */
  origin: "cold" | "pool" | "snapshot" | "none";
  /** Where the time went, microseconds */
  phases: {
    /** To get a place and a box */
    acquire_us: number;
    /** To start the program in it */
    start_us: number;
    /** From there to the end of the program */
    run_us: number;
    /** To judge it and remove the box */
    teardown_us: number;
  };
  /** What the function of a module returned */
  values?: {
    /** Type of the value */
    type: "i32" | "i64" | "f32" | "f64";
    /** The number; as text when JSON numbers cannot hold it: an i64 past 2^53, NaN, infinities */
    value: number | string;
  }[];
  /** Why the engine that was asked for did not take it; present when the process sandbox did, or should have */
  fallback_reason?: string;
  /** Root image of the microVM; only with the engine micro */
  image?: string;
  /** What came back from the copy of the project that a microVM worked on, with project_access read_write */
  project_back?: {
    /** Files written */
    written: number;
    /** Folders made */
    folders: number;
    /** Files and folders deleted */
    deleted: number;
    /** Bytes of the files written */
    bytes: number;
    /** Paths that both sides changed: the project keeps its own, the program's file stands in kept_as */
    conflicts: number;
    /** Paths that a rule, the disk or a ceiling kept from coming back */
    refused: number;
    /** Why nothing, or not all, was taken back */
    reason?: string;
    /** The first conflicts and refusals */
    told: {
      /** Path as the program has it; bytes that are not UTF-8 as ? */
      path: string;
      /** conflict: the project changed it too and keeps its own */
      what: "conflict" | "refused";
      /** The rule: those of files, fs.conflict, micro.back_size, micro.back_unreadable */
      rule: string;
      /** In a sentence */
      reason: string;
      /** Where the program's file was put instead */
      kept_as?: string;
    }[];
  };
  /** The rule that refused it; with refused */
  rule?: string;
  /** Limits that held */
  limits: {
    /** Wall clock, milliseconds */
    wall_ms: number;
    /** CPU time of all its tasks, milliseconds */
    cpu_ms: number;
    /** Memory, bytes */
    memory_bytes: number;
    /** Output passed on, bytes */
    output_bytes?: number;
    /** Tasks alive at once */
    max_tasks?: number;
    /** Size of its /tmp, bytes */
    tmp_bytes?: number;
    /** Instructions of a module; wasm only */
    fuel?: number;
    /** What held memory and tasks */
    enforced_by: "cgroup" | "rlimit";
  };
  /** Standard output, bytes that are not UTF-8 replaced (HTTP only) */
  stdout?: string;
  /** Standard error, bytes that are not UTF-8 replaced (HTTP only) */
  stderr?: string;
};

/** Parameters of run.history: The latest runs of a project, newest first: what was run, where, and how it ended. The newest 500 are kept. */
export type RunHistoryParams = {
  /** Project id */
  project: string;
  /** Most rows; 20 when absent */
  limit?: number;
  /** Only runs older than this one: the last id of the page before */
  before?: string;
};
/** Result of run.history. */
export type RunHistoryResult = {
  runs: {
    /** Run id */
    run_id: string;
    /** Request id of the call that started it */
    request_id: string;
    /** run, wasm or micro */
    engine: string;
    /** How the engine did it; null until it ends */
    backend: string | null;
    /** What separated it from the host; null until it ends */
    boundary: string | null;
    /** Language; empty for a WebAssembly module */
    language: string;
    /** File of the project; null for code that came with the call */
    path: string | null;
    /** Start, RFC 3339 UTC */
    started_at: string;
    /** lost: its gateway died, so nobody knows its end; nothing of it runs any more */
    state: "running" | "ended" | "lost";
    /** End state as in run.exec; null until it ends */
    end: string | null;
    /** Exit code */
    exit_code: number | null;
    /** Signal that ended it */
    signal: number | null;
    /** Time it took, milliseconds */
    wall_ms: number | null;
    /** CPU time, milliseconds */
    cpu_ms: number | null;
    /** Most memory in use */
    peak_memory_bytes: number | null;
  }[];
};

/** Parameters of sandbox.probe: Which sandbox engines work on this machine and which do not, why, and what to do. Each is tried for real, at most once a minute. */
export type SandboxProbeParams = Record<string, never>;
/** Result of sandbox.probe. */
export type SandboxProbeResult = {
  engines: {
    /** Engine */
    name: string;
    /** How the engine does it: one row for each tier */
    backend: string;
    /** Whether runs can use it */
    works: boolean;
    /** What separates a run from the host */
    boundary: string;
    /** What holds memory and tasks: cgroup, rlimit or none */
    limits: string;
    /** Why it does not work, or what is weaker than it could be; else empty */
    reason: string;
    /** What an admin can do about it; else empty */
    remedy: string;
    /** Time the try took, milliseconds */
    took_ms: number;
  }[];
};

/** Parameters of session.list: The open sessions of the caller; an admin may name another user. */
export type SessionListParams = {
  /** Whose; the caller's without it */
  user_id?: string;
};
/** Result of session.list. */
export type SessionListResult = {
  sessions: {
    /** Session id */
    session_id: string;
    /** The one that asks */
    current: boolean;
    /** As the browser calls itself */
    device: string;
    /** Address it was opened from */
    address: string;
    /** RFC 3339, UTC */
    created_at: string;
    /** RFC 3339, UTC */
    last_used_at: string;
    /** RFC 3339, UTC */
    expires_at: string;
  }[];
};

/** Parameters of session.revoke: Ends a session within a second, with everything that is open under it; an admin may end those of others. */
export type SessionRevokeParams = {
  /** Session id */
  session_id: string;
};
/** Result of session.revoke. */
export type SessionRevokeResult = {
  /** Session id */
  session_id: string;
  /** It has ended */
  revoked: boolean;
};

/** Parameters of session.revoke_others: Ends all other sessions of the caller. */
export type SessionRevokeOthersParams = Record<string, never>;
/** Result of session.revoke_others. */
export type SessionRevokeOthersResult = {
  /** How many were open */
  revoked: number;
};

/** Parameters of term.ack: Confirms output of the caller's own term.attach on the same connection that has a window, so that more may come. */
export type TermAckParams = {
  /** JSON-RPC id of the term.attach */
  id: string | number;
  /** next_seq of the last output that was taken in */
  seq: number;
};
/** Result of term.ack. */
export type TermAckResult = {
  /** True: there is such a call */
  acked: boolean;
};

/** Parameters of term.attach: Follows a terminal from a byte on. Over WebSocket what it writes comes as term.output until rpc.cancel (end is detached then), the end of the connection, or the terminal's end; an hour at most. Over HTTP the answer comes with the first output there is, at the latest after wait_ms, and end is running. */
export type TermAttachParams = {
  /** Project id */
  project: string;
  /** Terminal id, from term.open or term.list */
  term_id: string;
  /** Bytes that the caller has already: next_seq of what came last. Absent: all that is kept */
  after_seq?: number;
  /** At most so many bytes are sent beyond what term.ack confirmed; absent: as much as the connection takes */
  window_bytes?: number;
  /** Over HTTP: how long to wait for output, milliseconds; 10000 when absent */
  wait_ms?: number;
};
/** Result of term.attach. */
export type TermAttachResult = {
  /** Terminal id, from term.open or term.list */
  term_id: string;
  /** Why it ended; detached: the caller left it; running: it goes on (HTTP only) */
  end: "running" | "detached" | "killed" | "revoked" | "idle" | "ok" | "exit" | "signal" | "cpu_time" | "wall_time" | "memory" | "tasks" | "disk" | "cancelled" | "engine_failed";
  /** Exit code, when the program ended by itself */
  exit_code: number | null;
  /** Signal that ended the program */
  signal: number | null;
  /** Bytes the caller has now; after_seq of the next call */
  next_seq: number;
  /** Bytes between after_seq and next_seq that were no longer kept */
  lost_bytes: number;
  /** A sentence, when the sandbox failed */
  reason?: string;
  /** HTTP only: the output, up to next_seq */
  data?: string;
  /** Present when the bytes are not UTF-8 */
  encoding?: "base64";
};

/** Parameters of term.input: Types into a terminal. All of it is taken, or nothing. */
export type TermInputParams = {
  /** Project id */
  project: string;
  /** Terminal id, from term.open or term.list */
  term_id: string;
  /** Text or control characters, at most 65536 bytes */
  data: string;
};
/** Result of term.input. */
export type TermInputResult = {
  /** Bytes taken */
  accepted_bytes: number;
};

/** Parameters of term.kill: Ends a terminal with all its programs. One that has ended already is forgotten. */
export type TermKillParams = {
  /** Project id */
  project: string;
  /** Terminal id, from term.open or term.list */
  term_id: string;
};
/** Result of term.kill. */
export type TermKillResult = {
  /** False: it had ended already */
  killed: boolean;
};

/** Parameters of term.list: Lists the caller's terminals of a project, the newest first. */
export type TermListParams = {
  /** Project id */
  project: string;
};
/** Result of term.list. */
export type TermListResult = {
  /** Terminals */
  terminals: {
    /** Terminal id, from term.open or term.list */
    term_id: string;
    /** What runs in it: a shell (bash where there is one, the default), or an interpreter */
    program: "shell" | "python" | "node";
    /** running, or why it ended */
    end: "running" | "detached" | "killed" | "revoked" | "idle" | "ok" | "exit" | "signal" | "cpu_time" | "wall_time" | "memory" | "tasks" | "disk" | "cancelled" | "engine_failed";
    /** A program runs in front of the shell, or it is an interpreter: ending it ends work */
    busy: boolean;
    /** Rows */
    rows: number;
    /** Columns */
    cols: number;
    /** Callers attached */
    attached: number;
    /** Milliseconds since it was opened */
    age_ms: number;
    /** Oldest byte that is kept */
    first_seq: number;
    /** Bytes written so far */
    next_seq: number;
  }[];
};

/** Parameters of term.open: Opens a terminal in a project's sandbox: a program on a pty of its own, in a session of its own. It goes on when nobody is attached, until its program ends, it is killed, or one of its ceilings is reached. */
export type TermOpenParams = {
  /** Project id */
  project: string;
  /** Rows */
  rows: number;
  /** Columns */
  cols: number;
  /** What runs in it: a shell (bash where there is one, the default), or an interpreter */
  program?: "shell" | "python" | "node";
};
/** Result of term.open. */
export type TermOpenResult = {
  /** Terminal id, from term.open or term.list */
  term_id: string;
  /** What runs in it: a shell (bash where there is one, the default), or an interpreter */
  program: "shell" | "python" | "node";
  /** Rows */
  rows: number;
  /** Columns */
  cols: number;
};

/** Parameters of term.resize: Gives a terminal another size; its programs and everybody attached are told. */
export type TermResizeParams = {
  /** Project id */
  project: string;
  /** Terminal id, from term.open or term.list */
  term_id: string;
  /** Rows */
  rows: number;
  /** Columns */
  cols: number;
};
/** Result of term.resize. */
export type TermResizeResult = {
  /** Rows */
  rows: number;
  /** Columns */
  cols: number;
};

/** Parameters of usage.anomalies: Days on which a key, or the sessions of a user, used far more than they do: of the caller, or for admins of anybody or everybody. */
export type UsageAnomaliesParams = {
  /** First day, UTC */
  from: string;
  /** Last day, at most 92 days in all */
  to: string;
  /** Whose; the caller's own without it */
  user_id?: string;
  /** True: of all users together, for admins */
  everybody?: boolean;
};
/** Result of usage.anomalies. */
export type UsageAnomaliesResult = {
  /** Newest first */
  days: {
    /** Day, UTC */
    day: string;
    /** Whose */
    user_id: string;
    /** Whose */
    email: string | null;
    /** API key; null: signed-in sessions */
    key_id: string | null;
    /** What the key is for */
    key_name: string | null;
    /** Used on that day */
    tokens: number;
    /** Median of up to 28 days before it */
    typical_tokens: number;
    /** How far beyond that, in spreads of those days; over 3.5 is unusual */
    score: number;
  }[];
};

/** Parameters of usage.export: The lines of the ledger in a range of days, as CSV or as objects: their sum is what usage.report says about the same range. */
export type UsageExportParams = {
  /** csv: text with a head line on the first page; json: objects */
  format: "csv" | "json";
  /** First day */
  from: string;
  /** Last day, at most 400 days in all */
  to: string;
  /** IANA name of the time zone in which days begin; UTC without it */
  time_zone?: string;
  /** Whose; the caller's own without it */
  user_id?: string;
  /** True: of all users together, for admins */
  everybody?: boolean;
  /** Of this model only */
  model?: string;
  /** next_cursor of the page before */
  cursor?: string;
  /** Lines of a page; 1000 without it */
  limit?: number;
};
/** Result of usage.export. */
export type UsageExportResult = {
  /** As asked */
  format: "csv" | "json";
  /** Lines of RFC 4180, CR LF behind each; the texts of all pages, one behind the other, are the file. A field that a table program would take for a formula begins with an apostrophe */
  csv: string | null;
  /** In the order in which they were booked */
  lines: {
    /** When it was booked, RFC 3339 UTC */
    at: string;
    /** Request id, the same in log, ledger and error text */
    request_id: string;
    /** Whose */
    user_id: string;
    /** Whose */
    email: string | null;
    /** API key; null: a signed-in session */
    key_id: string | null;
    /** What the key is for */
    key_name: string | null;
    /** Model id */
    model: string;
    /** Tokens read, cached ones included */
    prompt_tokens: number;
    /** Tokens read that had been computed before */
    cached_tokens: number;
    /** Tokens written */
    completion_tokens: number;
    /** Cost, micro-credits */
    cost_micro: number;
  }[] | null;
  /** To be sent as cursor for the next page; null: this is the last one */
  next_cursor: string | null;
};

/** Parameters of usage.forecast: What the month will have used when it is over, and how sure that is: of the caller, or for admins of anybody or everybody. */
export type UsageForecastParams = {
  /** Whose; the caller's own without it */
  user_id?: string;
  /** True: of all users together, for admins */
  everybody?: boolean;
};
/** Result of usage.forecast. */
export type UsageForecastResult = {
  /** Month, UTC */
  period: string;
  /** Its end, RFC 3339 UTC */
  resets_at: string;
  /** Who made it: plain SQL, or PostgresML */
  engine: "sql" | "pgml";
  /** none: nothing was used before today; mean: of fewer than seven days; trend: a line through the days of the last eight weeks */
  basis: "none" | "mean" | "trend";
  /** Whole days it is made from */
  days: number;
  /** Tokens booked this month */
  used_tokens: number;
  /** Tokens of the whole month, as expected */
  expected_tokens: number;
  /** Four of five such months end between this */
  low_tokens: number;
  /** and this; null: one day or none says nothing about that */
  high_tokens: number | null;
  /** Expected for a day that is left */
  per_day_tokens: number;
};

/** Parameters of usage.report: What was used in a range of days, by day, model, API key or user: the caller's own, or for admins anybody's and everybody's. */
export type UsageReportParams = {
  /** What one row is about */
  by: "day" | "model" | "key" | "user";
  /** First day */
  from: string;
  /** Last day, at most 400 days in all */
  to: string;
  /** IANA name of the time zone in which days begin; UTC without it */
  time_zone?: string;
  /** Whose; the caller's own without it */
  user_id?: string;
  /** True: of all users together, for admins */
  everybody?: boolean;
  /** Of this model only */
  model?: string;
  /** next_cursor of the page before */
  cursor?: string;
  /** Rows of a page; 100 without it */
  limit?: number;
};
/** Result of usage.report. */
export type UsageReportResult = {
  /** As asked */
  by: "day" | "model" | "key" | "user";
  /** First day */
  from: string;
  /** Last day */
  to: string;
  /** IANA name of the time zone in which days begin; UTC without it */
  time_zone: string;
  /** In the order of the days, model ids, users and keys; days without use are left out */
  rows: {
    /** By day: the day, in the time zone asked for */
    day: string | null;
    /** By model: its id */
    model: string | null;
    /** By key: its id; null beside a user_id: what was asked by signed-in sessions */
    key_id: string | null;
    /** By key: what it is for; null: a session, or the key is gone */
    key_name: string | null;
    /** By key and by user: whose */
    user_id: string | null;
    /** By key and by user: whose */
    email: string | null;
    /** Requests */
    requests: number;
    /** Tokens read, cached ones included */
    prompt_tokens: number;
    /** Tokens read that had been computed before */
    cached_tokens: number;
    /** Tokens written */
    completion_tokens: number;
    /** Cost, micro-credits */
    cost_micro: number;
  }[];
  totals: {
    /** Requests */
    requests: number;
    /** Tokens read, cached ones included */
    prompt_tokens: number;
    /** Tokens read that had been computed before */
    cached_tokens: number;
    /** Tokens written */
    completion_tokens: number;
    /** Cost, micro-credits */
    cost_micro: number;
  };
  /** To be sent as cursor for the next page; null: this is the last one */
  next_cursor: string | null;
};

/** Parameters of usage.summary: Tokens and cost of the caller in the current month, by model, and the latest requests. */
export type UsageSummaryParams = Record<string, never>;
/** Result of usage.summary. */
export type UsageSummaryResult = {
  /** Month, UTC */
  period: string;
  /** Start of the next month, RFC 3339 UTC */
  resets_at: string;
  /** Monthly limit; null: none is set */
  limit_tokens: number | null;
  /** Tokens settled this month */
  used_tokens: number;
  /** Tokens reserved by running requests */
  held_tokens: number;
  /** limit - used - held, never below 0; null: no limit */
  remaining_tokens: number | null;
  /** Cost this month, micro-credits */
  cost_micro: number;
  /** Requests this month */
  requests: number;
  by_model: {
    /** Model id */
    model: string;
    /** Requests */
    requests: number;
    /** Tokens read */
    prompt_tokens: number;
    /** Tokens written */
    completion_tokens: number;
    /** Cost, micro-credits */
    cost_micro: number;
  }[];
  /** Newest first */
  recent: {
    /** Request id (UUIDv7), the same in log, ledger and error text */
    request_id: string;
    /** Model id */
    model: string;
    /** Tokens read */
    prompt_tokens: number;
    /** Tokens written */
    completion_tokens: number;
    /** Cost, micro-credits */
    cost_micro: number;
    /** State of the ledger row */
    state: string;
    /** Time of admission, RFC 3339 UTC */
    at: string;
  }[];
};

/** Parameters of usage.track: What one request has used: so far while it runs, as booked when it is over. Only the model server books: nobody reports use of their own. */
export type UsageTrackParams = {
  /** Request id, as in x-request-id of its answer */
  request_id: string;
  /** Whose; the caller's own without it */
  user_id?: string;
};
/** Result of usage.track. */
export type UsageTrackResult = {
  /** As asked */
  request_id: string;
  /** open: it runs; settled: booked; given_up: its server was lost and nothing is booked yet */
  state: "open" | "settled" | "given_up";
  /** Model id */
  model: string;
  /** API key; null: a signed-in session */
  key_id: string | null;
  /** RFC 3339, UTC */
  admitted_at: string;
  /** RFC 3339, UTC; null: it runs */
  ended_at: string | null;
  /** stop, length, cancelled, gone, crashed, failed, node_lost, expired; null: it runs */
  outcome: string | null;
  /** Tokens reserved and not booked yet */
  held_tokens: number;
  /** Tokens read; while it runs, as noted last */
  prompt_tokens: number;
  /** Tokens read that had been computed before */
  cached_tokens: number;
  /** Tokens written; while it runs, as noted last */
  completion_tokens: number;
  /** Cost, micro-credits; null: nothing is booked yet */
  cost_micro: number | null;
};

/** Parameters of user.block: Blocks a user: sessions, sockets, streams, runs and terminals end within a second. */
export type UserBlockParams = {
  /** User id */
  user_id: string;
};
/** Result of user.block. */
export type UserBlockResult = {
  /** User id */
  user_id: string;
  /** Role */
  role: "viewer" | "developer" | "admin";
  /** pending: invited, has no password yet */
  status: "pending" | "active" | "blocked";
  /** false: it was so already */
  changed: boolean;
};

/** Parameters of user.delete: Takes a person out of the studio: address, name and password are forgotten, projects are handed over or removed, what was booked stays under the user id. */
export type UserDeleteParams = {
  /** User id */
  user_id: string;
  /** Who gets the projects of the person */
  projects_to?: string;
  /** True: the projects are removed with all of their files */
  remove_projects?: boolean;
};
/** Result of user.delete. */
export type UserDeleteResult = {
  /** User id */
  user_id: string;
  /** The account cannot be used any more */
  deleted: boolean;
  /** How many projects were handed over or removed */
  projects: number;
};

/** Parameters of user.invite: Makes an account and a link by which its owner sets the password. */
export type UserInviteParams = {
  /** Email address */
  email: string;
  /** Role */
  role: "viewer" | "developer" | "admin";
  /** Name as others see it */
  display_name?: string;
};
/** Result of user.invite. */
export type UserInviteResult = {
  /** User id */
  user_id: string;
  /** Email address */
  email: string;
  /** Role */
  role: "viewer" | "developer" | "admin";
  /** Address to hand to the person; it works once and is shown only here */
  link: string;
  /** RFC 3339, UTC */
  expires_at: string;
};

/** Parameters of user.link: A new link by which a user sets a new password; one that was made before is void. */
export type UserLinkParams = {
  /** User id */
  user_id: string;
};
/** Result of user.link. */
export type UserLinkResult = {
  /** User id */
  user_id: string;
  /** invite: the account has no password yet */
  kind: "invite" | "reset";
  /** Address to hand to the person; it works once and is shown only here */
  link: string;
  /** RFC 3339, UTC */
  expires_at: string;
};

/** Parameters of user.list: The users of the studio, by address. */
export type UserListParams = {
  /** pending: invited and has no password yet, or came by the OpenID provider and waits for an admin */
  status?: "pending" | "active" | "blocked";
  /** Role */
  role?: "viewer" | "developer" | "admin";
  /** Part of the address or the name */
  query?: string;
  /** Users of one page; 50 without it */
  limit?: number;
  /** next_cursor of the page before */
  cursor?: string;
};
/** Result of user.list. */
export type UserListResult = {
  users: {
    /** User id */
    user_id: string;
    /** Email address */
    email: string;
    /** Name as others see it */
    display_name: string;
    /** Role */
    role: "viewer" | "developer" | "admin";
    /** pending: invited and has no password yet, or came by the OpenID provider and waits for an admin */
    status: "pending" | "active" | "blocked";
    /** Came by the OpenID provider and waits for an admin: user.unblock lets them in */
    asks: boolean;
    /** RFC 3339, UTC */
    created_at: string;
    /** RFC 3339, UTC; null: never signed in */
    last_login_at: string | null;
    /** Tokens per calendar month; null: no limit */
    month_tokens_limit: number | null;
    /** Sessions that are open */
    sessions: number;
    /** Until when an unused link to set a password works; null: there is none */
    link_expires_at: string | null;
  }[];
  /** For the next page; null: this is the last */
  next_cursor: string | null;
};

/** Parameters of user.login: Signs in with address and password, for programs: a token without a way to renew it. */
export type UserLoginParams = {
  /** Email address */
  email: string;
  /** Password */
  password: string;
};
/** Result of user.login. */
export type UserLoginResult = {
  /** For Authorization: Bearer */
  access_token: string;
  /** How it is sent */
  token_type: "Bearer";
  /** Seconds */
  expires_in: number;
  user: {
    /** User id */
    id: string;
    /** Email address */
    email: string;
    /** Role */
    role: "viewer" | "developer" | "admin";
    /** Name as others see it */
    display_name: string;
  };
};

/** Parameters of user.password.change: Changes the caller's own password; all other sessions end. */
export type UserPasswordChangeParams = {
  /** The present one */
  old_password: string;
  /** At least 12 characters, at most 72 bytes */
  new_password: string;
};
/** Result of user.password.change. */
export type UserPasswordChangeResult = {
  /** Other sessions that were open */
  ended_sessions: number;
};

/** Parameters of user.self: Who the caller is. */
export type UserSelfParams = Record<string, never>;
/** Result of user.self. */
export type UserSelfResult = {
  /** User id */
  user_id: string;
  /** Email address */
  email: string;
  /** Role of the caller */
  role: "viewer" | "developer" | "admin";
  /** End of the access token, seconds since 1970 UTC */
  expires_at: number;
};

/** Parameters of user.set_role: Gives a user another role; it acts at once on everything that is open. */
export type UserSetRoleParams = {
  /** User id */
  user_id: string;
  /** Role */
  role: "viewer" | "developer" | "admin";
};
/** Result of user.set_role. */
export type UserSetRoleResult = {
  /** User id */
  user_id: string;
  /** Role */
  role: "viewer" | "developer" | "admin";
  /** pending: invited, has no password yet */
  status: "pending" | "active" | "blocked";
  /** false: it was so already */
  changed: boolean;
};

/** Parameters of user.unblock: Lets a blocked user sign in again. */
export type UserUnblockParams = {
  /** User id */
  user_id: string;
};
/** Result of user.unblock. */
export type UserUnblockResult = {
  /** User id */
  user_id: string;
  /** Role */
  role: "viewer" | "developer" | "admin";
  /** pending: invited, has no password yet */
  status: "pending" | "active" | "blocked";
  /** false: it was so already */
  changed: boolean;
};

/** Parameters of the notification fs.changed. */
export type FsChangedNote = {
  /** JSON-RPC id of the call this belongs to */
  id: string | number;
  /** Counts from 0 without gaps */
  seq: number;
  changes: {
    /** Path below the project */
    path: string;
    /** What it is, or was */
    type: "file" | "dir";
    /** What happened last; a rename is deleted and created */
    change: "created" | "changed" | "deleted";
  }[];
  /** More changed than is told: list again */
  overflow: boolean;
};

/** Parameters of the notification llm.delta. */
export type LlmDeltaNote = {
  /** JSON-RPC id of the call this belongs to */
  id: string | number;
  /** Counts from 0 without gaps */
  seq: number;
  /** Next piece of the answer */
  content: string;
  /** Next piece of the thought */
  reasoning?: string;
  /** Next pieces of function calls */
  tool_calls?: {
    /** Which call, from 0 on */
    index: number;
    /** Id of the call, which its result names */
    id?: string;
    /** Name of the function */
    name?: string;
    /** Next piece of its arguments */
    arguments: string;
  }[];
  /** Request id (UUIDv7), the same in log, ledger and error text */
  request_id?: string;
  /** Number of the event, for llm.resume */
  event?: number;
};

/** Parameters of the notification run.started. */
export type RunStartedNote = {
  /** JSON-RPC id of the call this belongs to */
  id: string | number;
  /** 0: the first notification of a run */
  seq: number;
  /** Run id, as in the result */
  run_id: string;
  /** What holds it */
  engine: "run" | "wasm" | "micro";
};

/** Parameters of the notification run.output. */
export type RunOutputNote = {
  /** JSON-RPC id of the call this belongs to */
  id: string | number;
  /** Counts from 1 without gaps; 0 is run.started */
  seq: number;
  stream: "stdout" | "stderr";
  /** Output; whole characters when it is text */
  data: string;
  /** Present when the bytes are not UTF-8 */
  encoding?: "base64";
};

/** Parameters of the notification term.state. */
export type TermStateNote = {
  /** JSON-RPC id of the call this belongs to */
  id: string | number;
  /** Rows */
  rows: number;
  /** Columns */
  cols: number;
  /** Number of the next byte of output */
  seq: number;
  /** Bytes written so far: up to here it is a replay */
  end_seq: number;
  /** Bytes before seq that were no longer kept and are skipped */
  lost_bytes: number;
};

/** Parameters of the notification term.output. */
export type TermOutputNote = {
  /** JSON-RPC id of the call this belongs to */
  id: string | number;
  /** Number of its first byte, counted from the terminal's opening */
  seq: number;
  /** Number of the byte after its last */
  next_seq: number;
  /** What the program wrote; whole characters when it is text */
  data: string;
  /** Present when the bytes are not UTF-8 */
  encoding?: "base64";
};

/** Every method with its parameters, its result and the notifications sent before the result. */
export interface Methods {
  "audit.export": { params: AuditExportParams; result: AuditExportResult; notifications: never };
  "audit.list": { params: AuditListParams; result: AuditListResult; notifications: never };
  "budget.check": { params: BudgetCheckParams; result: BudgetCheckResult; notifications: never };
  "budget.grant": { params: BudgetGrantParams; result: BudgetGrantResult; notifications: never };
  "budget.grants": { params: BudgetGrantsParams; result: BudgetGrantsResult; notifications: never };
  "budget.list": { params: BudgetListParams; result: BudgetListResult; notifications: never };
  "budget.remove": { params: BudgetRemoveParams; result: BudgetRemoveResult; notifications: never };
  "budget.self": { params: BudgetSelfParams; result: BudgetSelfResult; notifications: never };
  "budget.set": { params: BudgetSetParams; result: BudgetSetResult; notifications: never };
  "fs.create": { params: FsCreateParams; result: FsCreateResult; notifications: never };
  "fs.delete": { params: FsDeleteParams; result: FsDeleteResult; notifications: never };
  "fs.list": { params: FsListParams; result: FsListResult; notifications: never };
  "fs.read": { params: FsReadParams; result: FsReadResult; notifications: never };
  "fs.rename": { params: FsRenameParams; result: FsRenameResult; notifications: never };
  "fs.stat": { params: FsStatParams; result: FsStatResult; notifications: never };
  "fs.watch": { params: FsWatchParams; result: FsWatchResult; notifications: "fs.changed" };
  "fs.write": { params: FsWriteParams; result: FsWriteResult; notifications: never };
  "image.add": { params: ImageAddParams; result: ImageAddResult; notifications: never };
  "image.list": { params: ImageListParams; result: ImageListResult; notifications: never };
  "image.pull": { params: ImagePullParams; result: ImagePullResult; notifications: never };
  "image.remove": { params: ImageRemoveParams; result: ImageRemoveResult; notifications: never };
  "key.create": { params: KeyCreateParams; result: KeyCreateResult; notifications: never };
  "key.list": { params: KeyListParams; result: KeyListResult; notifications: never };
  "key.revoke": { params: KeyRevokeParams; result: KeyRevokeResult; notifications: never };
  "key.rotate": { params: KeyRotateParams; result: KeyRotateResult; notifications: never };
  "key.self": { params: KeySelfParams; result: KeySelfResult; notifications: never };
  "key.set_rates": { params: KeySetRatesParams; result: KeySetRatesResult; notifications: never };
  "llm.cancel": { params: LlmCancelParams; result: LlmCancelResult; notifications: never };
  "llm.chat": { params: LlmChatParams; result: LlmChatResult; notifications: "llm.delta" };
  "llm.complete": { params: LlmCompleteParams; result: LlmCompleteResult; notifications: "llm.delta" };
  "llm.download": { params: LlmDownloadParams; result: LlmDownloadResult; notifications: never };
  "llm.embed": { params: LlmEmbedParams; result: LlmEmbedResult; notifications: never };
  "llm.list_models": { params: LlmListModelsParams; result: LlmListModelsResult; notifications: never };
  "llm.models": { params: LlmModelsParams; result: LlmModelsResult; notifications: never };
  "llm.resume": { params: LlmResumeParams; result: LlmResumeResult; notifications: "llm.delta" };
  "llm.settings.get": { params: LlmSettingsGetParams; result: LlmSettingsGetResult; notifications: never };
  "llm.settings.set": { params: LlmSettingsSetParams; result: LlmSettingsSetResult; notifications: never };
  "llm.start": { params: LlmStartParams; result: LlmStartResult; notifications: never };
  "llm.stop": { params: LlmStopParams; result: LlmStopResult; notifications: never };
  "preview.close": { params: PreviewCloseParams; result: PreviewCloseResult; notifications: never };
  "preview.list": { params: PreviewListParams; result: PreviewListResult; notifications: never };
  "preview.open": { params: PreviewOpenParams; result: PreviewOpenResult; notifications: never };
  "preview.ports": { params: PreviewPortsParams; result: PreviewPortsResult; notifications: never };
  "price.list": { params: PriceListParams; result: PriceListResult; notifications: never };
  "price.set": { params: PriceSetParams; result: PriceSetResult; notifications: never };
  "project.create": { params: ProjectCreateParams; result: ProjectCreateResult; notifications: never };
  "project.list": { params: ProjectListParams; result: ProjectListResult; notifications: never };
  "project.network.get": { params: ProjectNetworkGetParams; result: ProjectNetworkGetResult; notifications: never };
  "project.network.set": { params: ProjectNetworkSetParams; result: ProjectNetworkSetResult; notifications: never };
  "rate.list": { params: RateListParams; result: RateListResult; notifications: never };
  "rate.self": { params: RateSelfParams; result: RateSelfResult; notifications: never };
  "rate.set": { params: RateSetParams; result: RateSetResult; notifications: never };
  "rpc.cancel": { params: RpcCancelParams; result: RpcCancelResult; notifications: never };
  "rpc.discover": { params: RpcDiscoverParams; result: RpcDiscoverResult; notifications: never };
  "run.cancel": { params: RunCancelParams; result: RunCancelResult; notifications: never };
  "run.exec": { params: RunExecParams; result: RunExecResult; notifications: "run.started" | "run.output" };
  "run.history": { params: RunHistoryParams; result: RunHistoryResult; notifications: never };
  "sandbox.probe": { params: SandboxProbeParams; result: SandboxProbeResult; notifications: never };
  "session.list": { params: SessionListParams; result: SessionListResult; notifications: never };
  "session.revoke": { params: SessionRevokeParams; result: SessionRevokeResult; notifications: never };
  "session.revoke_others": { params: SessionRevokeOthersParams; result: SessionRevokeOthersResult; notifications: never };
  "term.ack": { params: TermAckParams; result: TermAckResult; notifications: never };
  "term.attach": { params: TermAttachParams; result: TermAttachResult; notifications: "term.state" | "term.output" };
  "term.input": { params: TermInputParams; result: TermInputResult; notifications: never };
  "term.kill": { params: TermKillParams; result: TermKillResult; notifications: never };
  "term.list": { params: TermListParams; result: TermListResult; notifications: never };
  "term.open": { params: TermOpenParams; result: TermOpenResult; notifications: never };
  "term.resize": { params: TermResizeParams; result: TermResizeResult; notifications: never };
  "usage.anomalies": { params: UsageAnomaliesParams; result: UsageAnomaliesResult; notifications: never };
  "usage.export": { params: UsageExportParams; result: UsageExportResult; notifications: never };
  "usage.forecast": { params: UsageForecastParams; result: UsageForecastResult; notifications: never };
  "usage.report": { params: UsageReportParams; result: UsageReportResult; notifications: never };
  "usage.summary": { params: UsageSummaryParams; result: UsageSummaryResult; notifications: never };
  "usage.track": { params: UsageTrackParams; result: UsageTrackResult; notifications: never };
  "user.block": { params: UserBlockParams; result: UserBlockResult; notifications: never };
  "user.delete": { params: UserDeleteParams; result: UserDeleteResult; notifications: never };
  "user.invite": { params: UserInviteParams; result: UserInviteResult; notifications: never };
  "user.link": { params: UserLinkParams; result: UserLinkResult; notifications: never };
  "user.list": { params: UserListParams; result: UserListResult; notifications: never };
  "user.login": { params: UserLoginParams; result: UserLoginResult; notifications: never };
  "user.password.change": { params: UserPasswordChangeParams; result: UserPasswordChangeResult; notifications: never };
  "user.self": { params: UserSelfParams; result: UserSelfResult; notifications: never };
  "user.set_role": { params: UserSetRoleParams; result: UserSetRoleResult; notifications: never };
  "user.unblock": { params: UserUnblockParams; result: UserUnblockResult; notifications: never };
}
export type MethodName = keyof Methods;

export interface Notifications {
  "fs.changed": FsChangedNote;
  "llm.delta": LlmDeltaNote;
  "run.started": RunStartedNote;
  "run.output": RunOutputNote;
  "term.state": TermStateNote;
  "term.output": TermOutputNote;
}
export type NotificationName = keyof Notifications;

export type Role = "none" | "viewer" | "developer" | "admin";

export interface MethodInfo {
  role: Role;
  deadlineMs: number;
  streams: boolean;
  billable: boolean;
}
export const methodInfo: Readonly<Record<MethodName, MethodInfo>> = {
  "audit.export": { role: "admin", deadlineMs: 30000, streams: false, billable: false },
  "audit.list": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "budget.check": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "budget.grant": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "budget.grants": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "budget.list": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "budget.remove": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "budget.self": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "budget.set": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "fs.create": { role: "developer", deadlineMs: 10000, streams: false, billable: false },
  "fs.delete": { role: "developer", deadlineMs: 30000, streams: false, billable: false },
  "fs.list": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "fs.read": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "fs.rename": { role: "developer", deadlineMs: 10000, streams: false, billable: false },
  "fs.stat": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "fs.watch": { role: "viewer", deadlineMs: 3600000, streams: true, billable: false },
  "fs.write": { role: "developer", deadlineMs: 15000, streams: false, billable: false },
  "image.add": { role: "admin", deadlineMs: 630000, streams: false, billable: false },
  "image.list": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "image.pull": { role: "admin", deadlineMs: 1230000, streams: false, billable: false },
  "image.remove": { role: "admin", deadlineMs: 30000, streams: false, billable: false },
  "key.create": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "key.list": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "key.revoke": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "key.rotate": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "key.self": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "key.set_rates": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "llm.cancel": { role: "developer", deadlineMs: 5000, streams: false, billable: false },
  "llm.chat": { role: "developer", deadlineMs: 310000, streams: true, billable: true },
  "llm.complete": { role: "developer", deadlineMs: 310000, streams: true, billable: true },
  "llm.download": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "llm.embed": { role: "developer", deadlineMs: 310000, streams: false, billable: true },
  "llm.list_models": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "llm.models": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "llm.resume": { role: "developer", deadlineMs: 310000, streams: true, billable: false },
  "llm.settings.get": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "llm.settings.set": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "llm.start": { role: "admin", deadlineMs: 120000, streams: false, billable: false },
  "llm.stop": { role: "admin", deadlineMs: 30000, streams: false, billable: false },
  "preview.close": { role: "developer", deadlineMs: 10000, streams: false, billable: false },
  "preview.list": { role: "developer", deadlineMs: 10000, streams: false, billable: false },
  "preview.open": { role: "developer", deadlineMs: 10000, streams: false, billable: false },
  "preview.ports": { role: "developer", deadlineMs: 10000, streams: false, billable: false },
  "price.list": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "price.set": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "project.create": { role: "developer", deadlineMs: 15000, streams: false, billable: false },
  "project.list": { role: "viewer", deadlineMs: 15000, streams: false, billable: false },
  "project.network.get": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "project.network.set": { role: "developer", deadlineMs: 10000, streams: false, billable: false },
  "rate.list": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "rate.self": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "rate.set": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "rpc.cancel": { role: "viewer", deadlineMs: 5000, streams: false, billable: false },
  "rpc.discover": { role: "none", deadlineMs: 5000, streams: false, billable: false },
  "run.cancel": { role: "developer", deadlineMs: 10000, streams: false, billable: false },
  "run.exec": { role: "developer", deadlineMs: 630000, streams: true, billable: false },
  "run.history": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "sandbox.probe": { role: "viewer", deadlineMs: 60000, streams: false, billable: false },
  "session.list": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "session.revoke": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "session.revoke_others": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "term.ack": { role: "developer", deadlineMs: 5000, streams: false, billable: false },
  "term.attach": { role: "developer", deadlineMs: 3600000, streams: true, billable: false },
  "term.input": { role: "developer", deadlineMs: 10000, streams: false, billable: false },
  "term.kill": { role: "developer", deadlineMs: 10000, streams: false, billable: false },
  "term.list": { role: "developer", deadlineMs: 10000, streams: false, billable: false },
  "term.open": { role: "developer", deadlineMs: 10000, streams: false, billable: false },
  "term.resize": { role: "developer", deadlineMs: 10000, streams: false, billable: false },
  "usage.anomalies": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "usage.export": { role: "viewer", deadlineMs: 20000, streams: false, billable: false },
  "usage.forecast": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "usage.report": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "usage.summary": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "usage.track": { role: "viewer", deadlineMs: 10000, streams: false, billable: false },
  "user.block": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "user.delete": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "user.invite": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "user.link": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "user.list": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "user.login": { role: "none", deadlineMs: 20000, streams: false, billable: false },
  "user.password.change": { role: "viewer", deadlineMs: 20000, streams: false, billable: false },
  "user.self": { role: "viewer", deadlineMs: 5000, streams: false, billable: false },
  "user.set_role": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
  "user.unblock": { role: "admin", deadlineMs: 10000, streams: false, billable: false },
};

/** JSON-RPC error codes by name. */
export const errorCodes = {
  BAD_PARAM: -32602,
  BAD_SYNTAX: -32700,
  BAD_REQUEST: -32600,
  NO_METHOD: -32601,
  INTERNAL: -32603,
  UNAUTHENTICATED: -32001,
  DENIED: -32003,
  NOT_FOUND: -32004,
  CONFLICT: -32009,
  KEY_REUSED: -32022,
  TOO_LARGE: -32013,
  RATE_LIMITED: -32029,
  BUDGET_EXCEEDED: -32030,
  MODEL_NOT_LOADED: -32050,
  MODEL_CRASHED: -32051,
  CONTEXT_LENGTH: -32052,
  BUSY: -32053,
  UNAVAILABLE: -32054,
  CANCELLED: -32800,
  TIMED_OUT: -32055,
  EXHAUSTED: -32056,
  SYSTEM: -32057,
} as const;
export type ErrorName = keyof typeof errorCodes;
