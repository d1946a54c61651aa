import { useCallback, useEffect, useState } from "react";
import { RateDialog } from "@/components/RateDialog";
import { RateText } from "@/components/RateFields";
import { Button } from "@/components/ui/Button";
import { CopyButton } from "@/components/ui/CopyButton";
import { Dialog } from "@/components/ui/Dialog";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { moment } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import { isLimited } from "@/lib/rates";
import type { KeyListResult } from "@/lib/rpc/methods.gen";
import type { User } from "@/lib/session/session";
import { rpc } from "@/lib/studio";
import { KeyDialog } from "./KeyDialog";

type Key = KeyListResult["keys"][number];

/** The API keys of the user: made here, shown once, rotated and revoked. */
export function Keys({ role }: { role: User["role"] }) {
  const { t } = useText();
  const [list, setList] = useState<Key[] | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [making, setMaking] = useState(false);
  const [shown, setShown] = useState<string | null>(null);
  const [pacing, setPacing] = useState<Key | null>(null);
  const load = useCallback(() => {
    rpc.call("key.list", {}).then(
      (answer) => setList(answer.keys.filter((one) => one.state === "active")),
      (error: unknown) => setFailure(toFailure(error)),
    );
  }, []);
  useEffect(load, [load]);
  const act = (work: Promise<{ key?: string }>) => {
    setFailure(null);
    work
      .then((answer) => answer.key && setShown(answer.key))
      .catch((error: unknown) => setFailure(toFailure(error)))
      .finally(load);
  };
  return (
    <div className="grid gap-3">
      <p className="text-[0.8125rem] text-muted">{t("keys.hint")}</p>
      {failure && <Problem failure={failure} compact />}
      {!list && !failure && <p className="text-muted">{t("common.loading")}</p>}
      {list?.length === 0 && <p>{t("keys.none")}</p>}
      <ul className="grid grid-cols-[minmax(0,1fr)] gap-2" aria-label={t("keys.title")}>
        {list?.map((one) => (
          <Row key={one.key_id} one={one} onPace={() => setPacing(one)} onRotate={() => act(rpc.call("key.rotate", { key_id: one.key_id }))} onRevoke={() => act(rpc.call("key.revoke", { key_id: one.key_id }).then(() => ({})))} />
        ))}
      </ul>
      <Button small icon="plus" className="justify-self-start" onClick={() => setMaking(true)}>
        {t("keys.make")}
      </Button>
      {making && (
        <KeyDialog
          role={role}
          onClose={() => setMaking(false)}
          onMade={(key) => {
            setMaking(false);
            setShown(key);
            load();
          }}
        />
      )}
      {pacing && (
        <RateDialog
          name={pacing.name}
          rates={pacing}
          hint={t("rates.empty.key")}
          none={t("rates.any")}
          save={async ({ requests_per_minute, tokens_per_minute, concurrent_requests }) => {
            await rpc.call("key.set_rates", { key_id: pacing.key_id, requests_per_minute, tokens_per_minute, concurrent_requests });
            setPacing(null);
            load();
          }}
          onClose={() => setPacing(null)}
        />
      )}
      {shown && (
        <Dialog title={t("keys.shown.title")} onClose={() => setShown(null)}>
          <p>{t("keys.shown.what")}</p>
          <div className="flex items-center gap-2 rounded-small border border-line bg-raised px-3 py-2">
            <output className="min-w-0 flex-1 font-mono text-[0.8125rem] break-all" data-testid="key">
              {shown}
            </output>
            <CopyButton text={shown} name={t("keys.copy")} />
          </div>
          <div className="flex justify-end">
            <Button data-first onClick={() => setShown(null)}>
              {t("common.close")}
            </Button>
          </div>
        </Dialog>
      )}
    </div>
  );
}

function Row({ one, onPace, onRotate, onRevoke }: { one: Key; onPace: () => void; onRotate: () => void; onRevoke: () => void }) {
  const { t, locale } = useText();
  const [asked, setAsked] = useState(false);
  const facts = [
    t(`account.role.${one.role}`),
    one.scopes.length > 0 ? one.scopes.join(" ") : t("keys.scopes.all"),
    one.models.length > 0 ? one.models.join(" ") : "",
    one.expires_at ? t("keys.until", { time: moment(new Date(one.expires_at), locale) }) : t("keys.forever"),
    one.last_used_at ? t("account.sessions.used", { time: moment(new Date(one.last_used_at), locale) }) : t("keys.unused"),
  ];
  return (
    <li className="flex flex-wrap items-center gap-3 rounded-small border border-line bg-raised px-3 py-2" data-testid="api-key">
      <span className="min-w-0 flex-1">
        <span className="block font-semibold break-words">{one.name}</span>
        <span className="block text-xs break-words text-muted">{facts.filter(Boolean).join(" · ")}</span>
        {isLimited(one) && (
          <span className="block text-xs break-words text-muted">
            <RateText rates={one} />
          </span>
        )}
      </span>
      {asked ? (
        <span className="flex gap-2">
          <Button small data-first autoFocus onClick={() => setAsked(false)}>
            {t("common.cancel")}
          </Button>
          <Button small look="danger" onClick={onRevoke}>
            {t("keys.revoke.do")}
          </Button>
        </span>
      ) : (
        <span className="flex gap-2">
          <Button small onClick={onPace}>
            {t("rates.change")}
          </Button>
          <Button small onClick={onRotate} title={t("keys.rotate.what")}>
            {t("keys.rotate")}
          </Button>
          <Button small look="danger" onClick={() => setAsked(true)}>
            {t("keys.revoke")}
          </Button>
        </span>
      )}
    </li>
  );
}
