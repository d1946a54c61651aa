import type { UserInviteResult, UserListResult } from "@/lib/rpc/methods.gen";

export type UserRow = UserListResult["users"][number];
export type Status = UserRow["status"];
export type Role = UserRow["role"];
export const statuses: readonly Status[] = ["active", "pending", "blocked"];
export const roles: readonly Role[] = ["viewer", "developer", "admin"];

/** A link that was just made; it is shown once and kept nowhere. */
export interface Handed {
  email: string;
  kind: "invite" | "reset";
  link: string;
  expiresAt: string;
}

export const invited = (made: UserInviteResult): Handed => ({ email: made.email, kind: "invite", link: made.link, expiresAt: made.expires_at });
