import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Session, type SessionOptions } from "./session";

const user = { id: "u", email: "ada@example.org", role: "admin" as const, display_name: "Ada" };
let tokens = 0;
const signedIn = (expires_in = 600) => new Response(JSON.stringify({ access_token: `token-${++tokens}`, token_type: "Bearer", expires_in, user }));
const refused = (status: number, rule?: string) =>
  new Response(JSON.stringify({ type: `urn:cyberdevstudio:problem:${status === 401 ? "unauthenticated" : "unavailable"}`, detail: "No.", rule }), { status });

function makeSession(answers: (Response | Error)[], options: SessionOptions = {}) {
  const asked: { path: string; body: unknown }[] = [];
  const fetch = vi.fn(async (path: unknown, init?: RequestInit) => {
    asked.push({ path: String(path), body: JSON.parse(String(init?.body)) });
    const answer = answers.shift();
    if (!answer) throw new Error("unexpected request");
    if (answer instanceof Error) throw answer;
    return answer;
  });
  return { session: new Session({ fetch: fetch as typeof globalThis.fetch, ...options }), asked, fetch };
}

beforeEach(() => {
  vi.useFakeTimers();
  tokens = 0;
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a token that no longer holds", () => {
  it("is changed at the next question, whatever its age, and its user is told when the session has ended too", async () => {
    const { session, asked } = makeSession([signedIn(), signedIn(), refused(401, "session.ended")]);
    await session.login("ada@example.org", "secret words");
    session.forgetToken();
    expect(await session.freshToken()).toBe("token-2");
    session.forgetToken();
    expect(await session.freshToken()).toBeNull();
    expect(asked.map((one) => one.path)).toEqual(["/auth/login", "/auth/refresh", "/auth/refresh"]);
    expect(session.state.get()).toMatchObject({ status: "signed-out", ended: { facts: { rule: "session.ended" } } });
  });
});

