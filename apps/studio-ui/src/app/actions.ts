import { toFailure, type Failure } from "@/lib/failure";
import { navigate } from "@/lib/router";
import { createStore } from "@/lib/store";
import { session } from "@/lib/studio";

/** What the Code page offers to the palette and the keyboard while it is open. */
export const codeActions: { save(): void; run(): void } = { save: () => undefined, run: () => undefined };

export const signOutFailure = createStore<Failure | null>(null);

export async function signOut(): Promise<void> {
  signOutFailure.set(null);
  try {
    await session.logout();
    navigate("/login");
  } catch (error) {
    signOutFailure.set(toFailure(error));
    navigate("/account");
  }
}
