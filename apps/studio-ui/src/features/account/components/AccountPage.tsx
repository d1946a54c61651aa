import { useCallback, useEffect, useState, type ReactNode } from "react";
import { LanguageChoice, ThemeChoice } from "@/components/Choices";
import { Button } from "@/components/ui/Button";
import { CopyButton } from "@/components/ui/CopyButton";
import { Problem } from "@/components/ui/Problem";
import { toFailure, type Failure } from "@/lib/failure";
import { credits, day, integer, moment } from "@/lib/format";
import { useText } from "@/lib/i18n/i18n";
import type { UsageSummaryResult } from "@/lib/rpc/methods.gen";
import type { User } from "@/lib/session/session";
import { useStore } from "@/lib/store";
import { rpc } from "@/lib/studio";
import { usage } from "@/lib/workspace";
import { Keys } from "./Keys";
import { Limits } from "./Limits";
import { Pace } from "./Pace";
import { Password } from "./Password";
import { Sessions } from "./Sessions";

interface Props {
  user: User;
  signOut(): void;
  failure: Failure | null;
}

export function AccountPage({ user, signOut, failure }: Props) {
  const { t } = useText();
  const summary = useStore(usage);
  const [wrong, setWrong] = useState<Failure | null>(null);
  const [changed, setChanged] = useState(0);
  const load = useCallback(() => {
    setWrong(null);
    rpc.call("usage.summary", {}).then(usage.set, (error: unknown) => setWrong(toFailure(error)));
  }, []);
  useEffect(load, [load]);
  return (
    <div className="h-full overflow-auto">
      <div className="mx-auto grid max-w-6xl grid-cols-[minmax(0,1fr)] gap-5 px-4 py-6">
        <div className="flex items-center justify-between gap-4">
          <h1 className="heading text-2xl">{t("account.title")}</h1>
          <Button small icon="refresh" onClick={load}>
            {t("account.refresh")}
          </Button>
        </div>
        {wrong && <Problem failure={wrong} onRetry={load} />}
        <div className="grid grid-cols-[minmax(0,1fr)] gap-5 xl:grid-cols-[minmax(0,1fr)_18rem]">
          <div className="grid min-w-0 grid-cols-[minmax(0,1fr)] content-start gap-5">
            {summary ? (
              <>
                <Month summary={summary} />
                <ByModel summary={summary} />
                <Recent summary={summary} />
              </>
            ) : (
              !wrong && <p className="text-muted">{t("common.loading")}</p>
            )}
            <Card title={t("limits.title")}>
              <Limits asked={summary} />
            </Card>
            <Card title={t("rates.self.title")}>
              <Pace asked={summary} />
            </Card>
            <Card title={t("account.sessions")}>
              <Sessions key={changed} />
            </Card>
            <Card title={t("keys.title")}>
              <Keys role={user.role} />
            </Card>
          </div>
          <div className="grid min-w-0 grid-cols-[minmax(0,1fr)] content-start gap-5">
            <Profile user={user} />
            <Card title={t("account.look")}>
              <div className="grid justify-items-start gap-3">
                <ThemeChoice />
                <LanguageChoice />
              </div>
            </Card>
            <Card title={t("account.password")}>
              <Password email={user.email} onChanged={() => setChanged(changed + 1)} />
            </Card>
            <Card title={t("account.signout")}>
              <p className="mb-3 text-muted">{t("account.signout.hint")}</p>
              {failure && (
                <div className="mb-3">
                  <Problem failure={failure} compact />
                </div>
              )}
              <Button look="danger" icon="signOut" onClick={signOut}>
                {t("account.signout")}
              </Button>
            </Card>
            <a className="text-[0.8125rem] text-muted underline hover:text-text" href="/licences.txt" target="_blank" rel="noreferrer">
              {t("account.licences")}
            </a>
          </div>
        </div>
      </div>
    </div>
  );
}

function Card({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="surface p-5">
      <h2 className="label mb-3 text-muted">{title}</h2>
      {children}
    </section>
  );
}

function Profile({ user }: { user: User }) {
  const { t } = useText();
  return (
    <Card title={t("account.profile")}>
      {user.display_name && <p className="text-base font-semibold break-words">{user.display_name}</p>}
      <p className="break-all">{user.email}</p>
      <p className="mt-2 text-muted">
        {t("account.role")}: <span className="text-text">{t(`account.role.${user.role}`)}</span>
      </p>
    </Card>
  );
}

function Fact({ name, value, unit, strong = false }: { name: string; value: string; unit?: string; strong?: boolean }) {
  return (
    <div>
      <dt className="text-[0.8125rem] text-muted">{name}</dt>
      <dd className={strong ? "heading text-2xl" : "text-base font-semibold tabular-nums"}>
        {value}
        {unit && <span className="text-sm text-muted"> {unit}</span>}
      </dd>
    </div>
  );
}

