import { useCallback, useEffect, useState } from "react";
import { Button } from "@/components/ui/Button";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { moment } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import type { SessionListResult } from "@/lib/rpc/methods.gen";
import { rpc } from "@/lib/studio";
import { deviceOf } from "../model/device";

type Open = SessionListResult["sessions"][number];

/** Where the user is signed in, and the way to end each of them. */
export function Sessions() {
  const { t } = useText();
  const [list, setList] = useState<Open[] | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const load = useCallback(() => {
    rpc.call("session.list", {}).then(
      (answer) => {
        setList(answer.sessions);
      },
      (error: unknown) => setFailure(toFailure(error)),
    );
  }, []);
  useEffect(load, [load]);
  const end = (work: Promise<unknown>) => {
    setFailure(null);
    work.catch((error: unknown) => setFailure(toFailure(error))).finally(load);
  };
  return (
    <div className="grid gap-3">
      <p className="text-[0.8125rem] text-muted">{t("account.sessions.hint")}</p>
      {failure && <Problem failure={failure} compact onRetry={() => (setFailure(null), load())} />}
      {!list && !failure && <p className="text-muted">{t("common.loading")}</p>}
      <ul className="grid grid-cols-[minmax(0,1fr)] gap-2" aria-label={t("account.sessions")}>
        {list?.map((one) => (
          <Row key={one.session_id} one={one} onEnd={() => end(rpc.call("session.revoke", { session_id: one.session_id }))} />
        ))}
      </ul>
      {list && list.length > 1 && (
        <Button small className="justify-self-start" onClick={() => end(rpc.call("session.revoke_others", {}))}>
          {t("account.sessions.others")}
        </Button>
      )}
    </div>
  );
}

function Row({ one, onEnd }: { one: Open; onEnd: () => void }) {
  const { t, locale } = useText();
  const device = deviceOf(one.device) ?? t("account.sessions.unknown");
  return (
    <li className="flex items-center gap-3 rounded-small border border-line bg-raised px-3 py-2" data-testid="session">
      <span className="min-w-0 flex-1">
        <span className="block font-semibold break-words" title={one.device}>
          {device}
        </span>
        <span className="block text-xs break-words text-muted">
          {[one.address, t("account.sessions.used", { time: moment(new Date(one.last_used_at), locale) })].filter(Boolean).join(" · ")}
        </span>
      </span>
      {one.current ? (
        <span className="text-[0.8125rem] text-ok">{t("account.sessions.current")}</span>
      ) : (
        <Button small look="danger" onClick={onEnd} aria-label={t("account.sessions.end.name", { device })}>
          {t("account.sessions.end")}
        </Button>
      )}
    </li>
  );
}
