import type { KeyListResult } from "@/lib/rpc/methods.gen";
import { rpc } from "@/lib/studio";
import type { UserRow } from "./users";

export type Key = KeyListResult["keys"][number];

/** The user with exactly this address; null: there is none. */
export async function findUser(email: string): Promise<UserRow | null> {
  const wanted = email.trim().toLowerCase();
  const { users } = await rpc.call("user.list", { query: wanted, limit: 200 });
  return users.find((user) => user.email === wanted) ?? null;
}

/** The live keys of the user with this address; null: there is no such user. */
export async function findKeys(email: string): Promise<Key[] | null> {
  const user = await findUser(email);
  if (!user) return null;
  const { keys } = await rpc.call("key.list", { user_id: user.user_id });
  return keys.filter((key) => key.state === "active");
}