describe("signing in", () => {
  it("keeps the token in memory and tells who signed in", async () => {
    const { session, asked } = makeSession([signedIn()]);
    await session.login("ada@example.org", "secret words");
    expect(asked).toEqual([{ path: "/auth/login", body: { email: "ada@example.org", password: "secret words" } }]);
    expect(session.state.get()).toEqual({ status: "signed-in", user });
    expect(await session.freshToken()).toBe("token-1");
    expect(JSON.stringify(session.state.get())).not.toContain("token-1");
  });

  it("sends JSON with the cookie and reads the problem of a refusal", async () => {
    const { session, fetch } = makeSession([refused(401, "login.wrong")]);
    await expect(session.login("a@b.c", "x")).rejects.toMatchObject({ name: "UNAUTHENTICATED", facts: { rule: "login.wrong", detail: "No." } });
    expect(fetch.mock.calls[0]?.[1]).toMatchObject({ method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" } });
    expect(session.state.get().status).toBe("starting");
  });

  it("leaves an empty name out of the setup request", async () => {
    const { session, asked } = makeSession([signedIn()]);
    await session.setup("t".repeat(43), "a@b.c", "secret words", "");
    expect(asked[0]?.body).toEqual({ token: "t".repeat(43), email: "a@b.c", password: "secret words" });
  });

  it("refuses an answer without a token", async () => {
    const { session } = makeSession([new Response("{}")]);
    await expect(session.login("a@b.c", "x")).rejects.toMatchObject({ name: "BAD_ANSWER" });
  });

  it("says OFFLINE when the server cannot be reached", async () => {
    const { session } = makeSession([new TypeError("fetch failed")]);
    await expect(session.login("a@b.c", "x")).rejects.toMatchObject({ name: "OFFLINE" });
  });
});

describe("page load", () => {
  it("asks nothing on a first visit", async () => {
    const { session, asked } = makeSession([], { hint: { read: () => false, write: () => undefined } });
    await session.resume();
    expect(asked).toEqual([]);
    expect(session.state.get()).toEqual({ status: "signed-out" });
  });

  it("takes up the session of the cookie", async () => {
    const { session, asked } = makeSession([signedIn()]);
    await session.resume();
    expect(asked[0]?.path).toBe("/auth/refresh");
    expect(session.state.get().status).toBe("signed-in");
  });

  it("shows the form without an error when the session is over, and forgets the hint", async () => {
    const write = vi.fn();
    const { session } = makeSession([refused(401)], { hint: { read: () => true, write } });
    await session.resume();
    expect(session.state.get()).toEqual({ status: "signed-out", ended: undefined });
    expect(write).toHaveBeenLastCalledWith(false);
  });

  it("tells when the server is away, and keeps the hint for the next load", async () => {
    const write = vi.fn();
    const { session } = makeSession([refused(503)], { hint: { read: () => true, write } });
    await session.resume();
    expect(session.state.get()).toMatchObject({ status: "signed-out", ended: { name: "UNAVAILABLE" } });
    expect(write).not.toHaveBeenCalled();
  });
});

describe("refreshing", () => {
  it("renews the token a minute before it ends", async () => {
    const { session, asked } = makeSession([signedIn(), signedIn()]);
    await session.login("a@b.c", "x");
    await vi.advanceTimersByTimeAsync(539_999);
    expect(asked).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(asked[1]?.path).toBe("/auth/refresh");
    expect(await session.freshToken()).toBe("token-2");
  });

  it("renews a token of ten seconds after five", async () => {
    const { session, asked } = makeSession([signedIn(10), signedIn(10)]);
    await session.login("a@b.c", "x");
    await vi.advanceTimersByTimeAsync(5000);
    expect(asked).toHaveLength(2);
  });

  it("asks once for many callers", async () => {
    const { session, asked } = makeSession([signedIn(), signedIn()], { now: () => Date.now() });
    await session.login("a@b.c", "x");
    vi.setSystemTime(Date.now() + 599_000);
    expect(await Promise.all([session.freshToken(), session.freshToken(), session.freshToken()])).toEqual(["token-2", "token-2", "token-2"]);
    expect(asked).toHaveLength(2);
  });

  it("tries again when the server was away, and stays signed in meanwhile", async () => {
    const { session, asked } = makeSession([signedIn(), refused(503), signedIn()]);
    await session.login("a@b.c", "x");
    await vi.advanceTimersByTimeAsync(540_000);
    expect(session.state.get().status).toBe("signed-in");
    await vi.advanceTimersByTimeAsync(5000);
    expect(asked).toHaveLength(3);
    expect(await session.freshToken()).toBe("token-2");
  });

  it("signs out with the reason when the session was ended", async () => {
    const { session } = makeSession([signedIn(), refused(401, "session.ended")]);
    await session.login("a@b.c", "x");
    await vi.advanceTimersByTimeAsync(540_000);
    expect(session.state.get()).toMatchObject({ status: "signed-out", ended: { facts: { rule: "session.ended" } } });
    expect(await session.freshToken()).toBeNull();
  });

  it("renews a young token that a socket refused only when it is old enough to be suspect", async () => {
    const { session, asked } = makeSession([signedIn(), signedIn()]);
    await session.login("a@b.c", "x");
    expect(await session.freshToken(true)).toBe("token-1");
    await vi.advanceTimersByTimeAsync(30_001);
    expect(await session.freshToken(true)).toBe("token-2");
    expect(asked).toHaveLength(2);
  });

  it("runs alone among the tabs", async () => {
    const alone = vi.fn((work: () => Promise<unknown>) => work()) as unknown as NonNullable<SessionOptions["alone"]>;
    const { session } = makeSession([signedIn()], { alone });
    await session.resume();
    expect(alone).toHaveBeenCalledTimes(1);
  });
});

describe("signing out", () => {
  it("ends the session on the server, tells the other tabs and forgets the token", async () => {
    const announce = vi.fn();
    const { session, asked } = makeSession([signedIn(), new Response(null, { status: 204 })], { announce });
    await session.login("a@b.c", "x");
    await session.logout();
    expect(asked[1]?.path).toBe("/auth/logout");
    expect(announce).toHaveBeenCalledWith("signed-out");
    expect(await session.freshToken()).toBeNull();
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(asked).toHaveLength(2);
  });

  it("asks for no token while it is under way, although its sockets are closed before the answer is here", async () => {
    let answer: (value: Response) => void = () => undefined;
    const asked: string[] = [];
    const fetch = (path: unknown) => {
      asked.push(String(path));
      return asked.length === 1 ? Promise.resolve(signedIn()) : new Promise<Response>((done) => (answer = done));
    };
    const session = new Session({ fetch: fetch as typeof globalThis.fetch });
    await session.login("a@b.c", "x");
    const leaving = session.logout();
    await vi.advanceTimersByTimeAsync(1);
    session.forgetToken();
    const token = session.freshToken(true);
    await vi.advanceTimersByTimeAsync(1);
    answer(new Response(null, { status: 204 }));
    await leaving;
    expect(await token).toBeNull();
    expect(asked).toEqual(["/auth/login", "/auth/logout"]);
    expect(session.state.get()).toEqual({ status: "signed-out", ended: undefined });
  });

  it("asks for a token after all when the server did not take it", async () => {
    const { session, asked } = makeSession([signedIn(), refused(503), signedIn()]);
    await session.login("a@b.c", "x");
    const leaving = session.logout();
    session.forgetToken();
    const token = session.freshToken();
    await expect(leaving).rejects.toMatchObject({ name: "UNAVAILABLE" });
    expect(await token).toBe("token-2");
    expect(asked.map((one) => one.path)).toEqual(["/auth/login", "/auth/logout", "/auth/refresh"]);
  });

  it("stays signed in and says why when the server did not take it", async () => {
    const { session } = makeSession([signedIn(), refused(503)]);
    await session.login("a@b.c", "x");
    await expect(session.logout()).rejects.toMatchObject({ name: "UNAVAILABLE" });
    expect(session.state.get().status).toBe("signed-in");
  });
});