function Month({ summary }: { summary: UsageSummaryResult }) {
  const { t, locale } = useText();
  const { limit_tokens: limit, used_tokens: used, held_tokens: held, remaining_tokens: left } = summary;
  const share = limit ? Math.min(100, ((used + held) / limit) * 100) : 0;
  return (
    <Card title={t("account.month")}>
      <dl className="grid grid-cols-2 gap-x-6 gap-y-4 sm:grid-cols-3" data-testid="month">
        <Fact strong name={t("account.used")} value={integer(used, locale)} />
        <Fact strong name={t("account.remaining")} value={left === null ? t("account.limit.none") : integer(left, locale)} />
        <Fact strong name={t("account.cost")} value={credits(summary.cost_micro, locale)} unit={t("account.credits")} />
        <Fact name={t("account.limit")} value={limit === null ? t("account.limit.none") : integer(limit, locale)} />
        <Fact name={t("account.held")} value={integer(held, locale)} />
        <Fact name={t("account.requests")} value={integer(summary.requests, locale)} />
      </dl>
      {limit !== null && (
        <div
          role="meter"
          aria-label={t("account.used")}
          aria-valuemin={0}
          aria-valuemax={limit}
          aria-valuenow={Math.min(used + held, limit)}
          aria-valuetext={t("account.tokens.of", { used: integer(used, locale), limit: integer(limit, locale) })}
          className="mt-5 h-2.5 overflow-hidden rounded-full border border-edge bg-bg"
        >
          <div className={`h-full ${share >= 95 ? "bg-danger" : share >= 80 ? "bg-warn" : "bg-accent"}`} style={{ width: `${share}%` }} />
        </div>
      )}
      <p className="mt-3 text-[0.8125rem] text-muted">{t("account.period", { period: summary.period, date: day(new Date(summary.resets_at), locale) })}</p>
    </Card>
  );
}

function Table({ heads, rows }: { heads: [string, boolean][]; rows: { key: string; cells: ReactNode[] }[] }) {
  return (
    <div className="-mx-2 overflow-x-auto">
      <table className="w-full min-w-md border-collapse tabular-nums">
        <thead>
          <tr className="text-[0.8125rem] text-muted">
            {heads.map(([head, number]) => (
              <th key={head} scope="col" className={`border-b border-line px-2 pb-1.5 font-medium ${number ? "text-right" : "text-left"}`}>
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ key, cells }) => (
            <tr key={key} className="hover:bg-hover">
              {cells.map((cell, at) => (
                <td key={at} className={`border-b border-line/50 px-2 py-1.5 ${heads[at]?.[1] ? "text-right whitespace-nowrap" : "text-left"}`}>
                  {cell}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function ByModel({ summary }: { summary: UsageSummaryResult }) {
  const { t, locale } = useText();
  if (summary.by_model.length === 0) return null;
  const n = (value: number) => integer(value, locale);
  return (
    <Card title={t("account.models")}>
      <Table
        heads={[
          [t("account.model"), false],
          [t("account.requests"), true],
          [t("account.prompt"), true],
          [t("account.completion"), true],
          [t("account.cost"), true],
        ]}
        rows={summary.by_model.map((row) => ({
          key: row.model,
          cells: [row.model, n(row.requests), n(row.prompt_tokens), n(row.completion_tokens), credits(row.cost_micro, locale)],
        }))}
      />
    </Card>
  );
}

function Recent({ summary }: { summary: UsageSummaryResult }) {
  const { t, locale } = useText();
  const n = (value: number) => integer(value, locale);
  return (
    <Card title={t("account.recent")}>
      {summary.recent.length === 0 ? (
        <p className="text-muted">{t("account.none")}</p>
      ) : (
        <Table
          heads={[
            [t("account.at"), false],
            [t("account.model"), false],
            [t("account.prompt"), true],
            [t("account.completion"), true],
            [t("account.cost"), true],
            [t("account.state"), false],
            [t("account.request"), true],
          ]}
          rows={summary.recent.map((row) => ({
            key: row.request_id,
            cells: [
              <span key="at" className="whitespace-nowrap">
                {moment(new Date(row.at), locale)}
              </span>,
              <span key="model" className="whitespace-nowrap">
                {row.model}
              </span>,
              n(row.prompt_tokens),
              n(row.completion_tokens),
              credits(row.cost_micro, locale),
              row.state,
              <CopyButton key="copy" text={row.request_id} name={`${t("problem.copyId")} ${row.request_id}`} />,
            ],
          }))}
        />
      )}
    </Card>
  );
}
