import type { ReactNode } from "react";
import { Brand } from "@/components/Brand";
import { LanguageChoice, ThemeChoice } from "@/components/Choices";
import { useText } from "@/lib/i18n/i18n";

/** Page around setup and login: brand and words on one side, the form on the other. */
export function Frame({ children, aside, version }: { children: ReactNode; aside?: ReactNode; version?: string | undefined }) {
  const { t } = useText();
  return (
    <div className="flex min-h-full flex-col">
      <main className="mx-auto grid w-full max-w-5xl grow items-center gap-x-14 gap-y-8 px-6 py-10 md:grid-cols-[1fr_26rem]">
        <section className="grid gap-5">
          <Brand large />
          <p className="max-w-sm text-base text-muted">{t("app.tagline")}</p>
          {aside}
        </section>
        <section className="surface rise p-7 shadow-base">{children}</section>
      </main>
      <footer className="mx-auto flex w-full max-w-5xl flex-wrap items-center gap-x-6 gap-y-3 px-6 pb-6">
        <ThemeChoice />
        <LanguageChoice />
        {version && <span className="ml-auto font-mono text-xs text-muted">{t("auth.version", { version })}</span>}
      </footer>
    </div>
  );
}
