import { useEffect, useState } from "react";
import { Brand, Mark } from "@/components/Brand";
import { Button, IconButton } from "@/components/ui/Button";
import { Dialog } from "@/components/ui/Dialog";
import { Icon } from "@/components/ui/Icon";
import { hasUnsaved } from "@/features/editor";
import { language, setLanguage, useText } from "@/lib/i18n/i18n";
import { navigate, route } from "@/lib/router";
import type { User } from "@/lib/session/session";
import { useStore } from "@/lib/store";
import { otherTheme, setTheme, theme } from "@/lib/themes/themes";
import { areasOf } from "./areas";
import { signOut } from "./actions";
import { Palette } from "./Palette";
import { ProjectPicker } from "./ProjectPicker";
import { StatusBar } from "./StatusBar";
import { Views } from "./Views";

export function Shell({ user }: { user: User }) {
  const { t } = useText();
  const [palette, setPalette] = useState(false);
  const [leaving, setLeaving] = useState(false);
  const leave = () => (hasUnsaved() ? setLeaving(true) : void signOut());

  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key === "F1") setPalette((open) => !open);
      else if (event.altKey && !event.ctrlKey && !event.metaKey && event.code.startsWith("Digit")) {
        const digit = event.code.slice(5);
        const target = digit === "5" ? "/account" : areasOf(user.role).find((area) => area.digit === digit)?.route;
        if (!target) return;
        navigate(target);
      } else if (event.ctrlKey && !event.altKey && event.key.toLowerCase() === "s") {
        // Never the browser's own "save page": outside the editor there is nothing to save.
      } else return;
      event.preventDefault();
    };
    window.addEventListener("keydown", onKeyDown);
    return () => window.removeEventListener("keydown", onKeyDown);
  }, [user.role]);

  return (
    <div className="flex h-full flex-col">
      <a href="#content" className="primary sr-only rounded-small px-3 py-1 focus:not-sr-only focus:absolute focus:z-50">
        {t("app.skip")}
      </a>
      <TopBar user={user} openPalette={() => setPalette(true)} />
      <div className="flex min-h-0 grow flex-col-reverse sm:flex-row">
        <Rail role={user.role} />
        <main id="content" tabIndex={-1} className="min-h-0 min-w-0 grow outline-none">
          <Views user={user} signOut={leave} />
        </main>
      </div>
      <StatusBar />
      {palette && <Palette role={user.role} onClose={() => setPalette(false)} signOut={leave} />}
      {leaving && (
        <Dialog title={t("account.signout")} onClose={() => setLeaving(false)}>
          <p>{t("editor.close.text")}</p>
          <div className="flex justify-end gap-2">
            <Button data-first onClick={() => setLeaving(false)}>
              {t("editor.conflict.keep")}
            </Button>
            <Button
              look="danger"
              icon="signOut"
              onClick={() => {
                setLeaving(false);
                void signOut();
              }}
            >
              {t("account.signout")}
            </Button>
          </div>
        </Dialog>
      )}
    </div>
  );
}

function TopBar({ user, openPalette }: { user: User; openPalette: () => void }) {
  const { t } = useText();
  const next = otherTheme(useStore(theme));
  const now = useStore(language);
  const here = useStore(route);
  return (
    <header className="bar flex min-h-12 items-center gap-2 border-b border-line px-3 sm:gap-3">
      <span className="hidden sm:block">
        <Brand />
      </span>
      <span className="sm:hidden">
        <Mark />
      </span>
      <ProjectPicker />
      <span className="grow" />
      <button
        type="button"
        onClick={openPalette}
        className="hidden min-h-8 items-center gap-2 rounded-small border border-line px-2.5 text-[0.8125rem] text-muted hover:border-accent hover:text-text md:flex"
      >
        <Icon name="command" size={14} />
        {t("app.commands")}
        <kbd className="rounded-small bg-raised px-1.5 font-mono text-xs">F1</kbd>
      </button>
      <IconButton name={t("app.theme.switch", { name: next })} icon="theme" className="size-8" onClick={() => setTheme(next)} />
      <button
        type="button"
        aria-label={`${now === "en" ? "DE" : "EN"}: ${t("app.command.language")}`}
        title={t("app.command.language")}
        onClick={() => setLanguage(now === "en" ? "de" : "en")}
        className="grid size-8 place-items-center rounded-small font-mono text-xs font-semibold text-muted hover:bg-hover hover:text-text"
      >
        {now === "en" ? "DE" : "EN"}
      </button>
      <a
        href="/account"
        aria-current={here === "/account" ? "page" : undefined}
        onClick={(event) => {
          event.preventDefault();
          navigate("/account");
        }}
        title={`${t("app.account")} (Alt+5)`}
        className="flex min-h-8 items-center gap-2 rounded-small px-2 text-muted hover:bg-hover hover:text-text aria-[current=page]:bg-selected aria-[current=page]:text-text"
      >
        <Icon name="user" />
        <span className="hidden max-w-40 truncate md:inline">{user.display_name || user.email}</span>
        <span className="sr-only">{t("app.account")}</span>
      </a>
    </header>
  );
}

function Rail({ role }: { role: User["role"] }) {
  const { t } = useText();
  const here = useStore(route);
  return (
    <nav aria-label={t("app.nav")} className="bar flex shrink-0 border-t border-line sm:w-[4.75rem] sm:flex-col sm:border-t-0 sm:border-r sm:py-2">
      {areasOf(role).map((area) => (
        <a
          key={area.route}
          href={area.route}
          aria-current={here === area.route ? "page" : undefined}
          title={`${t(area.label)} (Alt+${area.digit})`}
          onClick={(event) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey) return;
            event.preventDefault();
            navigate(area.route);
          }}
          className="group relative grid grow justify-items-center gap-1 px-1 py-2 text-muted -outline-offset-2 transition-colors hover:text-text aria-[current=page]:text-text sm:grow-0 sm:py-2.5"
        >
          <span className="absolute inset-x-3 bottom-0 h-0.5 rounded-full bg-accent opacity-0 group-aria-[current=page]:opacity-100 sm:inset-x-auto sm:inset-y-2 sm:left-0 sm:h-auto sm:w-[3px]" />
          <span className="grid size-9 place-items-center rounded-base transition group-hover:bg-hover group-aria-[current=page]:bg-selected group-aria-[current=page]:text-accent group-aria-[current=page]:shadow-(--cds-glow)">
            <Icon name={area.icon} size={20} />
          </span>
          <span className="label max-w-full truncate text-[0.6875rem]">{t(area.label)}</span>
        </a>
      ))}
    </nav>
  );
}
