import { Failure, failureOfHttp } from "@/lib/failure";
import { createStore, type Store } from "@/lib/store";

export interface User {
  id: string;
  email: string;
  role: "viewer" | "developer" | "admin";
  display_name: string;
}

/** ended: why nobody is signed in, for the sentence above the form. */
export type SessionState =
  | { status: "starting" }
  | { status: "signed-out"; ended?: Failure | undefined }
  | { status: "signed-in"; user: User };

interface SignedIn {
  access_token: string;
  expires_in: number;
  user: User;
}

export interface SessionOptions {
  fetch?: typeof fetch;
  now?: () => number;
  /** Remembers that this browser has a session, so that a first visit asks nothing. Holds no secret. */
  hint?: { read(): boolean; write(present: boolean): void };
  /** Runs alone among the tabs of this browser: two tabs never rotate the cookie at the same time. */
  alone?: <T>(work: () => Promise<T>) => Promise<T>;
  /** Tells the other tabs. */
  announce?: (what: "signed-out") => void;
  onToken?: () => void;
}

const requestMs = 20_000;
const earlyMs = 60_000;
/** A token that a socket refused is only changed when it is at least this old: a gateway that is down refuses every token. */
const suspectMs = 30_000;
const retryMs = 5_000;

/** Who is signed in. The access token lives in this object only; the refresh cookie is HttpOnly and never seen here. */
export class Session {
  readonly state: Store<SessionState> = createStore<SessionState>({ status: "starting" });
  private readonly options: SessionOptions;
  private token: string | null = null;
  private tokenSince = 0;
  private tokenUntil = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private refreshing: Promise<void> | null = null;
  private last: Promise<unknown> = Promise.resolve();

  constructor(options: SessionOptions = {}) {
    this.options = options;
  }

  /** At page load: takes up the session of the cookie, if there is one. fresh: there is, whatever this page remembers. */
  async resume(fresh = false): Promise<void> {
    if (!fresh && this.options.hint && !this.options.hint.read()) {
      this.state.set({ status: "signed-out" });
      return;
    }
    await this.refresh().catch((error: Failure) => this.end(error.name === "UNAUTHENTICATED" ? undefined : error, false));
  }

  async login(email: string, password: string): Promise<void> {
    this.take(await this.post("/auth/login", { email, password }));
  }

  async setup(token: string, email: string, password: string, displayName: string): Promise<void> {
    this.take(await this.post("/auth/setup", { token, email, password, ...(displayName && { display_name: displayName }) }));
  }

  /** Through the link of an invitation, or one that sets a new password. */
  async redeem(token: string, password: string, displayName: string): Promise<void> {
    this.take(await this.post("/auth/invite", { token, password, ...(displayName && { display_name: displayName }) }));
  }

  /** What the link is for, before anything is typed. Throws a Failure when it is of no use. */
  lookAtLink(token: string): Promise<unknown> {
    return this.post("/auth/invite/look", { token });
  }

  /** The access token holds no longer; the next one has to come from the cookie, which may be void as well. */
  forgetToken(): void {
    this.tokenUntil = 0;
  }

  /** A token that says who the user is now. */
  async renew(): Promise<void> {
    await this.refresh().catch((error: Failure) => {
      if (this.endsSession(error)) this.end(error);
      else this.schedule(retryMs);
    });
  }

  /**
   * Signs out here and in the other tabs. Without the server's word the cookie may live on, so that failure is shown.
   * Alone, since the server closes the sockets before its answer is here: nobody asks for a new token meanwhile.
   */
  logout(): Promise<void> {
    return this.alone(async () => {
      await this.post("/auth/logout", {});
      this.options.announce?.("signed-out");
      this.end();
    });
  }

  /** Another tab signed out. */
  ended(): void {
    this.end();
  }

  /** A token that is good for the next moment; null: nobody is signed in. Throws a Failure when it could not be renewed now. */
  async freshToken(rejected = false): Promise<string | null> {
    if (this.state.get().status !== "signed-in") return null;
    const now = this.now();
    if (now >= this.tokenUntil - 5_000 || (rejected && now - this.tokenSince > suspectMs)) {
      await this.refresh().catch((error: Failure) => {
        if (this.endsSession(error)) this.end(error);
        else throw error;
      });
    }
    return this.token;
  }

  /** One at a time: callers that come meanwhile share the answer. Asks nothing when the session ended before its turn came. */
  private refresh(): Promise<void> {
    this.refreshing ??= this.alone(async () => {
      if (this.state.get().status !== "signed-out") this.take(await this.post("/auth/refresh", {}));
    }).finally(() => (this.refreshing = null));
    return this.refreshing;
  }

  /** After the work that was begun before. The browser's lock is asked too: it knows the other tabs, and is not there on plain http. */
  private alone<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.last.then(() => (this.options.alone ? this.options.alone(work) : work()));
    this.last = turn.catch(() => undefined);
    return turn;
  }

  private endsSession(error: Failure): boolean {
    return error.name === "UNAUTHENTICATED" || error.name === "DENIED";
  }

  private now(): number {
    return (this.options.now ?? Date.now)();
  }

  private take(answer: unknown): void {
    const { access_token, expires_in, user } = answer as SignedIn;
    if (typeof access_token !== "string" || typeof expires_in !== "number" || typeof user?.email !== "string")
      throw new Failure("BAD_ANSWER", { detail: "The sign-in service answered without a token or a user." });
    this.token = access_token;
    this.tokenSince = this.now();
    this.tokenUntil = this.tokenSince + expires_in * 1000;
    this.options.hint?.write(true);
    this.state.set({ status: "signed-in", user });
    this.options.onToken?.();
    // Short-lived tokens (10 s is allowed) are renewed after half their life.
    this.schedule(Math.max(expires_in * 500, expires_in * 1000 - earlyMs));
  }

  private schedule(delayMs: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.refresh().catch((error: Failure) => {
        if (this.endsSession(error)) this.end(error);
        else this.schedule(retryMs);
      });
    }, delayMs);
  }

  private end(ended?: Failure, forget = true): void {
    clearTimeout(this.timer);
    this.token = null;
    this.tokenUntil = 0;
    if (forget || !ended) this.options.hint?.write(false);
    this.state.set({ status: "signed-out", ended });
  }

  private async post(path: string, body: unknown): Promise<unknown> {
    let answer: Response;
    try {
      answer = await (this.options.fetch ?? fetch)(path, {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "application/json" },
        credentials: "same-origin",
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(requestMs),
      });
    } catch (error) {
      const late = error instanceof DOMException && error.name === "TimeoutError";
      throw new Failure(late ? "TIMED_OUT" : "OFFLINE", { detail: late ? `No answer within ${requestMs / 1000} s.` : "The studio could not be reached." });
    }
    const text = await answer.text();
    let value: unknown = null;
    try {
      value = text ? JSON.parse(text) : null;
    } catch {
      if (answer.ok) throw new Failure("BAD_ANSWER", { detail: "The answer is not JSON." });
    }
    if (!answer.ok) throw failureOfHttp(answer.status, value);
    return value;
  }
}
