import { toFailure, type Failure } from "@/lib/failure";
import { navigate } from "@/lib/router";
import { createStore } from "@/lib/store";
import { closePreviews, session } from "@/lib/studio";
import { projects } from "@/lib/workspace";

/** What the Code page offers to the palette and the keyboard while it is open. */
export const codeActions: { save(): void; run(): void } = { save: () => undefined, run: () => undefined };

export const signOutFailure = createStore<Failure | null>(null);

export async function signOut(): Promise<void> {
  signOutFailure.set(null);
  try {
    // A courtesy with a short deadline: without it they end with the access token.
    const closed = closePreviews((projects.get().list ?? []).map((project) => project.id));
    await Promise.race([closed, new Promise((done) => setTimeout(done, 1_000))]);
    await session.logout();
    navigate("/login");
  } catch (error) {
    signOutFailure.set(toFailure(error));
    navigate("/account");
  }
}
