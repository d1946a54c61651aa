import { useState } from "react";
import { Button } from "@/components/ui/Button";
import { moment } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import { rpc } from "@/lib/studio";
import { roles, type Role, type UserRow } from "../model/users";

interface Props {
  users: readonly UserRow[];
  self: string;
  act(work: Promise<unknown>): Promise<void>;
  link(user: UserRow): void;
}

export function Users({ users, self, act, link }: Props) {
  const { t } = useText();
  return (
    <ul className="grid grid-cols-[minmax(0,1fr)] gap-2" aria-label={t("admin.users")}>
      {users.map((user) => (
        <Row key={user.user_id} user={user} self={self} users={users} act={act} link={link} />
      ))}
    </ul>
  );
}

const look: Record<UserRow["status"], string> = { active: "text-ok", pending: "text-muted", blocked: "text-danger" };

type Asked = "block" | "delete";

/** Who may get the projects of somebody who is deleted, beside oneself. */
const heirs = (users: readonly UserRow[], self: string, gone: string) =>
  users.filter((one) => one.user_id !== gone && one.user_id !== self && one.status !== "blocked");

function Row({ user, self, users, act, link }: Props & { user: UserRow }) {
  const { t, locale } = useText();
  const [asked, setAsked] = useState<Asked | null>(null);
  const [heir, setHeir] = useState(user.user_id === self ? "" : self); // "": the projects are removed
  const id = user.user_id;
  const facts = [
    user.last_login_at ? t("admin.seen", { time: moment(new Date(user.last_login_at), locale) }) : t("admin.never"),
    t("admin.sessions", { count: user.sessions }),
    user.link_expires_at ? t("admin.link.open", { time: moment(new Date(user.link_expires_at), locale) }) : "",
  ];
  const sure = () => {
    setAsked(null);
    const projects = heir ? { projects_to: heir } : { remove_projects: true };
    void act(asked === "delete" ? rpc.call("user.delete", { user_id: id, ...projects }) : rpc.call("user.block", { user_id: id }));
  };
  return (
    <li className="surface grid items-center gap-3 px-4 py-3 lg:grid-cols-[minmax(0,1fr)_10rem_auto]" data-testid="user">
      <span className="min-w-0">
        <span className="flex flex-wrap items-baseline gap-x-2">
          <span className="font-semibold break-all">{user.display_name || user.email}</span>
          <span className={`text-[0.8125rem] ${look[user.status]}`}>{t(`admin.status.${user.status}`)}</span>
          {id === self && <span className="text-[0.8125rem] text-muted">{t("admin.you")}</span>}
        </span>
        {user.display_name && <span className="block break-all">{user.email}</span>}
        <span className="block text-xs break-words text-muted">{facts.filter(Boolean).join(" · ")}</span>
      </span>
      <select
        className="field"
        aria-label={t("admin.role.of", { email: user.email })}
        value={user.role}
        onChange={(event) => void act(rpc.call("user.set_role", { user_id: id, role: event.target.value as Role }))}
      >
        {roles.map((role) => (
          <option key={role} value={role}>
            {t(`account.role.${role}`)}
          </option>
        ))}
      </select>
      {asked ? (
        <span className="flex flex-wrap items-center gap-2" role="group" aria-label={t(`admin.${asked}.sure`, { email: user.email })}>
          <span className="text-[0.8125rem] text-muted">{t(`admin.${asked}.what`)}</span>
          {asked === "delete" && (
            <select className="field w-auto max-w-full" aria-label={t("admin.delete.projects", { email: user.email })} value={heir} onChange={(event) => setHeir(event.target.value)}>
              {id !== self && <option value={self}>{t("admin.delete.me")}</option>}
              {heirs(users, self, id).map((one) => (
                <option key={one.user_id} value={one.user_id}>
                  {t("admin.delete.heir", { email: one.email })}
                </option>
              ))}
              <option value="">{t("admin.delete.remove")}</option>
            </select>
          )}
          <Button small data-first autoFocus onClick={() => setAsked(null)}>
            {t("common.cancel")}
          </Button>
          <Button small look="danger" onClick={sure}>
            {t(`admin.${asked}.do`)}
          </Button>
        </span>
      ) : (
        <span className="flex flex-wrap gap-2">
          {user.asks && (
            <Button small look="primary" onClick={() => void act(rpc.call("user.unblock", { user_id: id }))}>
              {t("admin.letin")}
            </Button>
          )}
          {user.status !== "blocked" && !user.asks && (
            <Button small onClick={() => link(user)}>
              {t(user.status === "pending" ? "admin.link.invite" : "admin.link.reset")}
            </Button>
          )}
          {user.status === "blocked" ? (
            <Button small onClick={() => void act(rpc.call("user.unblock", { user_id: id }))}>
              {t("admin.unblock")}
            </Button>
          ) : (
            <Button small look="danger" onClick={() => setAsked("block")}>
              {t("admin.block")}
            </Button>
          )}
          <Button small look="danger" icon="trash" onClick={() => setAsked("delete")}>
            {t("admin.delete")}
          </Button>
        </span>
      )}
    </li>
  );
}
