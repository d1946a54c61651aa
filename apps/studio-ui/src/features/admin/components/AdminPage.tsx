import { useCallback, useEffect, useRef, useState } from "react";
import { Button } from "@/components/ui/Button";
import { SelectField, TextField } from "@/components/ui/Field";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { useText } from "@/lib/i18n/i18n";
import { rpc } from "@/lib/studio";
import { invited, statuses, type Handed, type Status, type UserRow } from "../model/users";
import { AuditLog } from "./AuditLog";
import { Budgets } from "./Budgets";
import { InviteDialog } from "./InviteDialog";
import { LinkDialog } from "./LinkDialog";
import { Prices } from "./Prices";
import { Rates } from "./Rates";
import { Users } from "./Users";

/** /admin: the users of the studio, what they may use, what it costs. */
export function AdminPage({ self }: { self: string }) {
  const { t } = useText();
  const [query, setQuery] = useState("");
  const [status, setStatus] = useState<Status | "">("");
  const [users, setUsers] = useState<UserRow[] | null>(null);
  const [next, setNext] = useState<string | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [wrong, setWrong] = useState<Failure | null>(null);
  const [inviting, setInviting] = useState(false);
  const [handed, setHanded] = useState<Handed | null>(null);
  const asked = useRef(0);

  const load = useCallback(
    (cursor?: string) => {
      const turn = ++asked.current;
      const wanted = { ...(query.trim() && { query: query.trim() }), ...(status && { status }), ...(cursor && { cursor }) };
      rpc.call("user.list", wanted).then(
        (answer) => {
          if (turn !== asked.current) return; // a newer question is on its way
          setUsers((before) => (cursor && before ? [...before, ...answer.users] : answer.users));
          setNext(answer.next_cursor);
          setFailure(null);
        },
        (error: unknown) => turn === asked.current && setFailure(toFailure(error)),
      );
    },
    [query, status],
  );
  useEffect(() => {
    const timer = setTimeout(() => load(), query ? 200 : 0);
    return () => clearTimeout(timer);
  }, [load, query]);

  const act = useCallback(
    async (work: Promise<unknown>) => {
      await work.then(
        () => setWrong(null),
        (error: unknown) => setWrong(toFailure(error)),
      );
      load();
    },
    [load],
  );
  const link = async (user: UserRow) => {
    await rpc.call("user.link", { user_id: user.user_id }).then(
      (made) => setHanded({ email: user.email, kind: made.kind, link: made.link, expiresAt: made.expires_at }),
      (error: unknown) => setWrong(toFailure(error)),
    );
    load();
  };

  return (
    <div className="h-full overflow-auto">
      <div className="mx-auto grid max-w-6xl grid-cols-[minmax(0,1fr)] gap-5 px-4 py-6">
        <div className="flex flex-wrap items-center justify-between gap-4">
          <h1 className="heading text-2xl">{t("admin.users")}</h1>
          <span className="flex gap-2">
            <Button small icon="refresh" onClick={() => load()}>
              {t("account.refresh")}
            </Button>
            <Button small look="primary" icon="plus" onClick={() => setInviting(true)}>
              {t("admin.invite")}
            </Button>
          </span>
        </div>
        <div className="grid gap-4 sm:grid-cols-[minmax(0,1fr)_14rem]">
          <TextField label={t("admin.find")} type="search" maxLength={254} value={query} onChange={(event) => setQuery(event.target.value)} />
          <SelectField label={t("admin.status")} value={status} onChange={(event) => setStatus(event.target.value as Status | "")}>
            <option value="">{t("admin.status.all")}</option>
            {statuses.map((one) => (
              <option key={one} value={one}>
                {t(`admin.status.${one}`)}
              </option>
            ))}
          </SelectField>
        </div>
        {failure && <Problem failure={failure} onRetry={() => load()} />}
        {wrong && <Problem failure={wrong} />}
        {!users && !failure && <p className="text-muted">{t("common.loading")}</p>}
        {users?.length === 0 && <p className="text-muted">{t("admin.none")}</p>}
        {users && users.length > 0 && <Users users={users} self={self} act={act} link={(user) => void link(user)} />}
        {next && (
          <Button className="justify-self-center" onClick={() => load(next)}>
            {t("common.more")}
          </Button>
        )}
        <Budgets />
        <Rates />
        <Prices />
        <AuditLog />
      </div>
      {inviting && (
        <InviteDialog
          onClose={() => setInviting(false)}
          onMade={(made) => {
            setInviting(false);
            setHanded(invited(made));
            load();
          }}
        />
      )}
      {handed && <LinkDialog handed={handed} onClose={() => setHanded(null)} />}
    </div>
  );
}
